"""Reads the event log."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events.models import Event
from newsletter.kit import ids


async def by_ids(session: AsyncSession, event_ids: Sequence[UUID]) -> Sequence[Event]:
    """For jobs, which carry ids; in the order in which the events happened."""
    return (await session.scalars(select(Event).where(Event.id.in_(event_ids)).order_by(Event.id))).all()


async def of_message(
    session: AsyncSession, project_id: UUID, message_id: str, since: datetime, limit: int
) -> Sequence[Event]:
    """The events about a message that began at ``since``, in the order in which they happened."""
    statement = select(Event).where(
        Event.project_id == project_id,
        Event.id >= ids.first_of(since),
        Event.type.startswith("message."),
        Event.data["message"]["id"].as_string() == message_id,
    )
    return (await session.scalars(statement.order_by(Event.id).limit(limit))).all()
