"""Tables of lists, subscribers, segments, consents and custom fields."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class Status(StrEnum):
    """Where a subscriber stands on one list; only ``active`` is mailed."""

    pending = "pending"
    active = "active"
    unsubscribed = "unsubscribed"
    bounced = "bounced"
    complained = "complained"


class ConsentAction(StrEnum):
    subscribed = "subscribed"
    resubscribed = "resubscribed"
    unsubscribed = "unsubscribed"
    bounced = "bounced"
    complained = "complained"
    erased = "erased"


class MailingList(Base):
    __tablename__ = "lists"
    # The pair is unique so that children can carry the project in their foreign key.
    __table_args__ = (UniqueConstraint("project_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(text(200))
    description: Mapped[str | None] = mapped_column(text(2000))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Subscriber(Base):
    """One address on one list."""

    __tablename__ = "subscribers"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "list_id"], ["lists.project_id", "lists.id"], ondelete="CASCADE"),
        UniqueConstraint("list_id", "address_key"),
        # No two of these begin with the same column. Where two did, Postgres took either for a look-up on
        # a list or table that its statistics did not know yet, and of the wrong one it read all of the
        # list for each address (ADR 44).
        Index("ix_subscribers_project_id_id", "project_id", "id"),
        Index("ix_subscribers_address", "address_key", "project_id"),
        # Freezing an audience and counting a list read these in order of id.
        Index("ix_subscribers_status_list", "status", "list_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    list_id: Mapped[UUID]
    email: Mapped[str] = mapped_column(text(320))
    """As the caller spelled it."""
    address_key: Mapped[str] = mapped_column(text(320))
    """Equal for equal addresses: NFC, lower case, domain as A-label."""
    first_name: Mapped[str | None] = mapped_column(text(200))
    last_name: Mapped[str | None] = mapped_column(text(200))
    tags: Mapped[list[str]] = mapped_column(default=list)
    custom_fields: Mapped[dict[str, Any]] = mapped_column(default=dict)
    locale: Mapped[str | None] = mapped_column(text(35))
    timezone: Mapped[str | None] = mapped_column(text(64))
    status: Mapped[Status] = mapped_column(status_type(Status, "status"))
    subscribed_at: Mapped[datetime | None]
    unsubscribed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Segment(Base):
    """Named conditions on the subscribers of one list. Who meets them is asked each time: it holds nobody."""

    __tablename__ = "segments"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "list_id"], ["lists.project_id", "lists.id"], ondelete="CASCADE"),
        Index("ix_segments_project_id_id", "project_id", "id"),
        Index("ix_segments_list_id", "list_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    list_id: Mapped[UUID]
    name: Mapped[str] = mapped_column(text(200))
    description: Mapped[str | None] = mapped_column(text(2000))
    conditions: Mapped[dict[str, Any]]
    """A `conditions.Condition`, as the API shows it."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Consent(Base):
    """One change of consent. Rows are only ever added; erasure blanks the personal columns."""

    __tablename__ = "consents"
    __table_args__ = (Index("ix_consents_project_address", "project_id", "address_key"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    # No foreign key: its check was 5.5 of the 13 ms that a thousand rows took the server, and they are
    # written in the transaction of a subscriber, whose own key is checked (as of messages, ADR 15).
    project_id: Mapped[UUID]
    list_id: Mapped[UUID | None]
    subscriber_id: Mapped[UUID] = mapped_column(index=True)
    address_key: Mapped[str] = mapped_column(text(320))
    action: Mapped[ConsentAction] = mapped_column(status_type(ConsentAction, "action"))
    source: Mapped[str] = mapped_column(text(200))
    """Where it came from: ``api``, ``one-click``, ``unsubscribe page``, a form's name …"""
    ip: Mapped[str | None] = mapped_column(text(45))
    text: Mapped[str | None] = mapped_column(text(2000))
    """The words that the person agreed to."""
    key_id: Mapped[UUID | None]
    at: Mapped[datetime]


class CustomField(Base):
    """A name that some subscriber of the project has a value for; merge tags may use it."""

    __tablename__ = "custom_fields"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(text(50), primary_key=True)
    created_at: Mapped[datetime]
