"""Reads the event log."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events.models import Event
from newsletter.kit import ids
from newsletter.kit.bulk import among


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


async def by_ids(session: AsyncSession, event_ids: Sequence[UUID]) -> list[Logged]:
    """For jobs, which carry ids; in the order in which the events happened."""
    return await _read(session, Event.id.in_(event_ids))


async def of_message(
    session: AsyncSession, project_id: UUID, message_id: str, since: datetime, limit: int
) -> list[Logged]:
    """The events about a message that began at ``since``, in the order in which they happened."""
    mine = (Event.project_id == project_id) & (Event.message_id == message_id)
    return await _read(session, mine, Event.id >= ids.first_of(since), limit=limit)


async def of_messages(session: AsyncSession, message_ids: Collection[str], since: datetime) -> list[Logged]:
    """What happened to these messages since then, in the order in which it happened."""
    return await _read(
        session, among(session, Event.message_id, message_ids), Event.id >= ids.first_of(since)
    )


async def about(
    session: AsyncSession,
    project_id: UUID,
    *,
    subscriber_ids: Collection[str],
    message_ids: Collection[str],
    limit: int,
) -> list[Logged]:
    """The newest events about one of these, by their public ids; the newest first. Reads every event of
    the project that has such a subject, as it is rare and needs no index."""
    subjects = {"subscriber": subscriber_ids, "message": message_ids}
    wanted = [
        Event.type.startswith(f"{name}.") & Event.data[name]["id"].as_string().in_(ids_)
        for name, ids_ in subjects.items()
        if ids_
    ]
    return await _read(session, Event.project_id == project_id, or_(*wanted), limit=limit, newest=True)


async def _read(
    session: AsyncSession, *conditions: ColumnElement[bool], limit: int | None = None, newest: bool = False
) -> list[Logged]:
    columns = (Event.id, Event.project_id, Event.type, Event.data, Event.created_at, Event.message_id)
    statement = (
        select(*columns).where(*conditions).order_by(Event.id.desc() if newest else Event.id).limit(limit)
    )
    return [Logged(*row) for row in await session.execute(statement)]
