"""Reads the event log."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
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


async def about(
    session: AsyncSession,
    project_id: UUID,
    *,
    subscriber_ids: Collection[str],
    message_ids: Collection[str],
    limit: int,
) -> Sequence[Event]:
    """The newest events about one of these, by their public ids; the newest first. Reads every event of
    the project that has such a subject, as it is rare and needs no index."""
    subjects = {"subscriber": subscriber_ids, "message": message_ids}
    wanted = [
        Event.type.startswith(f"{name}.") & Event.data[name]["id"].as_string().in_(ids_)
        for name, ids_ in subjects.items()
        if ids_
    ]
    statement = select(Event).where(Event.project_id == project_id, or_(*wanted))
    return (await session.scalars(statement.order_by(Event.id.desc()).limit(limit))).all()
