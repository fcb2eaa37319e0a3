"""mails that come back, and soft bounces in a row

Revision ID: 20261126_returned_mails
Revises: 20261126_tallies
"""

import sqlalchemy as sa
from alembic import op

revision = "20261126_returned_mails"
down_revision = "20261126_tallies"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "returned_mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=40), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_returned_mails")),
        sa.UniqueConstraint("key", name=op.f("uq_returned_mails_key")),
    )
    op.create_index("ix_returned_mails_received", "returned_mails", ["received_at"])
    op.create_table(
        "soft_bounces",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("address_key", sa.String(length=320), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "address_key", name=op.f("pk_soft_bounces")),
    )


def downgrade() -> None:
    op.drop_table("soft_bounces")
    op.drop_table("returned_mails")
