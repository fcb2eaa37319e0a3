"""The event log, and who listens to it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, text


class Event(Base):
    """Something that happened in a project. Ids sort by time, so they also partition by it
    (`newsletter.events.parts`)."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_project", "project_id", "id"),
        Index("ix_events_message", "message_id", "id"),
        Index("ix_events_mailing", "mailing_id", "id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(text(40))
    data: Mapped[dict[str, Any]]
    """The ``data`` of the webhook body, exactly as customers get it."""
    created_at: Mapped[datetime]
    message_id: Mapped[str | None] = mapped_column(text(40))
    """The public id of the message that it is about, of which others ask for the whole history."""
    mailing_id: Mapped[UUID | None]
    """That of the message: a campaign's events are read by pages."""


class EventListener(Base):
    """Somebody who is told of a type of event; `newsletter.events.listening` says more."""

    __tablename__ = "event_listeners"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    listener: Mapped[str] = mapped_column(text(20), primary_key=True)
    type: Mapped[str] = mapped_column(text(40), primary_key=True)
    """One of `EventType`, or ``*`` for all."""
