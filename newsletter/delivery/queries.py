"""Reads mailings and messages."""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.delivery import ledger, rolls
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import (
    UNFINISHED,
    Batch,
    Feedback,
    Mailing,
    MailingKind,
    MailingStatus,
    Message,
    Outcome,
    Roll,
)
from newsletter.kit import ids
from newsletter.kit.address import ascii_domain_of
from newsletter.kit.bulk import among, among_pairs
from newsletter.kit.db import is_postgresql
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.prepared import Among, Prepared, Statement
from newsletter.providers.base import Purpose
from newsletter.tallies.service import About

PREFIX = "msg"

MessageKey = tuple[UUID, int]
"""A message's mailing, and its number in it."""
_LAST_SEQ = 2**31 - 1
"""What the column holds on PostgreSQL; an id has room for twice as many."""


def public_id(mailing_id: UUID, seq: int) -> str:
    """The id of a message as customers see it; also the local part of its Message-ID."""
    return ids.encode(PREFIX, mailing_id.bytes + seq.to_bytes(4))


def public_ids(mailing_id: UUID) -> Callable[[int], str]:
    """`public_id` for the messages of one mailing, ten times as fast: all but the last six
    letters of their ids are the same, up to the billionth."""
    head = public_id(mailing_id, 0)[:-6]

    def of(seq: int) -> str:
        return head + ids.six_letters(seq) if seq < 1 << 30 else public_id(mailing_id, seq)

    return of


def key_of(message_id: str) -> MessageKey:
    """The key behind a public id. Raises `ValueError` for what is none."""
    raw = ids.decode(PREFIX, message_id, size=20)
    seq = int.from_bytes(raw[16:])
    if seq > _LAST_SEQ:  # The driver would refuse the whole statement.
        raise ValueError("must be the id of a message")
    return UUID(bytes=raw[:16]), seq


def is_erased(address: str) -> bool:
    """Whether its person was: what `newsletter.delivery.forgetting` leaves of an address has no @."""
    return "@" not in address


@dataclass(frozen=True, slots=True)
class FoundMessage:
    project_id: UUID
    mailing_id: UUID
    seq: int
    subscriber_id: UUID | None
    address: str
    address_key: str

    @property
    def ref(self) -> MessageRef:
        """As the message's own links name it."""
        return MessageRef(self.mailing_id, self.seq, self.subscriber_id)


@dataclass(frozen=True, slots=True)
class Counts:
    """The books of one mailing; while it runs they grow with each block."""

    recipient_count: int
    sent: int
    failed: int
    suppressed: int
    skipped: int
    unknown: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    """None until nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which recipients to show; None does not filter."""

    outcome: Outcome | None = None
    feedback: Feedback | None = None
    search: str | None = None
    """A part of the address."""


@dataclass(frozen=True, slots=True)
class FoundRecipient:
    """What became of one recipient."""

    mailing_id: UUID
    seq: int
    address: str
    subscriber_id: UUID | None
    outcome: Outcome
    attempts: int
    reason: str | None
    server_id: UUID | None
    next_attempt_at: datetime | None
    decided_at: datetime | None
    feedback: Feedback | None

    @property
    def id(self) -> str:
        """That of the message."""
        return public_id(self.mailing_id, self.seq)

    @property
    def is_erased(self) -> bool:
        return is_erased(self.address)


async def by_public_id(session: AsyncSession, message_id: str) -> FoundMessage | None:
    """None for a text that is no id, and for a message that is gone."""
    return (await by_public_ids(session, [message_id])).get(message_id)


async def by_public_ids(session: AsyncSession, message_ids: Collection[str]) -> dict[str, FoundMessage]:
    """Those that are there, by their public ids, of which there may be some thousand."""
    keys: dict[MessageKey, str] = {}
    for message_id in message_ids:
        with contextlib.suppress(ValueError):
            keys[key_of(message_id)] = message_id
    if not keys:
        return {}
    statement = _FOUND.where(among_pairs(session, (Message.mailing_id, Message.seq), keys))
    found = (FoundMessage(*row) for row in await session.execute(statement))
    return {keys[each.mailing_id, each.seq]: each for each in found}


async def by_key(session: AsyncSession, mailing_id: UUID, seq: int) -> FoundMessage | None:
    statement = _FOUND.where(Message.mailing_id == mailing_id, Message.seq == seq)
    row = (await session.execute(statement)).one_or_none()
    return FoundMessage(*row) if row else None


_FOUND = select(
    Mailing.project_id,
    Message.mailing_id,
    Message.seq,
    Message.subscriber_id,
    Message.address,
    Message.address_key,
).join(Mailing, Mailing.id == Message.mailing_id)


async def single_marketing(session: AsyncSession, ref: MessageRef) -> FoundMessage | None:
    """The message of a link in marketing that was sent by a call; None for any other, and for who was
    erased."""
    statement = select(Mailing.id).where(
        Mailing.id == ref.mailing_id,
        Mailing.kind == MailingKind.transactional,
        Mailing.purpose == Purpose.marketing,
    )
    if ref.subscriber_id is not None or (await session.execute(statement)).first() is None:
        return None
    message = await by_key(session, ref.mailing_id, ref.seq)
    return None if message is None or is_erased(message.address) else message


def seq_of(mailing_id: UUID, address_key: InstrumentedAttribute[str]) -> ColumnElement[int]:
    """The number that the address in this column has in a mailing, for use inside a statement; NULL for who
    got nothing of it."""
    mine = Message.mailing_id == mailing_id, Message.address_key == address_key
    # However deep it stands: by itself SQLAlchemy looks one level up for the table of the column.
    return select(Message.seq).where(*mine).correlate_except(Message).scalar_subquery()


@dataclass(frozen=True, slots=True)
class Tracked:
    """A message that somebody opened or clicked, and whose it is."""

    mailing_id: UUID
    seq: int
    project_id: UUID
    is_test: bool
    """Of a test project."""
    campaign_id: UUID | None
    subscriber_id: UUID | None
    """None for who is on no list, and for who was erased."""
    server_id: UUID | None
    decided_at: datetime | None
    """When a server had taken it; None while it had not, as far as the books know."""


async def tracked(session: AsyncSession, keys: Collection[MessageKey]) -> Mapping[MessageKey, Tracked]:
    """For a block of opens and clicks: those of the messages that are there, by mailing and number."""
    campaign = case((Mailing.kind == MailingKind.campaign, Mailing.source_id))
    statement = (
        select(
            Message.mailing_id,
            Message.seq,
            Mailing.project_id,
            Mailing.is_test,
            campaign,
            Message.subscriber_id,
            Message.server_id,
            Message.decided_at,
        )
        .join(Mailing, Mailing.id == Message.mailing_id)
        .where(among_pairs(session, (Message.mailing_id, Message.seq), keys))
    )
    return {(row[0], row[1]): Tracked(*row) for row in await session.execute(statement)}


async def abouts(session: AsyncSession, mailing_ids: Collection[UUID]) -> Mapping[UUID, About]:
    """What the counts of these mailings are added to; test sends are left out, as nobody asked how
    their own copy was received."""
    statement = select(Mailing.id, Mailing.kind, Mailing.source_id, Mailing.sender, Mailing.tags).where(
        among(session, Mailing.id, mailing_ids), Mailing.kind != MailingKind.test
    )
    return {
        mailing_id: About(
            source_id if kind is MailingKind.campaign else None,
            ascii_domain_of(sender["from_email"]),
            tuple(tags),
        )
        for mailing_id, kind, source_id, sender, tags in await session.execute(statement)
    }


async def find_mailing(session: AsyncSession, mailing_id: UUID) -> Mailing | None:
    return await session.get(Mailing, mailing_id)


async def status(session: AsyncSession, mailing_id: UUID) -> MailingStatus | None:
    """None for no mailing at all."""
    return (await session.scalars(select(Mailing.status).where(Mailing.id == mailing_id))).one_or_none()


def _books(is_among: Among) -> Statement:
    """The books of each mailing: its totals once closed, else the sums of its batches. In one statement,
    as one that closes between two would be in neither."""
    sums = [func.coalesce(func.sum(getattr(Batch, outcome.value)), 0) for outcome in ledger.COUNTED]
    totals = [getattr(Mailing, outcome.value) for outcome in ledger.COUNTED]
    times = (Mailing.created_at, Mailing.closed_at)
    wanted = is_among(Mailing.id, "mailing_ids")
    closed = select(Mailing.id, Mailing.recipient_count, *totals, *times).where(
        wanted, Mailing.status == MailingStatus.closed
    )
    running = (
        select(Mailing.id, Mailing.recipient_count, *sums, *times)
        .outerjoin(Batch, Batch.mailing_id == Mailing.id)
        .where(wanted, Mailing.status != MailingStatus.closed)
        .group_by(Mailing.id, Mailing.recipient_count, *times)
    )
    return union_all(closed, running)


_BOOKS = Prepared(_books)


async def counts(session: AsyncSession, mailing_ids: Sequence[UUID]) -> Mapping[UUID, Counts]:
    """The books of those mailings that there are."""
    if not mailing_ids:
        return {}
    found = await _BOOKS.rows(session, mailing_ids=list(mailing_ids))
    return {row[0]: Counts(*row[1:]) for row in found}


def read_cursor(mailing_id: UUID, cursor: str | None) -> int:
    """The number behind which a page begins: that of the message a page ended with.

    Raises `ValidationFailed` for a cursor of another mailing, or one that we did not make.
    """
    if cursor is None:
        return 0
    with contextlib.suppress(ValueError):
        found_in, seq = key_of(cursor)
        if found_in == mailing_id:
            return seq
    raise ValidationFailed.of("cursor", "must be the next_cursor of an earlier page")


async def recipients(
    session: AsyncSession, mailing_id: UUID, filters: Filters, *, after: int, limit: int
) -> list[FoundRecipient]:
    """Those behind the number ``after``, in order: a page costs what it reads."""
    page = _page(Message, mailing_id, filters, after, limit)
    if is_postgresql(session) and filters.outcome in (None, Outcome.pending) and filters.feedback is None:
        some = select(Roll).where(Roll.mailing_id == mailing_id, Roll.last_seq > after)
        if not filters.search:
            # Only the first and the last of a mailing's rolls may have fewer to show than they are long.
            some = some.order_by(Roll.first_seq).limit(2 + limit // rolls.LENGTH)
        waiting = _page(rolls.as_messages(some), mailing_id, filters, after, limit)
        # In one statement, as a worker may come between two.
        page = select(union_all(page, waiting).subquery()).order_by("seq").limit(limit)
    return [FoundRecipient(*row) for row in await session.execute(page)]


def _page(
    message: type[Message], mailing_id: UUID, filters: Filters, after: int, limit: int
) -> Select[*tuple[Any, ...]]:
    statement = select(
        message.mailing_id,
        message.seq,
        message.address,
        message.subscriber_id,
        message.outcome,
        message.attempts,
        message.reason,
        message.server_id,
        message.next_attempt_at,
        message.decided_at,
        message.feedback,
    ).where(message.mailing_id == mailing_id, message.seq > after)
    if filters.outcome is not None:
        statement = statement.where(message.outcome == filters.outcome)
    if filters.feedback is not None:
        statement = statement.where(message.feedback == filters.feedback)
    if filters.search:
        # Keys of addresses are in lower case already.
        found = message.address_key.contains(filters.search.lower(), autoescape=True)
        statement = statement.where(found)
    return statement.order_by(message.seq).limit(limit)


async def reasons(session: AsyncSession, mailing_id: UUID, limit: int = 3) -> list[str]:
    """The most frequent reasons of failure, for a campaign that failed."""
    statement = (
        select(Message.reason)
        .where(
            Message.mailing_id == mailing_id, Message.outcome == Outcome.failed, Message.reason.is_not(None)
        )
        .group_by(Message.reason)
        .order_by(func.count().desc())
        .limit(limit)
    )
    return [reason for reason in await session.scalars(statement) if reason]


async def unfinished(session: AsyncSession) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Mailings that are not closed, and the batches of these, each by status: for the probes."""
    is_open = Mailing.status.in_(UNFINISHED)
    mailings = select(Mailing.status, func.count()).where(is_open).group_by(Mailing.status)
    batches = (
        select(Batch.status, func.count())
        .join(Mailing, Mailing.id == Batch.mailing_id)
        .where(is_open)
        .group_by(Batch.status)
    )
    return (
        {status.value: number for status, number in await session.execute(mailings)},
        {status.value: number for status, number in await session.execute(batches)},
    )
