"""Adds to the chains of the audit log; nothing else writes there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit.chain import GENESIS, INSTALLATION, Entry, Head, chain_of
from newsletter.accounts.audit.models import AuditChain, AuditEntry
from newsletter.accounts.audit.notary import Notary, notary_of
from newsletter.kit import bulk, clock, ids
from newsletter.kit.db import JSONObject, insert

log = structlog.get_logger(__name__)


class Noted(NamedTuple):
    """What an entry says before it has its place in a chain: the fields of `Entry` without those of that,
    in the same order."""

    chain_id: UUID
    id: UUID
    account_id: UUID | None
    key_id: UUID | None
    action: str
    method: str | None
    route: str | None
    status: int | None
    subject: str | None
    details: JSONObject
    ip: str | None
    node: str | None
    request_id: str | None
    duration_ms: int | None
    created_at: datetime

    def linked(self, seq: int, prev_hash: str) -> Entry:
        """The entry with this number, behind the one with this hash; its own is still missing."""
        return Entry(self.chain_id, seq, *self[1:], prev_hash, "")


async def note(
    session: AsyncSession,
    project_id: UUID | None,
    action: str,
    subject: str,
    *,
    key_id: UUID | None = None,
    ip: str | None = None,
    details: JSONObject | None = None,
) -> None:
    """Notes an act in the transaction of its effect. No ``key_id``: an operator at the machine itself, or
    the service by its schedule. ``details`` hold no address of a reader, so that there is nothing to erase.

    Until the transaction ends no other adds to the project's chain: to be called late in it.
    """
    noted = Noted(
        chain_id=chain_of(project_id),
        id=ids.uuid7(),
        account_id=None,
        key_id=key_id,
        action=action,
        method=None,
        route=None,
        status=None,
        subject=subject,
        details=dict(details or {}),
        ip=ip,
        node=notary_of(session).node,
        request_id=None,
        duration_ms=None,
        created_at=clock.now(),
    )
    await append(session, [noted])


async def append(session: AsyncSession, noted: Sequence[Noted]) -> None:
    """Gives each its place at the end of its chain, in their order. Not safe to run twice with the same."""
    notary, now = notary_of(session), clock.now()
    heads = await locked(session, {each.chain_id for each in noted})
    last = {chain_id: (head.seq, head.hash) for chain_id, head in heads.items()}
    rows = []
    for each in noted:
        seq, hash_ = last[each.chain_id]
        entry = each.linked(seq + 1, hash_)
        hash_ = entry.digest()
        last[each.chain_id] = entry.seq, hash_
        rows.append(dict(zip(Entry._fields, entry, strict=True), hash=hash_))
    await bulk.insert_rows(session, AuditEntry, rows)
    grown = [
        sealed(notary, head, Head(chain_id, *last[chain_id], head.pruned_seq, head.pruned_hash, now))
        for chain_id, head in heads.items()
    ]
    await write_heads(session, grown)


def sealed(notary: Notary, before: Head, head: Head) -> Head:
    """The head that follows ``before``, signed. One that follows a head that we did not sign stays without
    a signature, however often the chain grows: to sign it would vouch for what somebody did to it."""
    if before.is_beginning or notary.is_signed(before):
        return notary.signed(head)
    log.error("the head of an audit chain is not signed; 'newsletter audit verify'", chain=str(head.chain_id))
    return head


async def sign(session: AsyncSession, chain_id: UUID) -> bool:
    """Signs the head with the newest key; whether it had a good signature before. Where it had none, the
    act is an entry itself."""
    notary, head = notary_of(session), (await locked(session, {chain_id}))[chain_id]
    is_good = head.is_beginning or notary.is_signed(head)
    await write_heads(session, [notary.signed(replace(head, signed_at=clock.now()))])
    if not is_good:
        project_id = None if chain_id == INSTALLATION else chain_id
        await note(session, project_id, "audit.signed", "audit", details={"seq": head.seq})
    return is_good


async def locked(session: AsyncSession, chain_ids: set[UUID]) -> dict[UUID, Head]:
    """The heads of these chains, which nobody else adds to until the transaction ends; those that were
    missing begin now."""
    heads = await _heads(session, chain_ids)
    missing = sorted(chain_ids - heads.keys())
    if missing:
        now = clock.now()
        rows = [_row(Head(chain_id, 0, GENESIS, 0, GENESIS, now)) for chain_id in missing]
        await session.execute(insert(session, AuditChain).on_conflict_do_nothing(), rows)
        heads |= await _heads(session, set(missing))
    return heads


async def _heads(session: AsyncSession, chain_ids: set[UUID]) -> dict[UUID, Head]:
    # In one order, so that two who want the same chains never wait for each other.
    statement = select(*AuditChain.__table__.columns).where(bulk.among(session, AuditChain.id, chain_ids))
    rows = await session.execute(statement.order_by(AuditChain.id).with_for_update())
    return {row.id: Head(*row) for row in rows}


async def write_heads(session: AsyncSession, heads: Sequence[Head]) -> None:
    await bulk.update_rows(session, AuditChain, [_row(head) for head in heads])


def _row(head: Head) -> dict[str, object]:
    return {
        "id": head.chain_id,
        "seq": head.seq,
        "hash": head.hash,
        "pruned_seq": head.pruned_seq,
        "pruned_hash": head.pruned_hash,
        "signed_at": head.signed_at,
        "signature": head.signature,
        "public_key": head.public_key,
    }
