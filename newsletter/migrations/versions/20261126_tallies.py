"""counts of what happens, and who opened and clicked

Revision ID: 20261126_tallies
Revises: 20261125_sending_domains
"""

import sqlalchemy as sa
from alembic import op

revision = "20261126_tallies"
down_revision = "20261125_sending_domains"
branch_labels = None
depends_on = None

METRICS = (
    "sent",
    "failed",
    "suppressed",
    "skipped",
    "unknown",
    "delivered",
    "bounced",
    "complained",
    "unsubscribed",
    "opens",
    "unique_opens",
    "machine_opens",
    "clicks",
    "unique_clicks",
    "machine_clicks",
)
DIMENSIONS = ("total", "campaign", "tag", "domain", "server")


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "tallies",
        sa.Column("id", serial, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("mailing_id", sa.Uuid(), nullable=True),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("quarter", sa.Integer(), nullable=False),
        sa.Column("metric", _one_of(METRICS, "metric"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tallies")),
    )
    op.create_index("ix_tallies_project", "tallies", ["project_id", "mailing_id"])
    op.create_table(
        "rollups",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("dimension", _one_of(DIMENSIONS, "dimension"), nullable=False),
        sa.Column("value", sa.String(length=400), nullable=False),
        sa.Column("quarter", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in METRICS),
        sa.PrimaryKeyConstraint("project_id", "dimension", "value", "quarter", name=op.f("pk_rollups")),
    )
    op.create_index("ix_rollups_quarter", "rollups", ["project_id", "dimension", "quarter"])
    op.create_table(
        "message_engagement",
        sa.Column("mailing_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("opens", "machine_opens", "clicks", "machine_clicks")
        ),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=True)
            for name in ("first_opened_at", "last_opened_at", "first_clicked_at", "last_clicked_at")
        ),
        sa.PrimaryKeyConstraint("mailing_id", "seq", name=op.f("pk_message_engagement")),
        postgresql_with={"fillfactor": 80},
    )


def _one_of(values: tuple[str, ...], name: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=20)


def downgrade() -> None:
    op.drop_table("message_engagement")
    op.drop_table("rollups")
    op.drop_table("tallies")
