"""up to where mailboxes were read

Revision ID: 20261126_mailboxes
Revises: 20261126_single_mails
"""

import sqlalchemy as sa
from alembic import op

revision = "20261126_mailboxes"
down_revision = "20261126_single_mails"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mailboxes",
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("validity", sa.BigInteger(), nullable=False),
        sa.Column("last_uid", sa.BigInteger(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mailboxes")),
    )


def downgrade() -> None:
    op.drop_table("mailboxes")
