"""Writes the event log."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import insert
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
