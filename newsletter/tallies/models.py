"""Changes of counts, and the sums that they are folded into."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class Metric(StrEnum):
    """What is counted. Outcomes and feedback as the books have them; of opens and clicks those of
    people, and beside them those of machines."""

    sent = "sent"
    failed = "failed"
    suppressed = "suppressed"
    skipped = "skipped"
    unknown = "unknown"
    delivered = "delivered"
    bounced = "bounced"
    complained = "complained"
    unsubscribed = "unsubscribed"
    """Subscriptions that ended by the link or the button of a mail."""
    opens = "opens"
    unique_opens = "unique_opens"
    """Messages that a person opened for the first time."""
    machine_opens = "machine_opens"
    clicks = "clicks"
    unique_clicks = "unique_clicks"
    machine_clicks = "machine_clicks"


class Dimension(StrEnum):
    """By what there are sums."""

    total = "total"
    """The whole project; its value is the empty text."""
    campaign = "campaign"
    """Its id, 32 hexadecimal digits."""
    tag = "tag"
    domain = "domain"
    """That of the From address, in ASCII."""
    server = "server"
    """The id of the sending server in 32 hexadecimal digits; empty for the operator's own."""


_Serial = BigInteger().with_variant(Integer(), "sqlite")
"""A number that the database gives; SQLite gives one to INTEGER alone."""


class Tally(Base):
    """A change of one count, written in the transaction of what it counts, and only ever inserted:
    nobody waits for a row that another counts in. Folded into `Rollup`, it is deleted."""

    __tablename__ = "tallies"
    __table_args__ = (Index("ix_tallies_project", "project_id", "mailing_id"),)

    id: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    project_id: Mapped[UUID]
    mailing_id: Mapped[UUID | None]
    """Campaign, sender domain and tags are the mailing's."""
    server_id: Mapped[UUID | None]
    quarter: Mapped[int]
    """Quarters of an hour since 1970 in UTC: every time zone's days begin with one."""
    metric: Mapped[Metric] = mapped_column(status_type(Metric, "metric"))
    number: Mapped[int]
    """Negative where a count goes down, as when an unknown message turns out to be sent."""


class Rollup(Base):
    """All that was counted in one quarter of an hour, by one value of one dimension."""

    __tablename__ = "rollups"
    # One order for "this campaign, from its start", one for "all campaigns of this month".
    __table_args__ = (Index("ix_rollups_quarter", "project_id", "dimension", "quarter"),)

    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    dimension: Mapped[Dimension] = mapped_column(status_type(Dimension, "dimension"), primary_key=True)
    value: Mapped[str] = mapped_column(text(400), primary_key=True)
    quarter: Mapped[int] = mapped_column(primary_key=True)
    sent: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    suppressed: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)
    delivered: Mapped[int] = mapped_column(default=0)
    bounced: Mapped[int] = mapped_column(default=0)
    complained: Mapped[int] = mapped_column(default=0)
    unsubscribed: Mapped[int] = mapped_column(default=0)
    opens: Mapped[int] = mapped_column(default=0)
    unique_opens: Mapped[int] = mapped_column(default=0)
    machine_opens: Mapped[int] = mapped_column(default=0)
    clicks: Mapped[int] = mapped_column(default=0)
    unique_clicks: Mapped[int] = mapped_column(default=0)
    machine_clicks: Mapped[int] = mapped_column(default=0)
