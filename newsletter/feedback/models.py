"""What came back, stored once before anything is made of it; how often an address has failed; and who
opened and clicked."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, text


class ProviderReport(Base):
    """One call of a provider whose signature was right.

    There is no foreign key, so that a report outlives the server that it came about.
    """

    __tablename__ = "provider_reports"
    __table_args__ = (
        UniqueConstraint("server_id", "key"),
        Index("ix_provider_reports_received", "received_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    server_id: Mapped[UUID]
    key: Mapped[str] = mapped_column(text(200))
    """`newsletter.providers.events.Feed.key`: the same when the report is repeated."""
    headers: Mapped[dict[str, Any]]
    """Those that the report is read with."""
    raw: Mapped[bytes | None]
    """The body, deflated; null once it was applied, since it is full of personal data. The row
    stays until nobody could repeat the report any more."""
    received_at: Mapped[datetime]


class MessageEngagement(Base):
    """How often a message was opened and its links followed, by people and by machines.

    A table of its own: most messages are never opened, and rows of `messages`, which their sender
    updates, stay as narrow as they are.
    """

    __tablename__ = "message_engagement"
    # Nothing that changes is in an index, so with room in its page an update touches no index.
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    opens: Mapped[int]
    """By people, as are the clicks and all four times."""
    machine_opens: Mapped[int]
    clicks: Mapped[int]
    machine_clicks: Mapped[int]
    first_opened_at: Mapped[datetime | None]
    last_opened_at: Mapped[datetime | None]
    first_clicked_at: Mapped[datetime | None]
    last_clicked_at: Mapped[datetime | None]


class ReturnedMail(Base):
    """A mail that came back and proves which message it is about."""

    __tablename__ = "returned_mails"
    __table_args__ = (Index("ix_returned_mails_received", "received_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(text(64), unique=True)
    """A hash of the message and of the returned mail's own id: the same when it comes again."""
    message_id: Mapped[str] = mapped_column(text(40))
    """``msg_…``."""
    raw: Mapped[bytes | None]
    """The mail, deflated; null once it was applied, since it is full of personal data."""
    received_at: Mapped[datetime]


class SoftBounces(Base):
    """Soft bounces of an address in a row; the row goes when a mail arrives."""

    __tablename__ = "soft_bounces"

    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    address_key: Mapped[str] = mapped_column(text(320), primary_key=True)
    count: Mapped[int]
    since: Mapped[datetime]
    """When the first of them came."""


class Mailbox(Base):
    """Up to where a mailbox was read (IMAP)."""

    __tablename__ = "mailboxes"

    name: Mapped[str] = mapped_column(text(500), primary_key=True)
    validity: Mapped[int] = mapped_column(BigInteger)
    """UIDVALIDITY: where it changes, numbers begin anew (RFC 9051 §2.3.1.1)."""
    last_uid: Mapped[int] = mapped_column(BigInteger)
    looked_at: Mapped[datetime]
    """When somebody began to look, last."""
