"""consents are written without a look at their project

Revision ID: 20261126_consents
Revises: 20261126_single_keys
"""

from alembic import op

revision = "20261126_consents"
down_revision = "20261126_single_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("consents") as consents:
        consents.drop_constraint("fk_consents_project_id", type_="foreignkey")


def downgrade() -> None:
    with op.batch_alter_table("consents") as consents:
        consents.create_foreign_key("fk_consents_project_id", "projects", ["project_id"], ["id"])
