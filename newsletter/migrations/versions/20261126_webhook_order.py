"""order, groups and history of webhook calls, and secrets that rotate

Revision ID: 20261126_webhook_order
Revises: 20261126_mailboxes
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261126_webhook_order"
down_revision = "20261126_mailboxes"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    op.add_column("events", sa.Column("message_id", sa.String(length=40), nullable=True))
    op.create_index("ix_events_message", "events", ["message_id", "id"], unique=False)
    path = (
        "data->'message'->>'id'" if op.get_context().dialect.name == "postgresql" else "data->>'$.message.id'"
    )
    op.execute(f"UPDATE events SET message_id = {path} WHERE type LIKE 'message.%'")  # noqa: S608 - ours.

    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.add_column(sa.Column("previous_secret", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("group_size", sa.Integer(), server_default="1", nullable=False))
        batch_op.add_column(sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("message_id", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("lead_id", sa.Uuid(), nullable=True))
        batch_op.create_index("ix_webhook_deliveries_lead", ["lead_id"], unique=False)
        batch_op.create_index(
            "ix_webhook_deliveries_message", ["endpoint_id", "message_id", "event_id"], unique=False
        )
        batch_op.create_index(
            "ix_webhook_deliveries_waiting", ["endpoint_id", "status", "next_attempt_at"], unique=False
        )

    with op.batch_alter_table("webhook_attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("request_headers", _JSON, nullable=True))
        batch_op.add_column(sa.Column("answer", sa.String(length=4000), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("webhook_attempts", schema=None) as batch_op:
        batch_op.drop_column("answer")
        batch_op.drop_column("request_headers")

    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.drop_index("ix_webhook_deliveries_waiting")
        batch_op.drop_index("ix_webhook_deliveries_message")
        batch_op.drop_index("ix_webhook_deliveries_lead")
        batch_op.drop_column("lead_id")
        batch_op.drop_column("message_id")

    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.drop_column("failing_since")
        batch_op.drop_column("group_size")
        batch_op.drop_column("previous_secret_until")
        batch_op.drop_column("previous_secret")

    op.drop_index("ix_events_message", table_name="events")
    op.drop_column("events", "message_id")
