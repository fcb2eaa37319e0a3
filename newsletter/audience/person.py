"""A person behind subscribers: one address on any number of lists, deleted ones included."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience.models import Consent, Subscriber
from newsletter.audience.schemas import ConsentOut, SubscriberOut
from newsletter.kit.errors import NotFound


@dataclass(frozen=True, slots=True)
class Person:
    """All that the audience holds of somebody."""

    address_key: str
    known_as: frozenset[UUID]
    """The ids that the person ever had."""
    subscribers: list[SubscriberOut]
    consents: list[ConsentOut]
    """The oldest first."""


async def address_of(session: AsyncSession, project: Project, subscriber_id: UUID) -> str:
    """From the history where the subscriber is gone, as its list was deleted; without an @ for who was
    erased. Raises `NotFound`."""
    for table, is_it in ((Subscriber, Subscriber.id), (Consent, Consent.subscriber_id)):
        statement = select(table.address_key).where(table.project_id == project.id, is_it == subscriber_id)
        address_key = (await session.execute(statement.limit(1))).scalar_one_or_none()
        if address_key is not None:
            return address_key
    raise NotFound()


async def held(session: AsyncSession, project: Project, subscriber_id: UUID) -> Person:
    """Raises `NotFound`, also for who was erased: nothing is held of them."""
    address_key = await address_of(session, project, subscriber_id)
    if "@" not in address_key:
        raise NotFound()
    subscribers = await session.scalars(
        select(Subscriber)
        .where(Subscriber.project_id == project.id, Subscriber.address_key == address_key)
        .order_by(Subscriber.id)
    )
    consents = await session.scalars(
        select(Consent)
        .where(Consent.project_id == project.id, Consent.address_key == address_key)
        .order_by(Consent.id)
    )
    rows, history = subscribers.all(), consents.all()
    return Person(
        address_key,
        frozenset({*(row.id for row in rows), *(row.subscriber_id for row in history)}),
        [SubscriberOut.model_validate(row) for row in rows],
        [ConsentOut.model_validate(row) for row in history],
    )
