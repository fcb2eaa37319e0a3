"""pauses, schedules with a zone, local hours, and counters that pause a campaign

Revision ID: campaign_control
Revises: 20261125_routing
"""

import sqlalchemy as sa
from alembic import op

revision = "campaign_control"
down_revision = "20261125_routing"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mailings", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("mailings", sa.Column("bounce_limit", sa.Double(), nullable=True))
    op.add_column("mailings", sa.Column("complaint_limit", sa.Double(), nullable=True))
    op.add_column("batches", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    for counter in ("decided_before", "bounced", "complained"):
        op.add_column("batches", sa.Column(counter, sa.Integer(), server_default="0", nullable=False))
    op.add_column("campaigns", sa.Column("scheduled_timezone", sa.String(length=64), nullable=True))
    op.add_column("campaigns", sa.Column("send_at_local_hour", sa.Integer(), nullable=True))


def downgrade() -> None:
    for column in ("send_at_local_hour", "scheduled_timezone"):
        op.drop_column("campaigns", column)
    for column in ("complained", "bounced", "decided_before", "claimed_at", "due_at"):
        op.drop_column("batches", column)
    for column in ("complaint_limit", "bounce_limit", "paused_at"):
        op.drop_column("mailings", column)
