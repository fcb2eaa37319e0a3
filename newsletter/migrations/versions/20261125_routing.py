"""sending servers, routing rules, and what workers share about them

Revision ID: 20261125_routing
Revises: 20261125_tracking
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261125_routing"
down_revision = "20261125_tracking"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "destination_throttles",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("concurrency", sa.Double(), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("server_id", "domain", name=op.f("pk_destination_throttles")),
    )
    with op.batch_alter_table("destination_throttles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_destination_throttles_updated_at"), ["updated_at"], unique=False)

    op.create_table(
        "server_breakers",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("openings", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probe_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("server_id", name=op.f("pk_server_breakers")),
    )
    op.create_table(
        "server_meters",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.String(length=13), nullable=False),
        sa.Column("hour_used", sa.Integer(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("day_used", sa.Integer(), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("month_used", sa.Integer(), nullable=False),
        sa.Column("rate_free_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.Column("deferred", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server_id", name=op.f("pk_server_meters")),
    )
    op.create_table(
        "sending_servers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column(
            "config",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("max_connections", sa.Integer(), nullable=False),
        sa.Column("messages_per_connection", sa.Integer(), nullable=False),
        sa.Column("quota_per_hour", sa.Integer(), nullable=True),
        sa.Column("quota_per_day", sa.Integer(), nullable=True),
        sa.Column("quota_per_month", sa.Integer(), nullable=True),
        sa.Column("rate_per_second", sa.Double(), nullable=True),
        sa.Column(
            "warm_up",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=True,
        ),
        sa.Column(
            "from_domains",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_sending_servers_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sending_servers")),
    )
    with op.batch_alter_table("sending_servers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sending_servers_project_id"), ["project_id"], unique=False)

    op.create_table(
        "routing_rules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum(
                "marketing",
                "transactional",
                name="purpose",
                native_enum=False,
                create_constraint=True,
                length=20,
            ),
            nullable=True,
        ),
        sa.Column("from_domain", sa.String(length=255), nullable=True),
        sa.Column("list_id", sa.Uuid(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_routing_rules_project_id")),
        sa.ForeignKeyConstraint(
            ["server_id"], ["sending_servers.id"], name=op.f("fk_routing_rules_server_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routing_rules")),
    )
    with op.batch_alter_table("routing_rules", schema=None) as batch_op:
        batch_op.create_index("ix_routing_rules_project", ["project_id", "priority", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_routing_rules_server_id"), ["server_id"], unique=False)
