"""Customers' endpoints, deliveries to them, and each attempt."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class SignatureStyle(StrEnum):
    standard = "standard"
    hex = "hex"
    timestamped = "timestamped"


class DeliveryStatus(StrEnum):
    pending = "pending"
    succeeded = "succeeded"
    retrying = "retrying"
    exhausted = "exhausted"


class DisabledReason(StrEnum):
    """Why the service itself switched an endpoint off."""

    gone = "gone"
    failing = "failing"


class Endpoint(Base):
    __tablename__ = "webhook_endpoints"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    url: Mapped[str] = mapped_column(text(2000))
    description: Mapped[str | None] = mapped_column(text(500))
    events: Mapped[list[str]]
    """Subscribed event types; empty: all."""
    signature_style: Mapped[SignatureStyle] = mapped_column(status_type(SignatureStyle, "signature_style"))
    secret: Mapped[bytes]
    """Encrypted."""
    previous_secret: Mapped[bytes | None]
    """The one before it, encrypted, which signs as well until ``previous_secret_until``."""
    previous_secret_until: Mapped[datetime | None]
    group_size: Mapped[int] = mapped_column(default=1, server_default="1")
    """Events of one call at most; 1: each has a call, and a body, of its own."""
    is_active: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None] = mapped_column(text(200))
    """A `DisabledReason`, where the service switched it off."""
    disabled_at: Mapped[datetime | None]
    owner_message_id: Mapped[str | None] = mapped_column(text(40))
    """The message that told the account's owner so."""
    owner_untold_code: Mapped[str | None] = mapped_column(text(60))
    """Why nobody was told: the code of what sending lacks, or that it was told a short while ago."""
    owner_told_at: Mapped[datetime | None]
    """When the last such mail was written, whatever became of the endpoint since."""
    consecutive_failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    """When the first of these failed."""
    turn_job_id: Mapped[UUID | None]
    """The job that calls the endpoint at present: it alone does (`webhooks.turns`)."""
    turn_token: Mapped[int] = mapped_column(default=0, server_default="0")
    """Rises with each turn, and with each time that one is taken over."""
    rests_until: Mapped[datetime | None]
    """It has not answered lately, and is left alone so long."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class WebhookDelivery(Base):
    """One event on its way to one endpoint."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        # A second fan-out of the same event changes nothing.
        UniqueConstraint("endpoint_id", "event_id"),
        Index("ix_webhook_deliveries_endpoint", "endpoint_id", "id"),
        # Finds what is still open of one message before an event.
        Index("ix_webhook_deliveries_message", "endpoint_id", "message_id", "event_id"),
        # Finds what waits for its turn, which are few.
        Index("ix_webhook_deliveries_waiting", "endpoint_id", "status", "next_attempt_at"),
        # What is due at an endpoint, in its order; only of what has a time.
        Index(
            "ix_webhook_deliveries_due",
            *("endpoint_id", "next_attempt_at", "event_id"),
            postgresql_where=sql("next_attempt_at IS NOT NULL"),
            sqlite_where=sql("next_attempt_at IS NOT NULL"),
        ),
        Index("ix_webhook_deliveries_lead", "lead_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    event_id: Mapped[UUID]
    event_type: Mapped[str] = mapped_column(text(40))
    message_id: Mapped[str | None] = mapped_column(text(40))
    """The message that the event is about: its events are delivered one after the other."""
    lead_id: Mapped[UUID | None]
    """The delivery in whose calls this one is made, where an endpoint gets several events in one."""
    status: Mapped[DeliveryStatus] = mapped_column(status_type(DeliveryStatus, "status"))
    attempt_count: Mapped[int] = mapped_column(default=0)
    """Calls made so far, in all."""
    attempts_before_replay: Mapped[int] = mapped_column(default=0)
    """Calls made before the newest replay: the retry schedule counts from there."""
    next_attempt_at: Mapped[datetime | None]
    """None of one that is open: it waits for another of its message, or for others to go with it."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Attempt(Base):
    """One call of an endpoint and how it ended."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[UUID] = mapped_column(
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    status_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(text(500))
    request_headers: Mapped[dict[str, Any] | None]
    answer: Mapped[str | None] = mapped_column(text(4000))
    """The first bytes of what it said, as text; none from a private network."""
    elapsed_ms: Mapped[int]
    at: Mapped[datetime]
