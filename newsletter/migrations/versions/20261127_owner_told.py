"""when an account's owner was last told of an endpoint that was switched off

Revision ID: 20261127_owner_told
Revises: 20261126_consents
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_owner_told"
down_revision = "20261126_consents"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook_endpoints", sa.Column("owner_told_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("webhook_endpoints") as batch_op:
        batch_op.drop_column("owner_told_at")
