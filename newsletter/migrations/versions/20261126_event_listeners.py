"""who listens to which events of a project

Revision ID: 20261126_event_listeners
Revises: 20261126_returned_mails
"""

import sqlalchemy as sa
from alembic import op

revision = "20261126_event_listeners"
down_revision = "20261126_returned_mails"
branch_labels = None
depends_on = None


def upgrade() -> None:
    listeners = op.create_table(
        "event_listeners",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("listener", sa.String(length=20), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_event_listeners_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "listener", "type", name=op.f("pk_event_listeners")),
    )
    endpoints = sa.table(
        "webhook_endpoints",
        sa.column("project_id", sa.Uuid()),
        sa.column("events", sa.JSON()),
        sa.column("is_active", sa.Boolean()),
    )
    active = sa.select(endpoints.c.project_id, endpoints.c.events).where(endpoints.c.is_active)
    wanted = {
        (project_id, kind) for project_id, events in op.get_bind().execute(active) for kind in events or ["*"]
    }
    if wanted:
        op.bulk_insert(
            listeners,
            [
                {"project_id": project_id, "listener": "webhooks", "type": kind}
                for project_id, kind in sorted(wanted)
            ],
        )


def downgrade() -> None:
    op.drop_table("event_listeners")
