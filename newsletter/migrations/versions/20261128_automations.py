"""automations, their runs, and mailings that they start

Revision ID: 20261128_automations
Revises: 20261127_tracking_hosts
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261128_automations"
down_revision = "20261127_tracking_hosts"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_KINDS = "kind IN ('campaign', 'test', 'transactional')"
_MORE_KINDS = "kind IN ('campaign', 'test', 'transactional', 'automation')"


def _words(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=20)


def upgrade() -> None:
    op.create_table(
        "automations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("list_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("status", _words("status", "draft", "active", "paused", "archived"), nullable=False),
        sa.Column("status_reason", JSON, nullable=True),
        sa.Column("start", JSON, nullable=True),
        sa.Column("steps", JSON, nullable=False),
        sa.Column("reentry", _words("reentry", "once", "always"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("enrol_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_automations_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_automations")),
    )
    op.create_index("ix_automations_project_id_id", "automations", ["project_id", "id"])
    op.create_index("ix_automations_status", "automations", ["status", "id"])
    op.create_table(
        "automation_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("automation_id", sa.Uuid(), nullable=False),
        sa.Column("subscriber_id", sa.Uuid(), nullable=False),
        sa.Column("entry", sa.String(length=64), nullable=False),
        sa.Column("cause", _words("cause", "event", "time", "condition", "trigger"), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("status", _words("status", "running", "completed", "left", "failed"), nullable=False),
        sa.Column("reason", sa.String(length=100), nullable=True),
        sa.Column("step_id", sa.String(length=40), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["automation_id"],
            ["automations.id"],
            name=op.f("fk_automation_runs_automation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_automation_runs")),
        sa.UniqueConstraint(
            "automation_id",
            "subscriber_id",
            "entry",
            name=op.f("uq_automation_runs_automation_id_subscriber_id_entry"),
        ),
    )
    open_ones = sa.text("status = 'running'")
    for name, columns, is_unique in (
        ("uq_automation_runs_open", ["automation_id", "subscriber_id"], True),
        ("ix_automation_runs_due", ["automation_id", "due_at", "id"], False),
    ):
        op.create_index(
            name,
            "automation_runs",
            columns,
            unique=is_unique,
            postgresql_where=open_ones,
            sqlite_where=open_ones,
        )
    op.create_index("ix_automation_runs_page", "automation_runs", ["automation_id", "id"])
    op.create_table(
        "automation_run_steps",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step_id", sa.String(length=40), nullable=True),
        sa.Column(
            "outcome", _words("outcome", "sent", "waited", "yes", "no", "tagged", "ended"), nullable=False
        ),
        sa.Column("reason", sa.String(length=100), nullable=True),
        sa.Column("mailing_id", sa.Uuid(), nullable=True),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["automation_runs.id"],
            name=op.f("fk_automation_run_steps_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_automation_run_steps")),
    )
    _check_kinds(_KINDS, _MORE_KINDS)


def downgrade() -> None:
    op.execute("UPDATE mailings SET kind = 'test' WHERE kind = 'automation'")
    _check_kinds(_MORE_KINDS, _KINDS)
    for table in ("automation_run_steps", "automation_runs", "automations"):
        op.drop_table(table)
    op.execute("DELETE FROM event_listeners WHERE listener = 'automations'")


def _check_kinds(before: str, after: str) -> None:
    """SQLite would make the table anew, and with the old one go the batches that refer to it: so the check
    is changed where it is written, as https://www.sqlite.org/lang_altertable.html (section 7) has it."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_mailings_kind"), "mailings", type_="check")
        op.create_check_constraint(op.f("ck_mailings_kind"), "mailings", after)
        return
    connection = op.get_bind()
    version = connection.execute(sa.text("PRAGMA schema_version")).scalar_one()
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    connection.execute(
        sa.text("UPDATE sqlite_master SET sql = replace(sql, :before, :after) WHERE name = 'mailings'"),
        {"before": before, "after": after},
    )
    connection.execute(sa.text(f"PRAGMA schema_version = {int(version) + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = OFF"))
