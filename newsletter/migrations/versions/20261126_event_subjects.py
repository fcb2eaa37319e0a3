"""events are found by their mailing

Revision ID: 20261126_event_subjects
Revises: 20261126_webhook_order
"""

import sqlalchemy as sa
from alembic import op

revision = "20261126_event_subjects"
down_revision = "20261126_webhook_order"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("mailing_id", sa.Uuid(), nullable=True))
    op.create_index("ix_events_mailing", "events", ["mailing_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_events_mailing", table_name="events")
    op.drop_column("events", "mailing_id")
