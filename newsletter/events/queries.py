"""Reads the event log."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, bindparam, cast, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from newsletter.events.models import Event
from newsletter.kit import ids
from newsletter.kit.bulk import among
from newsletter.kit.db import is_postgresql
from newsletter.kit.prepared import Prepared


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as the log has it."""

    id: UUID
    project_id: UUID
    type: str
    data: dict[str, Any]
    created_at: datetime
    message_id: str | None
    """The public id of the message that it is about."""


_COLUMNS = (Event.id, Event.project_id, Event.type, Event.data, Event.created_at, Event.message_id)
_BY_IDS = Prepared(lambda among: select(*_COLUMNS).where(among(Event.id, "ids")).order_by(Event.id))


async def by_ids(session: AsyncSession, event_ids: Collection[UUID]) -> list[Logged]:
    """For jobs, which carry ids; in the order in which the events happened."""
    return [Logged(*row) for row in await _BY_IDS.rows(session, ids=list(event_ids))]


_COLUMNS = (Event.id, Event.project_id, Event.type, Event.data, Event.created_at, Event.message_id)
_OF_MESSAGE = Prepared(
    lambda _: (
        select(*_COLUMNS)
        .where(
            Event.project_id == bindparam("project_id"),
            Event.message_id == bindparam("message_id"),
            Event.id >= bindparam("first"),
        )
        .order_by(Event.id)
        .limit(bindparam("limit", type_=Integer))
    )
)


async def of_message(
    session: AsyncSession, project_id: UUID, message_id: str, since: datetime, limit: int
) -> list[Logged]:
    """The events about a message that began at ``since``, in the order in which they happened."""
    rows = await _OF_MESSAGE.rows(
        session, project_id=project_id, message_id=message_id, first=ids.first_of(since), limit=limit
    )
    return [Logged(*row) for row in rows]


async def of_messages(
    session: AsyncSession, since: Mapping[str, datetime], before: UUID, kinds: Collection[str] | None
) -> list[Logged]:
    """What of these kinds (None: of any) happened to each message since its moment, and before an event,
    in the order in which it happened."""
    kind = [] if kinds is None else [Event.type.in_(kinds)]
    if is_postgresql(session):
        return await _one_by_one(session, since, Event.id < before, *kind)
    by_moment: dict[datetime, list[str]] = {}
    for message_id, at in since.items():
        by_moment.setdefault(at, []).append(message_id)
    mine = [
        Event.message_id.in_(message_ids) & (Event.id >= ids.first_of(at))
        for at, message_ids in by_moment.items()
    ]
    return await _read(session, or_(*mine), Event.id < before, *kind)


async def _one_by_one(
    session: AsyncSession, since: Mapping[str, datetime], *conditions: ColumnElement[bool]
) -> list[Logged]:
    """One look-up for each message, which OFFSET keeps apart: of many messages at once, PostgreSQL found it
    as good to read all events since the first of the moments, a day of the log. Not by `kit.bulk.each_of`:
    where a row is says so within one month's table alone."""
    keys = (
        bindparam("message_ids", list(since), type_=ARRAY(Event.message_id.type)),
        bindparam("firsts", [ids.first_of(at) for at in since.values()], type_=ARRAY(Event.id.type)),
    )
    asked = select(*(func.unnest(each).label(each.key) for each in keys)).subquery()
    of_one = select(*_COLUMNS).where(
        Event.message_id == asked.c.message_ids, Event.id >= asked.c.firsts, *conditions
    )
    found = of_one.offset(0).lateral()
    statement = select(found).select_from(asked.join(found, true())).order_by(found.c.id)
    return [Logged(*row) for row in await session.execute(statement)]


async def about(
    session: AsyncSession,
    project_id: UUID,
    *,
    subscriber_ids: Collection[str],
    message_ids: Collection[str],
    limit: int,
) -> list[Logged]:
    """The newest events about one of these, by their public ids; the newest first. Subscribers have no
    index: every such event of the project is read, as it is rare."""
    wanted: list[ColumnElement[bool]] = []
    if subscriber_ids:
        subject = Event.data["subscriber"]["id"].as_string()
        wanted.append(Event.type.startswith("subscriber.") & subject.in_(subscriber_ids))
    if message_ids:
        wanted.append(among(session, Event.message_id, message_ids))
    return await _read(session, Event.project_id == project_id, or_(*wanted), limit=limit, newest=True)


async def _read(
    session: AsyncSession, *conditions: ColumnElement[bool], limit: int | None = None, newest: bool = False
) -> list[Logged]:
    statement = (
        select(*_COLUMNS).where(*conditions).order_by(Event.id.desc() if newest else Event.id).limit(limit)
    )
    return [Logged(*row) for row in await session.execute(statement)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to show; None does not filter."""

    kinds: Collection[str] | None = None
    mailing_id: UUID | None = None
    message_ids: Collection[str] | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    events: Sequence[Logged]
    next_before: UUID | None
    """Where the next page begins; None when there is none."""


async def page(
    session: AsyncSession, project_id: UUID, wanted: Wanted, *, before: UUID | None, limit: int, look_at: int
) -> Found:
    """Newest first, those before the event ``before``. By time, mailing and message it reads what it
    shows; of anything else it reads ``look_at`` events at most, so a page may be short, or empty,
    and not the last."""
    narrow = select(Event).where(*_indexed(session, project_id, wanted, before)).order_by(Event.id.desc())
    looked_at = narrow.limit(look_at).subquery()
    if wanted.kinds is None and wanted.tag is None:
        looked_at = narrow.limit(limit).subquery()
    each = aliased(Event, looked_at)
    columns = (each.id, each.project_id, each.type, each.data, each.created_at, each.message_id)
    statement = select(*columns).order_by(each.id.desc()).limit(limit)
    if wanted.kinds is not None:
        statement = statement.where(each.type.in_(wanted.kinds))
    if wanted.tag is not None:
        statement = statement.where(_has_tag(session, each.data, wanted.tag))
    rows = [Logged(*row) for row in await session.execute(statement)]
    if len(rows) == limit:
        return Found(rows, rows[-1].id)
    last = select(looked_at.c.id).order_by(looked_at.c.id.desc()).offset(look_at - 1).limit(1)
    return Found(rows, (await session.execute(last)).scalar_one_or_none())


def _indexed(
    session: AsyncSession, project_id: UUID, wanted: Wanted, before: UUID | None
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [Event.project_id == project_id]
    if before is not None:
        conditions.append(Event.id < before)
    if wanted.since is not None:
        conditions.append(Event.id >= ids.first_of(wanted.since))
    if wanted.until is not None:
        conditions.append(Event.id < ids.first_of(wanted.until))
    if wanted.mailing_id is not None:
        conditions.append(Event.mailing_id == wanted.mailing_id)
    if wanted.message_ids is not None:
        conditions.append(among(session, Event.message_id, wanted.message_ids))
    return conditions


def _has_tag(session: AsyncSession, data: Any, tag: str) -> ColumnElement[bool]:
    if is_postgresql(session):
        return cast(data["message"]["tags"], JSONB).contains([tag])
    each = func.json_each(data, "$.message.tags").table_valued("value")
    return select(each.c.value).where(each.c.value == tag).exists()
