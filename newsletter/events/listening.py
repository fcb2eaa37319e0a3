"""Who listens to which events of a project.

Those who are told of events live above this slice: the customer's webhook endpoints, and automations.
They keep here what they listen to, so that what nobody listens to need not be written for them, and
sending, which would write the most, can ask without knowing who they are.
"""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events.models import EventListener
from newsletter.events.vocabulary import EventType
from newsletter.kit.db import insert
from newsletter.kit.prepared import Prepared

EVERYTHING: Final = "*"
"""Stands for each type there is, those of a later release included."""
WEBHOOKS, AUTOMATIONS = "webhooks", "automations"
JOBS: Final[Mapping[str, str]] = {WEBHOOKS: "webhooks.fan_out", AUTOMATIONS: "automations.on_events"}
"""By who listens: the job that is told the ids of events."""


async def listen(
    session: AsyncSession, project_id: UUID, listener: str, kinds: Collection[EventType] | None
) -> None:
    """From now on ``listener`` is told of events of these kinds, and of no others; None: of all.

    The caller sees to it that no two transactions do this for one project at a time.
    """
    mine = EventListener.project_id == project_id, EventListener.listener == listener
    await session.execute(delete(EventListener).where(*mine))
    types = [EVERYTHING] if kinds is None else sorted({kind.value for kind in kinds})
    rows = [{"project_id": project_id, "listener": listener, "type": kind} for kind in types]
    if rows:
        await session.execute(insert(session, EventListener).values(rows))


_LISTENED = Prepared(
    lambda _: select(EventListener.type, EventListener.listener).where(
        EventListener.project_id == bindparam("project_id")
    )
)


async def listeners(session: AsyncSession, project_id: UUID, kind: EventType) -> list[str]:
    """Who listens to this kind, in one order."""
    rows = await _LISTENED.rows(session, project_id=project_id)
    return sorted({listener for type_, listener in rows if type_ in (kind.value, EVERYTHING)})


async def listened(session: AsyncSession, project_id: UUID) -> frozenset[EventType]:
    """The kinds that anybody listens to."""
    types = {row[0] for row in await _LISTENED.rows(session, project_id=project_id)}
    if EVERYTHING in types:
        return frozenset(EventType)
    return frozenset(EventType(kind) for kind in types)


def listeners_sql(kind: EventType, *, project: str) -> str:
    """`listeners` as text, for a statement written by hand: an array in JSON, or NULL for nobody."""
    return f"SELECT json_agg(DISTINCT listener) {_rows_sql(kind, project)}"


def hears_sql(listener: str, kind: EventType, *, project: str) -> str:
    """Whether ``listener`` is one of `listeners`, as a condition."""
    return f"EXISTS (SELECT {_rows_sql(kind, project)} AND listener = {listener})"


def _rows_sql(kind: EventType, project: str) -> str:
    return f"FROM event_listeners WHERE project_id = {project} AND type IN ('{kind.value}', '{EVERYTHING}')"
