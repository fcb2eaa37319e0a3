"""sending domains with their keys

Revision ID: 20261125_sending_domains
Revises: 20261125_provider_reports
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261125_sending_domains"
down_revision = "20261125_provider_reports"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sending_domains",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column(
            "mode",
            sa.Enum(
                "relay",
                "rsa",
                "rsa+ed25519",
                name="mode",
                native_enum=False,
                create_constraint=True,
                length=20,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum("unverified", name="status", native_enum=False, create_constraint=True, length=20),
            nullable=False,
        ),
        sa.Column("selector", sa.String(length=63), nullable=False),
        sa.Column("rsa_key", sa.LargeBinary(), nullable=True),
        sa.Column("ed25519_key", sa.LargeBinary(), nullable=True),
        sa.Column("records", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_sending_domains_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sending_domains")),
        sa.UniqueConstraint("project_id", "domain", name=op.f("uq_sending_domains_project_id_domain")),
    )


def downgrade() -> None:
    op.drop_table("sending_domains")
