"""Mailings, their batches and their messages: the books of what was sent."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, Uuid, false
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text
from newsletter.providers.base import Purpose


class MailingKind(StrEnum):
    campaign = "campaign"
    test = "test"
    transactional = "transactional"
    automation = "automation"


class Role(StrEnum):
    """Where a recipient of a single mail stands in its header; ``bcc`` stands nowhere."""

    to = "to"
    cc = "cc"
    bcc = "bcc"


class MailingStatus(StrEnum):
    running = "running"
    paused = "paused"
    cancelled = "cancelled"
    closed = "closed"


UNFINISHED = tuple(status for status in MailingStatus if status is not MailingStatus.closed)
"""By name, as an index finds them: every single mail is a mailing, and nearly all are closed."""


class UnknownPolicy(StrEnum):
    """What happens to a message of which nobody knows whether the server took it."""

    hold = "hold"
    resend_once = "resend_once"


class Outcome(StrEnum):
    """Where a message stands; the transitions are in `newsletter.delivery.ledger`."""

    pending = "pending"
    sending = "sending"
    deferred = "deferred"
    sent = "sent"
    failed = "failed"
    suppressed = "suppressed"
    skipped = "skipped"
    unknown = "unknown"


class Feedback(StrEnum):
    """What came back later; it never overwrites an outcome."""

    delivered = "delivered"
    bounced = "bounced"
    complained = "complained"


class BatchStatus(StrEnum):
    waiting = "waiting"
    leased = "leased"
    done = "done"


class Mailing(Base):
    """Compiled content on its way to a frozen audience."""

    __tablename__ = "mailings"
    __table_args__ = (
        Index("ix_mailings_status", "status", "id"),
        Index("ix_mailings_project", "project_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[MailingKind] = mapped_column(status_type(MailingKind, "kind"))
    purpose: Mapped[Purpose] = mapped_column(status_type(Purpose, "purpose"))
    source_id: Mapped[UUID] = mapped_column(index=True)
    """What it was made for: the campaign or automation; of a single mail, the mailing itself."""
    list_id: Mapped[UUID | None]
    status: Mapped[MailingStatus] = mapped_column(status_type(MailingStatus, "status"))
    policy: Mapped[UnknownPolicy] = mapped_column(status_type(UnknownPolicy, "policy"))
    content: Mapped[dict[str, Any]]
    """`newsletter.templates.compile.Compiled` as JSON; empty where its messages have contents of
    their own (`Content`)."""
    sender: Mapped[dict[str, Any]]
    """``from_email``, ``from_name``, ``reply_to``, ``list_name``."""
    tags: Mapped[list[str]] = mapped_column(default=list, server_default="[]")
    """What its sender files it under: for filters, events and statistics."""
    is_test: Mapped[bool]
    track_opens: Mapped[bool] = mapped_column(default=False, server_default=false())
    track_clicks: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Of the mail or the campaign, else of the project, when it started; mail that is on its way does not
    change."""
    quota_owner_id: Mapped[UUID]
    quota_period: Mapped[str] = mapped_column(text(7))
    """Where ``recipient_count`` mails were reserved; each decided message settles its own."""
    recipient_count: Mapped[int] = mapped_column(default=0)
    # The totals are written when it closes; until then they are the sums of the batches,
    # so that workers of one mailing never wait for each other at this row.
    sent: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    suppressed: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]
    """When messages that are still deferred fail; a pause moves it by its own length."""
    paused_at: Mapped[datetime | None]
    bounce_limit: Mapped[float | None]
    """The share of hard bounces that pauses it, where a customer resumed in spite of more than the
    setting allows; None: the setting."""
    complaint_limit: Mapped[float | None]
    """The same of complaints."""
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class Batch(Base):
    """A range of a mailing's messages, which one worker sends at a time.

    Every write of its worker begins with an UPDATE of this row that names ``token``: a
    worker that lost its lease finds no row, and writes nothing.
    """

    __tablename__ = "batches"
    __table_args__ = (Index("ix_batches_mailing", "mailing_id", "first_seq"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    mailing_id: Mapped[UUID] = mapped_column(ForeignKey("mailings.id", ondelete="CASCADE"))
    first_seq: Mapped[int]
    last_seq: Mapped[int]
    status: Mapped[BatchStatus] = mapped_column(status_type(BatchStatus, "status"))
    token: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    renewed_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    """When its job comes to it next; None: no job does until the mailing is resumed."""
    claimed_at: Mapped[datetime | None]
    decided_before: Mapped[int] = mapped_column(default=0, server_default="0")
    """Messages that were decided when it was claimed: with ``claimed_at``, how fast it goes."""
    crashes: Mapped[int] = mapped_column(default=0)
    """Leases that ran out since a message of the batch was last decided."""
    outages: Mapped[int] = mapped_column(default=0)
    """Times in a row that the sending server was away."""
    sent: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    suppressed: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)
    # Beside the outcomes, whose sum they are no part of.
    bounced: Mapped[int] = mapped_column(default=0, server_default="0")
    """Addresses refused for good (5.1.x), and hard bounces that came back."""
    complained: Mapped[int] = mapped_column(default=0, server_default="0")


class Message(Base):
    """One recipient of one mailing, and what became of the mail."""

    __tablename__ = "messages"
    # Half of each page stays free for the two updates of its rows: 95 % of them touch no index then,
    # where it was 21 %, and a sent campaign takes less room than in full pages (ADR 15).
    __table_args__ = (
        UniqueConstraint("mailing_id", "address_key"),
        # Finds what an address was sent by calls. A campaign's rows have a subscriber and are not in it,
        # so it costs them nothing; they are found through the index above, mailing by mailing.
        Index(
            "ix_messages_single",
            "address_key",
            "mailing_id",
            postgresql_where=sql("subscriber_id IS NULL"),
            sqlite_where=sql("subscriber_id IS NULL"),
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )

    # The key begins with the mailing: ranges read in order, and partitions stay possible. No foreign
    # key: its check of each row took 40 % of the time of materialising a campaign, and the one
    # statement that writes these rows is in the transaction that writes the mailing (ADR 15).
    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    """1, 2, 3 … without a gap."""
    subscriber_id: Mapped[UUID | None]
    address: Mapped[str] = mapped_column(text(320))
    address_key: Mapped[str] = mapped_column(text(320))
    outcome: Mapped[Outcome] = mapped_column(status_type(Outcome, "outcome"))
    reason: Mapped[str | None] = mapped_column(text(500))
    """A code, and what the server said."""
    feedback: Mapped[Feedback | None] = mapped_column(status_type(Feedback, "feedback"))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    """Not before this moment: a retry, or the local hour of its reader."""
    decided_at: Mapped[datetime | None]
    server_id: Mapped[UUID | None]
    """The sending server that had the last word, where there are several; None where none was asked, as of
    a message that was suppressed after it was deferred."""


_ADDRESSES = ARRAY(String(320)).with_variant(JSON(), "sqlite")


class Roll(Base):
    """Recipients of a mailing that have no `Message` yet: see `newsletter.delivery.rolls`.

    The lists have one length, and what stands in one place of all is one recipient.
    """

    __tablename__ = "mailing_rolls"

    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
    first_seq: Mapped[int] = mapped_column(primary_key=True)
    last_seq: Mapped[int]
    subscriber_ids: Mapped[list[UUID | None]] = mapped_column(ARRAY(Uuid()).with_variant(JSON(), "sqlite"))
    addresses: Mapped[list[str]] = mapped_column(_ADDRESSES)
    address_keys: Mapped[list[str]] = mapped_column(_ADDRESSES)


class MessageAttempt(Base):
    """A try that did not end in ``sent``: what was refused, by whom, and in which words.

    A message that goes out at once, as nearly all do, needs no row here.
    """

    __tablename__ = "message_attempts"

    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    """1 for the first try."""
    at: Mapped[datetime]
    server_id: Mapped[UUID | None]
    outcome: Mapped[Outcome] = mapped_column(status_type(Outcome, "outcome"))
    """``deferred``, ``failed`` or ``unknown``."""
    code: Mapped[int | None]
    """The SMTP reply code."""
    enhanced: Mapped[str | None] = mapped_column(text(20))
    """The enhanced status code (RFC 3463)."""
    reason: Mapped[str | None] = mapped_column(text(500))


class Content(Base):
    """What some messages of a mailing say, where they do not all say the same: single mails, of
    which a call may hand over a thousand."""

    __tablename__ = "mailing_contents"

    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    compiled: Mapped[dict[str, Any]]
    """`newsletter.templates.compile.Compiled` as JSON; empty when its reader was erased."""
    head: Mapped[dict[str, Any]]
    """``reply_to``, ``headers`` and, where there are several recipients, ``to`` and ``cc``."""


class Attachment(Base):
    """A file of a `Content`."""

    __tablename__ = "mailing_attachments"

    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
    content: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(text(200))
    content_type: Mapped[str] = mapped_column(text(127))
    content_id: Mapped[str | None] = mapped_column(text(200))
    """Of a picture that the HTML shows as ``cid:…``."""
    data: Mapped[bytes]


class MessagePart(Base):
    """What a message of a single mail has beyond one of a campaign, and one of an automation with variables.

    A table of its own, so that the rows of campaigns stay as small as they are.
    """

    __tablename__ = "message_parts"

    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[int]
    """Recipients of one item see each other in one header, and are cancelled together."""
    content: Mapped[int]
    """The number of its `Content`; 0 where it says what the mailing says."""
    role: Mapped[Role] = mapped_column(status_type(Role, "role"))
    name: Mapped[str | None] = mapped_column(text(200))
    """How the sender calls the recipient."""
    variables: Mapped[dict[str, Any]]
    """Texts for the merge tags."""


class MailingTag(Base):
    """Finds mailings by their tags, the newest first."""

    __tablename__ = "mailing_tags"

    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    tag: Mapped[str] = mapped_column(text(200), primary_key=True)
    mailing_id: Mapped[UUID] = mapped_column(primary_key=True)
