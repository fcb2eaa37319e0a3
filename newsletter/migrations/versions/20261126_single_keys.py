"""no two indexes of subscribers begin with the same column

Revision ID: 20261126_single_keys
Revises: 20261126_utm
"""

from alembic import op

revision = "20261126_single_keys"
down_revision = "20261126_utm"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_subscribers_status_list", "subscribers", ["status", "list_id", "id"])
    op.create_index("ix_subscribers_address", "subscribers", ["address_key", "project_id"])
    op.drop_index("ix_subscribers_list_status", table_name="subscribers")
    op.drop_index("ix_subscribers_project_address", table_name="subscribers")


def downgrade() -> None:
    op.create_index("ix_subscribers_project_address", "subscribers", ["project_id", "address_key"])
    op.create_index("ix_subscribers_list_status", "subscribers", ["list_id", "status", "id"])
    op.drop_index("ix_subscribers_address", table_name="subscribers")
    op.drop_index("ix_subscribers_status_list", table_name="subscribers")
