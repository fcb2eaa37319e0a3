"""variables of automations, and their values in a run

Revision ID: 20261129_automation_variables
Revises: 20261129_audit_chains
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261129_automation_variables"
down_revision = "20261129_audit_chains"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for table, nothing in (("automations", "[]"), ("automation_runs", "{}")):
        op.add_column(table, sa.Column("variables", JSON, server_default=nothing, nullable=False))


def downgrade() -> None:
    for table in ("automation_runs", "automations"):
        op.drop_column(table, "variables")
