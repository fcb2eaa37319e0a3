"""the event log in monthly parts

On Postgres the table becomes partitioned by id, which begins with the time; SQLite keeps one
table, so there is nothing to do.

Revision ID: 20261125_event_parts
Revises: campaign_control
"""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261125_event_parts"
down_revision = "campaign_control"
branch_labels = None
depends_on = None

MONTHS_AHEAD = 3


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    op.execute("ALTER TABLE events RENAME TO events_before")
    op.execute("ALTER INDEX pk_events RENAME TO pk_events_before")
    op.execute("ALTER INDEX ix_events_project RENAME TO ix_events_before_project")
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_events_project", "events", ["project_id", "id"], unique=False)
    op.execute("CREATE TABLE events_default PARTITION OF events DEFAULT")
    first = connection.execute(sa.text("SELECT id FROM events_before ORDER BY id LIMIT 1")).scalar()
    now = datetime.now(UTC)
    start = now if first is None else min(now, datetime.fromtimestamp((first.int >> 80) / 1000, UTC))
    number, last = _number(start), _number(now) + MONTHS_AHEAD
    while number <= last:
        low, high = _first_id(number), _first_id(number + 1)
        name = f"events_{number // 12}{number % 12 + 1:02}"
        op.execute(f"CREATE TABLE {name} PARTITION OF events FOR VALUES FROM ('{low}') TO ('{high}')")
        number += 1
    op.execute("INSERT INTO events SELECT id, project_id, type, data, created_at FROM events_before")
    op.execute("DROP TABLE events_before")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("CREATE TABLE events_after (LIKE events)")
    op.execute("INSERT INTO events_after SELECT * FROM events")
    op.execute("DROP TABLE events")
    op.execute("ALTER TABLE events_after RENAME TO events")
    op.execute("ALTER TABLE events ADD CONSTRAINT pk_events PRIMARY KEY (id)")
    op.create_index("ix_events_project", "events", ["project_id", "id"], unique=False)


def _number(at: datetime) -> int:
    """Months since the year 0."""
    return at.year * 12 + at.month - 1


def _first_id(number: int) -> UUID:
    """The smallest UUIDv7 of the month."""
    start = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return UUID(int=int(start.timestamp() * 1000) << 80)
