"""the audit log holds every call, in chains

What was noted before is chained as it stands. Its heads are not signed, as a migration knows no secret:
``newsletter audit sign`` does that.

Revision ID: 20261129_audit_chains
Revises: 20261128_health_scores
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261129_audit_chains"
down_revision = "20261128_health_scores"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_GENESIS = "0" * 64
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAGE = 1_000
"""Entries that are in memory at once; besides, the last one of each chain."""
_log = logging.getLogger("newsletter.migrations")


def upgrade() -> None:
    # The old table stays beside the new one until its entries are chained.
    op.rename_table("audit_entries", "audit_entries_before")
    if op.get_bind().dialect.name == "postgresql":  # Where an index has its name from a whole schema.
        op.execute("ALTER INDEX pk_audit_entries RENAME TO pk_audit_entries_before")
    old = sa.table(
        "audit_entries_before",
        sa.column("id", sa.Uuid()),
        sa.column("project_id", sa.Uuid()),
        sa.column("key_id", sa.Uuid()),
        sa.column("action", sa.String()),
        sa.column("subject", sa.String()),
        sa.column("details", _JSON),
        sa.column("ip", sa.String()),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    chains = op.create_table(
        "audit_chains",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("pruned_seq", sa.BigInteger(), nullable=False),
        sa.Column("pruned_hash", sa.String(length=64), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.Column("public_key", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_chains")),
    )
    entries = op.create_table(
        "audit_entries",
        sa.Column("chain_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("method", sa.String(length=10), nullable=True),
        sa.Column("route", sa.String(length=200), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("subject", sa.String(length=100), nullable=True),
        sa.Column("details", _JSON, nullable=False),
        sa.Column("ip", sa.String(length=45), nullable=True),
        sa.Column("node", sa.String(length=200), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "seq", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_created", "audit_entries", ["chain_id", "created_at"], unique=False)

    ends: dict[UUID, dict[str, Any]] = {}
    for page in _pages(old):
        linked = []
        for row in page:
            chain_id = row["project_id"] or UUID(int=0)
            ends[chain_id] = _linked(row, ends.get(chain_id))
            linked.append(ends[chain_id])
        op.bulk_insert(entries, linked)
    if ends:
        op.bulk_insert(chains, [_head(last) for last in ends.values()])
    op.drop_table("audit_entries_before")


def _pages(old: sa.TableClause) -> Iterator[list[Any]]:
    """All entries in the order of their ids, which is that of time."""
    last = UUID(int=0)
    while True:
        few = sa.select(old).where(old.c.id > last).order_by(old.c.id).limit(_PAGE)
        page = list(op.get_bind().execute(few).mappings())
        if not page:
            return
        yield page
        last = page[-1]["id"]


def _linked(row: Any, before: dict[str, Any] | None) -> dict[str, Any]:
    project_id, key_id = row["project_id"], row["key_id"]
    seq, prev_hash = (before["seq"] + 1, before["hash"]) if before else (1, _GENESIS)
    at = row["created_at"].replace(tzinfo=None).isoformat()  # Both databases give it in UTC.
    fresh = dict.fromkeys(
        ("account_id", "method", "route", "status", "node", "request_id", "duration_ms"), None
    )
    same = {name: row[name] for name in ("action", "subject", "details", "ip")}
    said = fresh | same
    said |= {"id": _public("aud", row["id"]), "created_at": f"{at}Z", "seq": seq, "prev_hash": prev_hash}
    said |= {"project_id": _public("prj", project_id), "key_id": _public("key", key_id)}
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return {
        **fresh,
        **same,
        "chain_id": project_id or UUID(int=0),
        "seq": seq,
        "id": row["id"],
        "key_id": key_id,
        "created_at": row["created_at"],
        "prev_hash": prev_hash,
        "hash": hashlib.sha256(text.encode()).hexdigest(),
    }


def _head(last: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": last["chain_id"],
        "seq": last["seq"],
        "hash": last["hash"],
        "pruned_seq": 0,
        "pruned_hash": _GENESIS,
        "signed_at": last["created_at"],
        "signature": "",
        "public_key": "",
    }


def _public(prefix: str, value: UUID | None) -> str | None:
    if value is None:
        return None
    return f"{prefix}_" + "".join(_LETTERS[value.int >> place & 31] for place in range(125, -1, -5))


def downgrade() -> None:
    """Drops the whole log, which the schema before has no place for, and says how much that is."""
    bind = op.get_bind()
    entries, chains = (
        bind.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one()
        for name in ("audit_entries", "audit_chains")
    )
    _log.warning("the audit log is dropped: %d entries of %d chains, acts and calls", entries, chains)
    op.drop_table("audit_chains")
    op.drop_table("audit_entries")
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("details", _JSON, nullable=False),
        sa.Column("ip", sa.String(length=45), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_project", "audit_entries", ["project_id", "id"], unique=False)
