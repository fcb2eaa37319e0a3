"""a mailing keeps its tracking switches

Revision ID: 20261125_tracking
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_tracking"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("track_opens", "track_clicks"):
        op.add_column("mailings", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("mailings") as batch_op:
        batch_op.drop_column("track_clicks")
        batch_op.drop_column("track_opens")
