"""Automations, the runs of their subscribers, and what became of each step."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class AutomationStatus(StrEnum):
    draft = "draft"
    active = "active"
    paused = "paused"
    archived = "archived"


class Reentry(StrEnum):
    """Whether a subscriber may start again once their run is over."""

    once = "once"
    always = "always"


class Cause(StrEnum):
    """What began a run."""

    event = "event"
    time = "time"
    condition = "condition"
    trigger = "trigger"
    """A call of the API."""


class RunStatus(StrEnum):
    running = "running"
    completed = "completed"
    """Every step was taken."""
    left = "left"
    """The subscriber could not go on: unsubscribed, suppressed, gone."""
    failed = "failed"
    """The automation could not go on: a step, a template or the automation itself was removed."""


class StepOutcome(StrEnum):
    sent = "sent"
    """Handed over to sending; `GET /messages/{id}` has what became of the mail."""
    waited = "waited"
    """The wait began; ``until`` says when it ends."""
    yes = "yes"
    no = "no"
    tagged = "tagged"
    ended = "ended"
    """The run ended here; ``reason`` says why."""


class Automation(Base):
    """Steps for the subscribers of one list."""

    __tablename__ = "automations"
    __table_args__ = (
        Index("ix_automations_project_id_id", "project_id", "id"),
        # The sweeper asks for the active ones of all projects.
        Index("ix_automations_status", "status", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    list_id: Mapped[UUID]
    """No foreign key: an automation outlives its list, and says that it is missing."""
    name: Mapped[str] = mapped_column(text(200))
    status: Mapped[AutomationStatus] = mapped_column(status_type(AutomationStatus, "status"))
    status_reason: Mapped[dict[str, Any] | None]
    """Why it paused itself."""
    start: Mapped[dict[str, Any] | None]
    """`newsletter.automations.schemas.Start` as JSON; None: calls alone start it."""
    steps: Mapped[list[dict[str, Any]]]
    """`newsletter.automations.schemas.Step` as JSON."""
    variables: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    """`newsletter.templates.schemas.Variable` as JSON: what merge tags of its mails may read besides the
    subscriber."""
    reentry: Mapped[Reentry] = mapped_column(status_type(Reentry, "reentry"))
    version: Mapped[int] = mapped_column(default=1)
    """Grows with each change of what it does."""
    enrol_at: Mapped[datetime | None]
    """When the sweeper is to look for subscribers to start: its time, or the next look at its condition."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Run(Base):
    """One subscriber on their way through an automation."""

    __tablename__ = "automation_runs"
    __table_args__ = (
        UniqueConstraint("automation_id", "subscriber_id", "entry"),
        # Nobody is twice in one automation at a time, and so no mailing of it has an address twice.
        Index(
            "uq_automation_runs_open",
            *("automation_id", "subscriber_id"),
            unique=True,
            postgresql_where=sql("status = 'running'"),
            sqlite_where=sql("status = 'running'"),
        ),
        Index("ix_automation_runs_page", "automation_id", "id"),
        Index(
            "ix_automation_runs_due",
            *("automation_id", "due_at", "id"),
            postgresql_where=sql("status = 'running'"),
            sqlite_where=sql("status = 'running'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    automation_id: Mapped[UUID] = mapped_column(ForeignKey("automations.id", ondelete="CASCADE"))
    subscriber_id: Mapped[UUID]
    """No foreign key: a run outlives its subscriber, and ends."""
    entry: Mapped[str] = mapped_column(text(64))
    """What started it, once: ``once``, or the id of the event or call."""
    cause: Mapped[Cause] = mapped_column(status_type(Cause, "cause"))
    event_id: Mapped[UUID | None]
    status: Mapped[RunStatus] = mapped_column(status_type(RunStatus, "status"))
    reason: Mapped[str | None] = mapped_column(text(100))
    """A code: why it left or failed, or why its step is tried again later."""
    step_id: Mapped[str | None] = mapped_column(text(40))
    """The step that is taken next; None behind the last, which may be a wait that is not over."""
    variables: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """Texts that its call gave, until it is over."""
    due_at: Mapped[datetime]
    """Its next step is not taken before, by the database's clock."""
    taken: Mapped[int] = mapped_column(default=0)
    """Steps taken so far."""
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RunStep(Base):
    """A step that was taken. Its key makes a second time impossible."""

    __tablename__ = "automation_run_steps"

    run_id: Mapped[UUID] = mapped_column(
        ForeignKey("automation_runs.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    """1 for the first that was taken."""
    step_id: Mapped[str | None] = mapped_column(text(40))
    outcome: Mapped[StepOutcome] = mapped_column(status_type(StepOutcome, "outcome"))
    reason: Mapped[str | None] = mapped_column(text(100))
    mailing_id: Mapped[UUID | None]
    """With ``seq``: the message of a send."""
    seq: Mapped[int | None]
    until: Mapped[datetime | None]
    at: Mapped[datetime]
