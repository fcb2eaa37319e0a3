"""when an endpoint was switched off, and whether its owner was told

Revision ID: 20261126_endpoint_notice
Revises: 20261126_utm
"""

import sqlalchemy as sa
from alembic import op

revision = "20261126_endpoint_notice"
down_revision = "20261126_utm"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook_endpoints", sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("webhook_endpoints", sa.Column("owner_message_id", sa.String(length=40), nullable=True))
    op.add_column("webhook_endpoints", sa.Column("owner_untold_code", sa.String(length=60), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("webhook_endpoints") as batch_op:
        batch_op.drop_column("owner_untold_code")
        batch_op.drop_column("owner_message_id")
        batch_op.drop_column("disabled_at")
