"""hosts of projects that their tracked links lead to

Revision ID: 20261127_tracking_hosts
Revises: 20261127_mailing_rolls
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_tracking_hosts"
down_revision = "20261127_mailing_rolls"
branch_labels = None
depends_on = None

_UNIQUE = "uq_sending_domains_tracking_host"


def upgrade() -> None:
    with op.batch_alter_table("sending_domains") as batch_op:
        batch_op.add_column(sa.Column("tracking_host", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("tracking_verified_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_unique_constraint(op.f(_UNIQUE), ["tracking_host"])


def downgrade() -> None:
    with op.batch_alter_table("sending_domains") as batch_op:
        batch_op.drop_constraint(op.f(_UNIQUE), type_="unique")
        batch_op.drop_column("tracking_verified_at")
        batch_op.drop_column("tracking_host")
