"""jobs are looked for by name

Revision ID: 20261201_jobs_by_name
Revises: 20261130_segments
"""

import sqlalchemy as sa
from alembic import op

revision = "20261201_jobs_by_name"
down_revision = "20261130_segments"
branch_labels = None
depends_on = None

PARTS = {
    "ix_jobs_unrung": (["name", "run_at", "id"], "status = 'queued' AND rung_at IS NULL"),
    "ix_jobs_rung": (["name", "run_at", "id"], "status = 'queued' AND rung_at IS NOT NULL"),
    "ix_jobs_running": (["lease_until"], "status = 'running'"),
}


def upgrade() -> None:
    for name, (columns, where) in PARTS.items():
        op.create_index(name, "jobs", columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
    op.drop_index("ix_jobs_run_at", "jobs")


def downgrade() -> None:
    op.create_index("ix_jobs_run_at", "jobs", ["run_at"])
    for name in PARTS:
        op.drop_index(name, "jobs")
