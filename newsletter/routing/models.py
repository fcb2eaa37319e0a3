"""Sending servers, the rules that choose among them, and what all workers share about them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text
from newsletter.providers.base import Purpose


class SendingServer(Base):
    __tablename__ = "sending_servers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(text(200))
    type: Mapped[str] = mapped_column(text(20))
    config: Mapped[dict[str, Any]]
    """What is no secret: host, user, region."""
    secrets: Mapped[bytes]
    """The rest of the configuration, as JSON, encrypted."""
    version: Mapped[int] = mapped_column(default=1)
    """Goes up with each change: workers know by it that what they made is out of date."""
    is_active: Mapped[bool] = mapped_column(default=True)
    max_connections: Mapped[int]
    """Of each worker process."""
    messages_per_connection: Mapped[int]
    quota_per_hour: Mapped[int | None]
    quota_per_day: Mapped[int | None]
    quota_per_month: Mapped[int | None]
    rate_per_second: Mapped[float | None]
    warm_up: Mapped[dict[str, Any] | None]
    """`newsletter.routing.warmup.WarmUp` as JSON."""
    from_domains: Mapped[list[str]]
    """Sender domains that it may send for; empty: all."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class RoutingRule(Base):
    """Mail that fits all that is set goes to the server; null fits any."""

    __tablename__ = "routing_rules"
    __table_args__ = (Index("ix_routing_rules_project", "project_id", "priority", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    server_id: Mapped[UUID] = mapped_column(ForeignKey("sending_servers.id"), index=True)
    priority: Mapped[int]
    """The lowest number is first, as with MX records."""
    weight: Mapped[int]
    """The share among rules of one priority."""
    purpose: Mapped[Purpose | None] = mapped_column(status_type(Purpose, "purpose"))
    from_domain: Mapped[str | None] = mapped_column(text(255))
    list_id: Mapped[UUID | None]
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ServerMeter(Base):
    """What went through a server in the running hour, day and month (UTC), and in all.

    ``server_id`` is that of a sending server, or nil for the installation's own: so there is
    no foreign key here, nor in the tables below.
    """

    __tablename__ = "server_meters"

    server_id: Mapped[UUID] = mapped_column(primary_key=True)
    hour: Mapped[str] = mapped_column(text(13), default="")
    hour_used: Mapped[int] = mapped_column(default=0)
    day: Mapped[str] = mapped_column(text(10), default="")
    day_used: Mapped[int] = mapped_column(default=0)
    month: Mapped[str] = mapped_column(text(7), default="")
    month_used: Mapped[int] = mapped_column(default=0)
    rate_free_at: Mapped[datetime | None]
    """Until when the rate is given away."""
    sent: Mapped[int] = mapped_column(BigInteger, default=0)
    deferred: Mapped[int] = mapped_column(BigInteger, default=0)
    failed: Mapped[int] = mapped_column(BigInteger, default=0)


class ServerBreaker(Base):
    """A server that failed lately; no row: all is well. The states are in `newsletter.routing.breaker`."""

    __tablename__ = "server_breakers"

    server_id: Mapped[UUID] = mapped_column(primary_key=True)
    openings: Mapped[int] = mapped_column(default=0)
    """In a row, which makes each one longer."""
    open_until: Mapped[datetime | None]
    probe_until: Mapped[datetime | None]
    """For how long one worker alone tries whether it works again."""
    reason: Mapped[str] = mapped_column(text(500))
    updated_at: Mapped[datetime]


class DestinationThrottle(Base):
    """A domain that takes less than we would send it through one server; no row: no limit.

    Its rules are in `newsletter.routing.throttle`.
    """

    __tablename__ = "destination_throttles"

    server_id: Mapped[UUID] = mapped_column(primary_key=True)
    domain: Mapped[str] = mapped_column(text(255), primary_key=True)
    concurrency: Mapped[float]
    """Mails at the same time, over all workers; whole ones count."""
    blocked_until: Mapped[datetime | None]
    holder: Mapped[UUID | None]
    """Proves who holds the door."""
    held_until: Mapped[datetime | None]
    """For how long one worker alone sends to the domain."""
    reason: Mapped[str] = mapped_column(text(500))
    updated_at: Mapped[datetime] = mapped_column(index=True)
