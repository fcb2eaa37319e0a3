"""Tells the event log what happened to subscribers."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience.rows import Row
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids
from newsletter.kit.db import JSONObject

PERSONAL = ("email", "first_name", "last_name")
"""Fields of the event's subscriber that an erasure blanks."""


async def announce(session: AsyncSession, project: Project, kind: EventType, rows: Sequence[Row]) -> None:
    """One event per row."""
    await events.record_many(session, project.id, kind, [described(row) for row in rows])


def described(row: Row) -> JSONObject:
    """The ``data`` of a subscriber's event."""
    return {
        "subscriber": {
            "id": ids.public("sub", row.id),
            "list_id": ids.public("lst", row.list_id),
            "email": row.email,
            "first_name": row.first_name,
            "last_name": row.last_name,
            "status": row.status.value,
            "subscribed_at": _time(row.subscribed_at),
            "unsubscribed_at": _time(row.unsubscribed_at),
            "created_at": _time(row.created_at),
        }
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else clock.rfc3339(at)
