"""which server, for what purpose, and each try that was refused

Revision ID: 20261125_attempts
Revises: 20261125_event_parts
"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_attempts"
down_revision = "20261125_event_parts"
branch_labels = None
depends_on = None

OUTCOMES = ("pending", "sending", "deferred", "sent", "failed", "suppressed", "skipped", "unknown")


def upgrade() -> None:
    op.create_table(
        "message_attempts",
        sa.Column("mailing_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column(
            "outcome",
            sa.Enum(*OUTCOMES, name="outcome", native_enum=False, create_constraint=True, length=20),
            nullable=False,
        ),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("mailing_id", "seq", "attempt", name=op.f("pk_message_attempts")),
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("server_id", sa.Uuid(), nullable=True))
        batch_op.drop_constraint(op.f("fk_messages_mailing_id"), type_="foreignkey")
        batch_op.drop_index("ix_messages_subscriber")

    # Until now there was nothing but campaigns and their test sends.
    with op.batch_alter_table("mailings", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("purpose", sa.String(length=20), nullable=False, server_default="marketing")
        )
    with op.batch_alter_table("mailings", schema=None) as batch_op:
        batch_op.alter_column("purpose", server_default=None)
        batch_op.create_check_constraint(
            op.f("ck_mailings_purpose"), "purpose IN ('marketing', 'transactional')"
        )


def downgrade() -> None:
    with op.batch_alter_table("mailings", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_mailings_purpose"), type_="check")
        batch_op.drop_column("purpose")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index("ix_messages_subscriber", ["subscriber_id"], unique=False)
        batch_op.create_foreign_key(
            op.f("fk_messages_mailing_id"), "mailings", ["mailing_id"], ["id"], ondelete="CASCADE"
        )
        batch_op.drop_column("server_id")
    op.drop_table("message_attempts")
