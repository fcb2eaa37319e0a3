"""what was seen of sending domains in the DNS

Revision ID: 20261126_domain_verification
Revises: 20261127_endpoint_turns
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261126_domain_verification"
down_revision = "20261127_endpoint_turns"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_TIME = sa.DateTime(timezone=True)
_CHECK = "ck_sending_domains_status"


def upgrade() -> None:
    with op.batch_alter_table("sending_domains") as batch_op:
        batch_op.add_column(sa.Column("checks", _JSON, server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("checked_at", _TIME, nullable=True))
        batch_op.add_column(sa.Column("absent_since", _TIME, nullable=True))
        batch_op.drop_constraint(op.f(_CHECK), type_="check")
    op.execute("UPDATE sending_domains SET status = 'pending'")
    with op.batch_alter_table("sending_domains") as batch_op:
        batch_op.alter_column("checks", existing_type=_JSON, existing_nullable=False, server_default=None)
        batch_op.create_check_constraint(op.f(_CHECK), "status IN ('pending', 'verified', 'failed')")
    op.create_index("ix_sending_domains_checked", "sending_domains", ["status", "checked_at"])


def downgrade() -> None:
    op.drop_index("ix_sending_domains_checked", table_name="sending_domains")
    with op.batch_alter_table("sending_domains") as batch_op:
        batch_op.drop_constraint(op.f(_CHECK), type_="check")
        for name in ("absent_since", "checked_at", "checks"):
            batch_op.drop_column(name)
    op.execute("UPDATE sending_domains SET status = 'unverified'")
    with op.batch_alter_table("sending_domains") as batch_op:
        batch_op.create_check_constraint(op.f(_CHECK), "status IN ('unverified')")
