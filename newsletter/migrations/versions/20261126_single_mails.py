"""single mails: contents, attachments, variables and tags of their messages

Revision ID: 20261126_single_mails
Revises: 20261126_event_listeners
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261126_single_mails"
down_revision = "20261126_event_listeners"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "mailing_contents",
        sa.Column("mailing_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("compiled", JSON, nullable=False),
        sa.Column("head", JSON, nullable=False),
        sa.PrimaryKeyConstraint("mailing_id", "number", name=op.f("pk_mailing_contents")),
    )
    op.create_table(
        "mailing_attachments",
        sa.Column("mailing_id", sa.Uuid(), nullable=False),
        sa.Column("content", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("filename", sa.String(length=200), nullable=False),
        sa.Column("content_type", sa.String(length=127), nullable=False),
        sa.Column("content_id", sa.String(length=200), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("mailing_id", "content", "position", name=op.f("pk_mailing_attachments")),
    )
    op.create_table(
        "message_parts",
        sa.Column("mailing_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("content", sa.Integer(), nullable=False),
        sa.Column(
            "role",
            sa.Enum("to", "cc", "bcc", name="role", native_enum=False, create_constraint=True, length=20),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("variables", JSON, nullable=False),
        sa.PrimaryKeyConstraint("mailing_id", "seq", name=op.f("pk_message_parts")),
    )
    op.create_table(
        "mailing_tags",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("tag", sa.String(length=200), nullable=False),
        sa.Column("mailing_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "tag", "mailing_id", name=op.f("pk_mailing_tags")),
    )
    op.add_column("mailings", sa.Column("tags", JSON, nullable=False, server_default="[]"))
    op.create_index(
        "ix_messages_single",
        "messages",
        ["address_key", "mailing_id"],
        postgresql_where=sa.text("subscriber_id IS NULL"),
        sqlite_where=sa.text("subscriber_id IS NULL"),
    )
    op.drop_index("ix_mailings_project_id", table_name="mailings")
    op.create_index("ix_mailings_project", "mailings", ["project_id", "id"])
    op.create_index("ix_mailings_source_id", "mailings", ["source_id"])


def downgrade() -> None:
    op.drop_index("ix_mailings_source_id", table_name="mailings")
    op.drop_index("ix_mailings_project", table_name="mailings")
    op.create_index("ix_mailings_project_id", "mailings", ["project_id"])
    op.drop_index("ix_messages_single", table_name="messages")
    with op.batch_alter_table("mailings") as batch_op:
        batch_op.drop_column("tags")
    op.drop_table("mailing_tags")
    op.drop_table("message_parts")
    op.drop_table("mailing_attachments")
    op.drop_table("mailing_contents")
