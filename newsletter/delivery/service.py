"""Starts a mailing, and closes it when nothing of it is left to do.

A mailing is compiled content on its way to an audience that was frozen at its start: one
``INSERT … SELECT`` gives each recipient a number, and ranges of these are batches. There is one
sender: campaigns, test sends and single mails are all mailings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

import structlog
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Select,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from newsletter.accounts.project import Project
from newsletter.delivery import ledger, rolls, sheaf, urgency
from newsletter.delivery.models import (
    Batch,
    BatchStatus,
    Mailing,
    MailingKind,
    MailingStatus,
    Message,
    MessagePart,
    Outcome,
    Role,
    UnknownPolicy,
)
from newsletter.kit import bulk, clock, ids, jobs, prepared
from newsletter.kit.address import Address
from newsletter.kit.db import is_postgresql
from newsletter.kit.errors import NewsletterError
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.providers.base import Purpose
from newsletter.settings import DeliverySettings

log = structlog.get_logger(__name__)

UNTOUCHED: Mapping[str, Any] = MappingProxyType(
    {
        column.key: column.default.arg
        for column in Batch.__table__.columns
        if isinstance(column.default, ScalarElementColumnDefault)
    }
)
"""The counters of a new batch: `kit.bulk` writes rows as they are."""


class QuotaExceeded(NewsletterError):
    code, status = "quota_exceeded", 429
    summary = "Your plan has too few mails left this month. Upgrade, or try again after Retry-After."


class BooksDoNotBalance(Exception):
    """The counters and the rows of a mailing disagree: a defect, never to be papered over."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who the mail is from, and what its headers say of the list."""

    from_email: str
    from_name: str | None
    reply_to: str | None
    list_name: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """What a mailing is made of."""

    kind: MailingKind
    source_id: UUID
    list_id: UUID | None
    content: Mapping[str, Any]
    sender: Sender
    policy: UnknownPolicy = UnknownPolicy.hold
    purpose: Purpose = Purpose.marketing
    track_opens: bool = False
    track_clicks: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    mailing_id: UUID
    recipient_count: int


@dataclass(frozen=True, slots=True)
class Wave:
    """Recipients whose mails are due together, as a range of numbers; None: at once."""

    first_seq: int
    last_seq: int
    due_at: datetime | None = None


async def start(
    session: AsyncSession,
    project: Project,
    order: Order,
    recipients: Select[*tuple[Any, ...]],
    *,
    mail_limit: int | None,
    settings: DeliverySettings,
) -> Started:
    """Freezes the audience, reserves its mails, cuts batches and wakes the workers.

    ``recipients`` yields (subscriber id, address, address key), one row per address; where it has
    a fourth column, that is the moment before which this recipient's mail does not go out.
    Raises `QuotaExceeded` when the plan has fewer mails left than there are recipients;
    the transaction is then the caller's to roll back.
    """
    mailing = await _insert_mailing(session, project, order, settings)
    waves = await _freeze(session, mailing, recipients, settings)
    return await _launch(session, mailing, waves, mail_limit, settings)


async def start_to(
    session: AsyncSession,
    project: Project,
    order: Order,
    addresses: Sequence[Address],
    *,
    mail_limit: int | None,
    settings: DeliverySettings,
) -> Started:
    """Like `start`, to addresses that need not be on any list: a test send."""
    unique: dict[str, Address] = {}
    for address in addresses:
        unique.setdefault(address.key, address)
    people = [(None, address.spelling, address.key) for address in unique.values()]
    return await start_with(session, project, order, people, mail_limit=mail_limit, settings=settings)


async def start_with(
    session: AsyncSession,
    project: Project,
    order: Order,
    people: Sequence[tuple[UUID | None, str, str]],
    *,
    mail_limit: int | None,
    settings: DeliverySettings,
    variables: Sequence[Mapping[str, str]] = (),
) -> Started:
    """Like `start`, to some hundreds whom the caller read, one for each address; the first is number 1.
    ``variables`` has for each of them what merge tags read besides the subscriber; or for nobody."""
    mailing = await _insert_mailing(session, project, order, settings)
    rows = [
        {
            "mailing_id": mailing.id,
            "seq": number,
            "subscriber_id": subscriber_id,
            "address": address,
            "address_key": address_key,
            "outcome": Outcome.pending,
            "attempts": 0,
        }
        for number, (subscriber_id, address, address_key) in enumerate(people, start=1)
    ]
    await bulk.insert_rows(session, Message, rows)
    await bulk.insert_rows(
        session, MessagePart, [_part(mailing.id, *each) for each in enumerate(variables, 1)]
    )
    return await _launch(session, mailing, [Wave(1, len(rows))], mail_limit, settings)


def _part(mailing_id: UUID, seq: int, variables: Mapping[str, str]) -> dict[str, object]:
    """Each is an item of its own: what it says of one recipient concerns no other."""
    return {
        "mailing_id": mailing_id,
        "seq": seq,
        "item": seq,
        "content": sheaf.SHARED,
        "role": Role.to,
        "name": None,
        "variables": dict(variables),
    }


async def close_if_done(session: AsyncSession, mailing_id: UUID) -> bool:
    """Closes a mailing whose batches are all done, and tells the slice it was made for.

    Takes the mailing's row lock first: of two last batches that end together, the second
    sees the first. Raises `BooksDoNotBalance` when counters and rows disagree.
    """
    # A plain FOR UPDATE would wait for the key shares that a batch's second update in one
    # transaction takes by its foreign key, and two batches that end together for each other.
    locked = select(Mailing).where(Mailing.id == mailing_id).with_for_update(key_share=True)
    locked = locked.options(defer(Mailing.content)).execution_options(populate_existing=True)
    mailing = (await session.scalars(locked)).one_or_none()
    if mailing is None or mailing.status is MailingStatus.closed:
        return False
    undone = select(Batch.id).where(Batch.mailing_id == mailing_id, Batch.status != BatchStatus.done)
    if (await session.execute(undone.limit(1))).first() is not None:
        return False
    now = await prepared.now(session)  # As it began: a worker with a wrong clock would end it before.
    await _check_balance(session, mailing)
    mailing.status, mailing.closed_at = MailingStatus.closed, now
    await session.flush()
    if mailing.kind in _OWNERS:
        payload = {
            "mailing_id": str(mailing_id),
            "source_id": str(mailing.source_id),
            "kind": mailing.kind.value,
        }
        await jobs.enqueue(session, f"{_OWNERS[mailing.kind]}.on_mailing_closed", payload)
    return True


async def reserve_mails(
    session: AsyncSession, owner_id: UUID, count: int, limit: int | None, period: str
) -> None:
    """Raises `QuotaExceeded` when the plan has fewer mails left."""
    if count and not await plans.reserve(session, owner_id, Resource.mails, count, limit, period):
        raise QuotaExceeded(
            f"This needs {count} mails, more than your plan has left this month. "
            "Upgrade, or wait for the next month.",
            retry_after=clock.seconds_to_next_month(clock.now()),
        )


_OWNERS = {MailingKind.campaign: "campaigns", MailingKind.test: "campaigns"}
"""The slice above that hears of a closed mailing, by name. Of single mails nobody needs to."""


async def _check_balance(session: AsyncSession, mailing: Mailing) -> None:
    counted = await ledger.recount(session, mailing.id)
    summed = await ledger.totals(session, mailing.id)
    decided = sum(counted[outcome] for outcome in ledger.COUNTED)
    is_same = all(counted[outcome] == summed[outcome] for outcome in ledger.COUNTED)
    if not is_same or decided != mailing.recipient_count:
        raise BooksDoNotBalance(
            f"mailing {mailing.id}: {mailing.recipient_count} recipients, rows {counted}, counters {summed}"
        )
    for outcome in ledger.COUNTED:
        setattr(mailing, outcome.value, counted[outcome])


async def _insert_mailing(
    session: AsyncSession, project: Project, order: Order, settings: DeliverySettings
) -> Mailing:
    # Whoever launches may have a wrong clock; how long the mailing is tried is for the database's.
    now = await prepared.now(session)
    mailing = Mailing(
        id=ids.uuid7(),
        project_id=project.id,
        kind=order.kind,
        purpose=order.purpose,
        source_id=order.source_id,
        list_id=order.list_id,
        status=MailingStatus.running,
        policy=order.policy,
        content=dict(order.content),
        sender=asdict(order.sender),
        is_test=project.is_test,
        track_opens=order.track_opens,
        track_clicks=order.track_clicks,
        quota_owner_id=project.quota_owner_id,
        quota_period=plans.period_of(Resource.mails, now),
        recipient_count=0,
        expires_at=now + timedelta(hours=settings.campaign_hours),
        created_at=now,
    )
    session.add(mailing)
    await session.flush()
    return mailing


async def _freeze(
    session: AsyncSession,
    mailing: Mailing,
    recipients: Select[*tuple[Any, ...]],
    settings: DeliverySettings,
) -> list[Wave]:
    """One statement: the audience of this moment, numbered 1, 2, 3 … in order of address.

    That is the order of the index of addresses, so rows go to its end instead of all over it.
    Recipients that are due together come one after the other, so that batches stay ranges.
    """
    subscriber_id, address, address_key, *due_at = recipients.subquery().c
    if not due_at and is_postgresql(session):
        megabytes = settings.launch_megabytes
        return [Wave(1, await rolls.freeze(session, mailing.id, recipients, megabytes=megabytes))]
    numbered = select(
        literal(mailing.id, Message.mailing_id.type),
        func.row_number().over(order_by=(*due_at, address_key)),
        subscriber_id,
        address,
        address_key,
        _typed(Outcome.pending, Message.outcome),
        literal(0),
        *due_at,
    )
    columns = ["mailing_id", "seq", "subscriber_id", "address", "address_key", "outcome", "attempts"]
    columns += ["next_attempt_at"] * len(due_at)
    written = await session.execute(insert(Message).from_select(columns, numbered))
    if not due_at:
        return [Wave(1, cast(CursorResult[Any], written).rowcount)]
    mine = Message.mailing_id == mailing.id
    ranges = select(func.min(Message.seq), func.max(Message.seq), Message.next_attempt_at).where(mine)
    by_moment = ranges.group_by(Message.next_attempt_at).order_by(Message.next_attempt_at)
    return [Wave(*row) for row in await session.execute(by_moment)]


def _typed(value: Outcome, column: Any) -> ColumnElement[Outcome]:
    return literal(value, column.type)


async def _launch(
    session: AsyncSession,
    mailing: Mailing,
    waves: Sequence[Wave],
    mail_limit: int | None,
    settings: DeliverySettings,
) -> Started:
    count = sum(wave.last_seq - wave.first_seq + 1 for wave in waves)
    await reserve_mails(session, mailing.quota_owner_id, count, mail_limit, mailing.quota_period)
    mailing.recipient_count = count
    if late := [wave.due_at for wave in waves if wave.due_at]:
        # The last wave has as long for its retries as one that goes out at once.
        mailing.expires_at += max(timedelta(0), max(late) - mailing.created_at)
    await session.flush()
    for wave in waves:
        batch_ids = await _cut(session, mailing, wave, settings.batch_size)
        await urgency.enqueue(session, urgency.of_mailing(mailing.kind), batch_ids, run_at=wave.due_at)
    if not count:
        await close_if_done(session, mailing.id)
    log.info("mailing started", mailing_id=str(mailing.id), recipients=count, waves=len(waves))
    return Started(mailing.id, count)


async def _cut(session: AsyncSession, mailing: Mailing, wave: Wave, size: int) -> list[UUID]:
    rows: list[dict[str, Any]] = [
        {
            **UNTOUCHED,
            "id": ids.uuid7(),
            "mailing_id": mailing.id,
            "first_seq": first,
            "last_seq": min(first + size - 1, wave.last_seq),
            "status": BatchStatus.waiting,
            # By the clock of the database, as is all that workers compare.
            "due_at": wave.due_at or mailing.created_at,
        }
        for first in range(wave.first_seq, wave.last_seq + 1, size)
    ]
    await bulk.insert_rows(session, Batch, rows)
    return [row["id"] for row in rows]
