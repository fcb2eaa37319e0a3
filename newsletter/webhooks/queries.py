"""Reads endpoints, deliveries and attempts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, bindparam, column, func, select, true, values
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.bulk import among
from newsletter.kit.db import db_now
from newsletter.kit.errors import NotFound
from newsletter.webhooks.models import Attempt, DeliveryStatus, Endpoint, WebhookDelivery

OPEN = (DeliveryStatus.pending, DeliveryStatus.retrying)
"""Not over yet."""


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


# Made once, as each call of an endpoint needs all of these: making one anew takes as long as the database
# takes for it.
_OF_DELIVERY = select(WebhookDelivery.endpoint_id).where(WebhookDelivery.id == bindparam("delivery_id"))
_ENDPOINT_LOCKED = select(Endpoint).where(Endpoint.id == _OF_DELIVERY.scalar_subquery()).with_for_update()
_BOTH = (
    select(WebhookDelivery, Endpoint, db_now())
    .join(Endpoint, Endpoint.id == WebhookDelivery.endpoint_id)
    .where(WebhookDelivery.id == bindparam("delivery_id"))
)
_BOTH_LOCKED = _BOTH.with_for_update(of=WebhookDelivery)
_LED = (
    select(WebhookDelivery)
    .where(WebhookDelivery.lead_id == bindparam("delivery_id"), WebhookDelivery.status.in_(OPEN))
    .order_by(WebhookDelivery.event_id)
)
_LED_LOCKED = _LED.with_for_update()
_OPEN_OF_MESSAGE = (
    select(WebhookDelivery)
    .where(
        WebhookDelivery.endpoint_id == bindparam("endpoint_id"),
        WebhookDelivery.message_id == bindparam("message_id"),
        WebhookDelivery.status.in_(OPEN),
    )
    .order_by(WebhookDelivery.event_id)
    .limit(1)
)
_OPEN_BEFORE = _OPEN_OF_MESSAGE.with_only_columns(WebhookDelivery.id).where(
    WebhookDelivery.event_id < bindparam("event_id")
)


@dataclass(frozen=True, slots=True)
class Found:
    """A delivery for the job that calls its endpoint."""

    delivery: WebhookDelivery
    endpoint: Endpoint
    now: datetime
    """By the database's clock."""


async def for_attempt(
    session: AsyncSession, delivery_id: UUID, *, lock: bool = False, lock_endpoint: bool = True
) -> Found | None:
    """None when the delivery, or with it its endpoint, was deleted.

    With ``lock`` the endpoint is locked before the delivery, the order in which a deletion
    of the endpoint reaches them: so the two cannot wait for each other.
    """
    named = {"delivery_id": delivery_id}
    if lock and lock_endpoint:
        await session.execute(_ENDPOINT_LOCKED, named)
    row = (await session.execute(_BOTH_LOCKED if lock else _BOTH, named)).one_or_none()
    return Found(*row) if row is not None else None


async def led_by(
    session: AsyncSession, delivery_id: UUID, *, lock: bool = False
) -> Sequence[WebhookDelivery]:
    """The open deliveries that go in the calls of this one, in the order of their events."""
    return (await session.scalars(_LED_LOCKED if lock else _LED, {"delivery_id": delivery_id})).all()


async def open_before(session: AsyncSession, delivery: WebhookDelivery) -> UUID | None:
    """An open delivery to the same endpoint of an earlier event of the same message."""
    named = {
        "endpoint_id": delivery.endpoint_id,
        "message_id": delivery.message_id,
        "event_id": delivery.event_id,
    }
    return (await session.scalars(_OPEN_BEFORE, named)).first()


async def first_open(session: AsyncSession, endpoint_id: UUID, message_id: str) -> WebhookDelivery | None:
    """The first of a message's events that the endpoint has still to get."""
    named = {"endpoint_id": endpoint_id, "message_id": message_id}
    return (await session.scalars(_OPEN_OF_MESSAGE, named)).first()


async def newest(
    session: AsyncSession, endpoint_ids: Collection[UUID], message_ids: Collection[str]
) -> dict[str, UUID]:
    """Of each message the newest event that has a delivery to any of these endpoints; one look into the
    index for each message and endpoint, however many events there were."""
    messages = values(column("message_id", WebhookDelivery.message_id.type), name="messages")
    asked = messages.data([(message_id,) for message_id in message_ids]).cte("asked")
    row = WebhookDelivery
    last = (
        select(row.event_id)
        .where(row.endpoint_id == Endpoint.id, row.message_id == asked.c.message_id)
        .order_by(row.event_id.desc())
        .limit(1)
    )
    each = select(asked.c.message_id, last.scalar_subquery()).join_from(asked, Endpoint, true())
    statement = each.where(among(session, Endpoint.id, endpoint_ids))
    found: dict[str, UUID] = {}
    for message_id, event_id in await session.execute(statement):
        if event_id is not None:
            found[message_id] = max(event_id, found.get(message_id, event_id))
    return found


async def known(
    session: AsyncSession, endpoint_ids: Collection[UUID], event_ids: Collection[UUID]
) -> set[tuple[UUID, UUID]]:
    """Which of these events have a delivery to which of these endpoints."""
    if not event_ids:
        return set()
    statement = select(WebhookDelivery.endpoint_id, WebhookDelivery.event_id).where(
        among(session, WebhookDelivery.endpoint_id, endpoint_ids),
        among(session, WebhookDelivery.event_id, event_ids),
    )
    return {(row[0], row[1]) for row in await session.execute(statement)}
