"""a look-up by key has one index that looks best

Revision ID: 20261126_single_keys
Revises: 20261126_endpoint_notice
"""

from alembic import op

revision = "20261126_single_keys"
down_revision = "20261126_endpoint_notice"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_subscribers_status_list", "subscribers", ["status", "list_id", "id"])
    op.create_index("ix_subscribers_address", "subscribers", ["address_key", "project_id"])
    op.drop_index("ix_subscribers_list_status", table_name="subscribers")
    op.drop_index("ix_subscribers_project_address", table_name="subscribers")
    if op.get_bind().dialect.name == "postgresql":
        # Of two indexes that cost the same the newer one is taken.
        op.execute("ALTER TABLE messages DROP CONSTRAINT pk_messages")
        op.execute("ALTER TABLE messages ADD CONSTRAINT pk_messages PRIMARY KEY (mailing_id, seq)")
        op.execute("ALTER TABLE messages ALTER COLUMN mailing_id SET STATISTICS 0")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE messages ALTER COLUMN mailing_id SET STATISTICS -1")
    op.create_index("ix_subscribers_project_address", "subscribers", ["project_id", "address_key"])
    op.create_index("ix_subscribers_list_status", "subscribers", ["list_id", "status", "id"])
    op.drop_index("ix_subscribers_address", table_name="subscribers")
    op.drop_index("ix_subscribers_status_list", table_name="subscribers")
