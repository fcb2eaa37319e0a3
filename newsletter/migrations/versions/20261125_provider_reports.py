"""reports of providers

Revision ID: 20261125_provider_reports
Revises: 20261125_half_pages
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "20261125_provider_reports"
down_revision = "20261125_half_pages"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_reports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("headers", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_reports")),
        sa.UniqueConstraint("server_id", "key", name=op.f("uq_provider_reports_server_id_key")),
    )
    op.create_index("ix_provider_reports_received", "provider_reports", ["received_at"])


def downgrade() -> None:
    op.drop_table("provider_reports")
