"""endpoints are called in turns, by one job each, in the place of a job for each delivery

Revision ID: 20261127_endpoint_turns
Revises: 20261127_owner_told
"""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261127_endpoint_turns"
down_revision = "20261127_owner_told"
branch_labels = None
depends_on = None

_SCHEDULED = sa.text("next_attempt_at IS NOT NULL")
_TIME = sa.DateTime(timezone=True)
_JOBS = sa.table(
    "jobs",
    sa.column("id", sa.Uuid()),
    sa.column("name", sa.String()),
    sa.column("payload", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
    sa.column("status", sa.String()),
    sa.column("run_at", _TIME),
    sa.column("token", sa.Integer()),
    sa.column("attempts", sa.Integer()),
    sa.column("unique_key", sa.String()),
    sa.column("created_at", _TIME),
)
_DELIVERIES = sa.table(
    "webhook_deliveries",
    sa.column("id", sa.Uuid()),
    sa.column("endpoint_id", sa.Uuid()),
    sa.column("lead_id", sa.Uuid()),
    sa.column("attempt_count", sa.Integer()),
    sa.column("next_attempt_at", _TIME),
)


def upgrade() -> None:
    op.add_column("webhook_endpoints", sa.Column("turn_job_id", sa.Uuid(), nullable=True))
    op.add_column(
        "webhook_endpoints", sa.Column("turn_token", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("webhook_endpoints", sa.Column("rests_until", _TIME, nullable=True))
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["endpoint_id", "next_attempt_at", "event_id"],
        postgresql_where=_SCHEDULED,
        sqlite_where=_SCHEDULED,
    )
    # The first turn of an endpoint sees to the times of all that waits there.
    waiting = sa.select(_DELIVERIES.c.endpoint_id).where(_DELIVERIES.c.next_attempt_at.is_not(None))
    _exchange(
        "webhooks.attempt",
        [
            _job("webhooks.deliver", {"endpoint_id": str(endpoint_id)}, f"webhooks.deliver:{endpoint_id}")
            for endpoint_id in op.get_bind().scalars(waiting.distinct())
        ],
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_deliveries_due", table_name="webhook_deliveries")
    with op.batch_alter_table("webhook_endpoints") as batch_op:
        batch_op.drop_column("rests_until")
        batch_op.drop_column("turn_token")
        batch_op.drop_column("turn_job_id")
    each = _DELIVERIES.c
    waiting = sa.select(each.id, each.attempt_count, each.next_attempt_at)
    waiting = waiting.where(each.next_attempt_at.is_not(None), each.lead_id.is_(None))
    _exchange(
        "webhooks.deliver",
        [
            _job("webhooks.attempt", {"delivery_id": str(row.id), "number": row.attempt_count + 1}, None)
            | {"run_at": row.next_attempt_at}
            for row in op.get_bind().execute(waiting)
        ],
    )


def _exchange(old: str, jobs: list[dict[str, Any]]) -> None:
    op.execute(sa.delete(_JOBS).where(_JOBS.c.name == old))
    if jobs:
        op.bulk_insert(_JOBS, jobs)


def _job(name: str, payload: dict[str, Any], key: str | None) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": uuid4(),
        "name": name,
        "payload": payload,
        "status": "queued",
        "run_at": now,
        "token": 0,
        "attempts": 0,
        "unique_key": key,
        "created_at": now,
    }
