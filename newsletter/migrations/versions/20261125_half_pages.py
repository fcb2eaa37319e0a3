"""room in each page of messages for the updates of its rows

Revision ID: 20261125_half_pages
Revises: 20261125_attempts
"""

from alembic import op

revision = "20261125_half_pages"
down_revision = "20261125_attempts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # For pages that are filled from now on; those of old campaigns hardly change any more.
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE messages SET (fillfactor = 50)")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE messages RESET (fillfactor)")
