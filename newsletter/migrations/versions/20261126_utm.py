"""UTM parameters of projects and campaigns, and a campaign's own tracking switches

Revision ID: 20261126_utm
Revises: 20261126_audit_entries
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261126_utm"
down_revision = "20261126_audit_entries"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    for table in ("projects", "campaigns"):
        op.add_column(table, sa.Column("utm", _JSON, server_default="{}", nullable=False))
    for name in ("track_opens", "track_clicks"):
        op.add_column("campaigns", sa.Column(name, sa.Boolean(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("campaigns") as batch_op:
        batch_op.drop_column("track_clicks")
        batch_op.drop_column("track_opens")
        batch_op.drop_column("utm")
    with op.batch_alter_table("projects") as batch_op:
        batch_op.drop_column("utm")
