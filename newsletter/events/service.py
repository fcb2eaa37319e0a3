"""Writes the event log."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events.models import Event
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids, jobs
from newsletter.kit.db import JSONObject


async def record_many(
    session: AsyncSession, project_id: UUID, kind: EventType, rows: Sequence[JSONObject]
) -> None:
    """Writes one event per row, in the transaction of the change, and has them fanned out.

    A row is the ``data`` of the webhook body: ids in public form, times as RFC 3339, no floats.
    """
    if not rows:
        return
    now = clock.now()
    events = [
        {"id": ids.uuid7(), "project_id": project_id, "type": kind.value, "data": row, "created_at": now}
        for row in rows
    ]
    await session.execute(insert(Event), events)
    await jobs.enqueue(session, "webhooks.fan_out", {"event_ids": [str(event["id"]) for event in events]})


async def blank(
    session: AsyncSession,
    project_id: UUID,
    subject: str,
    public_ids: Collection[str],
    fields: Collection[str],
) -> None:
    """Sets these fields to null in all events about these subjects: a person was erased.

    ``subject`` is the name under which the event's data holds it, such as ``subscriber``.
    Reads every such event of the project, as it is rare and needs no index.
    """
    statement = select(Event.id, Event.data).where(
        Event.project_id == project_id,
        Event.type.startswith(f"{subject}.", autoescape=True),
        Event.data[subject]["id"].as_string().in_(public_ids),
    )
    rows = [
        {"id": event_id, "data": {**data, subject: {**data[subject], **dict.fromkeys(fields)}}}
        for event_id, data in await session.execute(statement)
    ]
    if rows:
        await session.execute(update(Event), rows)
