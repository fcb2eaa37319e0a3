"""segments, and which of them a campaign goes to

Revision ID: 20261130_segments
Revises: 20261129_automation_variables
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from newsletter.kit.db import Instant

revision = "20261130_segments"
down_revision = "20261129_automation_variables"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "segments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("list_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.String(length=2000), nullable=True),
        sa.Column("conditions", JSON, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "list_id"], ["lists.project_id", "lists.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_segments_project_id_id", "segments", ["project_id", "id"])
    op.create_index("ix_segments_list_id", "segments", ["list_id"])
    op.add_column("campaigns", sa.Column("segment_id", sa.Uuid(), nullable=True))
    op.add_column("campaigns", sa.Column("segment", JSON, nullable=True))


def downgrade() -> None:
    for column in ("segment", "segment_id"):
        op.drop_column("campaigns", column)
    op.drop_table("segments")
