"""Reads endpoints, deliveries and attempts."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    column,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from newsletter.accounts.project import Project
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.bulk import among, each_of
from newsletter.kit.db import is_postgresql
from newsletter.kit.errors import NotFound
from newsletter.kit.prepared import Among, Column, Prepared, Statement, pairs
from newsletter.webhooks.models import Attempt, DeliveryStatus, Endpoint, WebhookDelivery

OPEN = (DeliveryStatus.pending, DeliveryStatus.retrying)
"""Not over yet."""


def is_open(row: type[WebhookDelivery]) -> ColumnElement[bool]:
    """Spelled for statements that are made once, which have no lists."""
    return or_(*(row.status == status for status in OPEN))


def endpoints(project: Project) -> Select[Endpoint]:
    """The project's endpoints, oldest first."""
    return select(Endpoint).where(Endpoint.project_id == project.id).order_by(Endpoint.id)


async def endpoint(
    session: AsyncSession, project: Project, endpoint_id: UUID, *, lock: bool = False
) -> Endpoint:
    """Raises `NotFound`, also for an endpoint of another project."""
    mine = endpoints(project).where(Endpoint.id == endpoint_id)
    found = (await session.scalars(mine.with_for_update() if lock else mine)).one_or_none()
    if found is None:
        raise NotFound("There is no such webhook endpoint in this project.")
    return found


async def count(session: AsyncSession, project: Project) -> int:
    counted = select(func.count()).select_from(Endpoint).where(Endpoint.project_id == project.id)
    return (await session.execute(counted)).scalar_one()


async def active(session: AsyncSession, project_id: UUID) -> Sequence[Endpoint]:
    """The endpoints of a project that are called."""
    statement = select(Endpoint).where(Endpoint.project_id == project_id, Endpoint.is_active.is_(True))
    return (await session.scalars(statement.order_by(Endpoint.id))).all()


@dataclass(frozen=True, slots=True)
class Filters:
    """Which deliveries; None does not filter."""

    status: DeliveryStatus | None = None
    event_type: EventType | None = None
    since: datetime | None = None
    until: datetime | None = None

    def of(self, endpoint_id: UUID) -> Select[WebhookDelivery]:
        statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
        if self.status is not None:
            statement = statement.where(WebhookDelivery.status == self.status)
        if self.event_type is not None:
            statement = statement.where(WebhookDelivery.event_type == self.event_type.value)
        # Ids begin with the time, and the index with the endpoint ends with them.
        if self.since is not None:
            statement = statement.where(WebhookDelivery.id >= ids.first_of(self.since))
        if self.until is not None:
            statement = statement.where(WebhookDelivery.id < ids.first_of(self.until))
        return statement


async def deliveries(
    session: AsyncSession, endpoint_id: UUID, filters: Filters, *, before: UUID | None, limit: int
) -> Sequence[WebhookDelivery]:
    """Newest first, those older than ``before``. The caller has checked whose endpoint it is."""
    statement = filters.of(endpoint_id)
    if before is not None:
        statement = statement.where(WebhookDelivery.id < before)
    return (await session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit))).all()


async def delivery(
    session: AsyncSession, project: Project, endpoint_id: UUID, delivery_id: UUID, *, lock: bool = False
) -> WebhookDelivery:
    """Raises `NotFound`, also for another endpoint's delivery."""
    statement = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id,
        WebhookDelivery.endpoint_id == endpoint_id,
        WebhookDelivery.project_id == project.id,
    )
    found = (await session.scalars(statement.with_for_update() if lock else statement)).one_or_none()
    if found is None:
        raise NotFound("There is no such delivery to this webhook endpoint.")
    return found


async def attempts(session: AsyncSession, delivery_id: UUID) -> Sequence[Attempt]:
    statement = select(Attempt).where(Attempt.delivery_id == delivery_id).order_by(Attempt.number)
    return (await session.scalars(statement)).all()


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose call is to be made now."""

    id: UUID
    event_id: UUID
    attempt_count: int
    has_to_wait: bool
    """An earlier event of its message is open."""
    is_lead: bool
    """Others go in its calls."""


def _due(among: Among) -> Statement:
    row, before, led = WebhookDelivery, aliased(WebhookDelivery), aliased(WebhookDelivery)
    # Looked up one by one, as LIMIT has it, and never for all deliveries there are.
    earlier = select(before.id).where(
        before.endpoint_id == row.endpoint_id,
        before.message_id == row.message_id,
        before.event_id < row.event_id,
        is_open(before),
    )
    following = select(led.id).where(led.lead_id == row.id, is_open(led))
    columns: tuple[Column, ...] = (
        *(row.id, row.event_id, row.attempt_count),
        *(each.limit(1).scalar_subquery() for each in (earlier, following)),
    )
    return (
        select(*columns)
        .where(
            row.endpoint_id == bindparam("endpoint_id", type_=row.endpoint_id.type),
            row.next_attempt_at <= bindparam("now", type_=row.next_attempt_at.type),
            row.lead_id.is_(None),
        )
        .order_by(row.next_attempt_at, row.event_id)
        .limit(bindparam("most", type_=Integer))
    )


_DUE = Prepared(_due)


async def due(session: AsyncSession, endpoint_id: UUID, now: datetime, most: int) -> list[Due]:
    """What the endpoint is to get, in the order of its times; of a group the first alone."""
    found = await _DUE.rows(session, endpoint_id=endpoint_id, now=now, most=most)
    return [Due(row[0], row[1], row[2], row[3] is not None, row[4] is not None) for row in found]


async def led_by(
    session: AsyncSession, lead_ids: Collection[UUID], *, lock: bool = False
) -> Sequence[WebhookDelivery]:
    """The open deliveries that go in the calls of these, in the order of their events."""
    led = select(WebhookDelivery).where(
        among(session, WebhookDelivery.lead_id, lead_ids), WebhookDelivery.status.in_(OPEN)
    )
    led = led.order_by(WebhookDelivery.event_id)
    return (await session.scalars(led.with_for_update() if lock else led)).all()


@dataclass(frozen=True, slots=True)
class Booked:
    """What the books say of a delivery."""

    id: UUID
    status: DeliveryStatus
    attempt_count: int
    attempts_before_replay: int
    lead_id: UUID | None
    message_id: str | None


def _booked(among: Among) -> Statement:
    row = WebhookDelivery
    columns: tuple[Column, ...] = (
        *(row.id, row.status, row.attempt_count),
        *(row.attempts_before_replay, row.lead_id, row.message_id),
    )
    return select(*columns).where(among(row.id, "ids")).order_by(row.id).with_for_update()


_BOOKED = Prepared(_booked)


async def booked(session: AsyncSession, delivery_ids: Collection[UUID]) -> dict[UUID, Booked]:
    """Those of them that are still there, locked."""
    found = await _BOOKED.rows(session, ids=list(delivery_ids))
    return {row[0]: Booked(*row) for row in found}


async def whose_turn_came(
    session: AsyncSession, endpoint_id: UUID, message_ids: Collection[str]
) -> Sequence[UUID]:
    """Of each of these messages what waits for another, where nothing before it is open any more."""

    def is_first(row: Any) -> ColumnElement[bool]:
        before = aliased(WebhookDelivery)
        is_behind = select(before.id).where(
            before.endpoint_id == row.endpoint_id,
            before.message_id == row.message_id,
            before.event_id < row.event_id,
            before.status.in_(OPEN),
        )
        is_waiting = row.status.in_(OPEN) & row.next_attempt_at.is_(None)
        return and_(row.endpoint_id == endpoint_id, is_waiting, ~is_behind.exists())

    statement = select(WebhookDelivery.id).where(
        each_of(session, WebhookDelivery.message_id, message_ids, is_first)
    )
    return (await session.scalars(statement)).all()


def _newest(asked: Select[str]) -> Prepared:
    """Of each message that is asked for, the newest event with a delivery to each of the endpoints."""
    messages, row = asked.cte("asked"), WebhookDelivery
    last = (
        select(row.event_id)
        .where(row.endpoint_id == Endpoint.id, row.message_id == messages.c.message_id)
        .order_by(row.event_id.desc())
        .limit(1)
    )
    each = select(messages.c.message_id, last.scalar_subquery()).join_from(messages, Endpoint, true())
    return Prepared(lambda among: each.where(among(Endpoint.id, "endpoint_ids")))


_MESSAGE_ID = WebhookDelivery.message_id.type
_IN_ARRAY = func.unnest(bindparam("message_ids", type_=ARRAY(_MESSAGE_ID)), type_=_MESSAGE_ID)
_IN_JSON = func.json_each(bindparam("message_ids")).table_valued(column("value", _MESSAGE_ID))
_NEWEST = _newest(select(_IN_ARRAY.label("message_id")))
_NEWEST_ON_SQLITE = _newest(select(_IN_JSON.c.value.label("message_id")))
_KNOWN = Prepared(
    lambda among: select(WebhookDelivery.endpoint_id, WebhookDelivery.event_id).where(
        among.pairs((WebhookDelivery.endpoint_id, WebhookDelivery.event_id), "keys")
    )
)


async def newest(
    session: AsyncSession, endpoint_ids: Collection[UUID], message_ids: Collection[str]
) -> dict[str, UUID]:
    """Of each message the newest event that has a delivery to any of these endpoints; one look into the
    index for each message and endpoint, however many events there were."""
    asked, ids_ = list(message_ids), list(endpoint_ids)
    if is_postgresql(session):
        rows = await _NEWEST.rows(session, message_ids=asked, endpoint_ids=ids_)
    else:
        rows = await _NEWEST_ON_SQLITE.rows(session, message_ids=json.dumps(asked), endpoint_ids=ids_)
    found: dict[str, UUID] = {}
    for message_id, event_id in rows:
        if event_id is not None:
            found[message_id] = max(event_id, found.get(message_id, event_id))
    return found


async def known(
    session: AsyncSession, endpoint_ids: Collection[UUID], event_ids: Collection[UUID]
) -> set[tuple[UUID, UUID]]:
    """Which of these events have a delivery to which of these endpoints."""
    if not event_ids:
        return set()
    rows = await _KNOWN.rows(session, **pairs("keys", list(product(endpoint_ids, event_ids))))
    return {(row[0], row[1]) for row in rows}
