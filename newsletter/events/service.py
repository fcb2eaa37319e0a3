"""Writes the event log."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events import listening
from newsletter.events.models import Event
from newsletter.events.vocabulary import EventType, Trace
from newsletter.kit import bulk, clock, ids, jobs
from newsletter.kit.db import JSONObject
from newsletter.kit.jobs import Ring

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Noted:
    """An event that is kept in the log, with an id and a time that it had before."""

    id: UUID
    project_id: UUID
    kind: Trace
    data: JSONObject
    at: datetime
    message_id: str
    mailing_id: UUID
    """The message that it is about: to read them out of the data again was a tenth of the time of a click."""


async def note_many(session: AsyncSession, rows: Sequence[Noted]) -> set[UUID]:
    """Writes what readers did, and returns the ids of those that it wrote. Safe to repeat: those that
    are there stay, and are told once."""
    written = await bulk.insert_missing(
        session,
        Event,
        [
            {
                "id": row.id,
                "project_id": row.project_id,
                "type": row.kind.value,
                "data": row.data,
                "created_at": row.at,
                "message_id": row.message_id,
                "mailing_id": row.mailing_id,
            }
            for row in rows
        ],
    )
    told: dict[tuple[UUID, EventType], list[UUID]] = {}
    is_all = len(written) == len(rows)
    for row in rows:
        if is_all or row.id in written:
            told.setdefault((row.project_id, EventType(row.kind.value)), []).append(row.id)
    for (project_id, kind), event_ids in told.items():
        await _tell(session, project_id, kind, event_ids)
    return written


async def record_many(
    session: AsyncSession, project_id: UUID, kind: EventType, rows: Sequence[JSONObject]
) -> None:
    """Writes one event per row, in the transaction of the change, and has them fanned out where
    anybody listens.

    A row is the ``data`` of the webhook body: ids in public form, times as RFC 3339, no floats.
    """
    if not rows:
        return
    now = clock.now()
    events = [
        {
            "id": ids.uuid7(),
            "project_id": project_id,
            "type": kind.value,
            "data": row,
            "created_at": now,
            **_subject(row),
        }
        for row in rows
    ]
    await bulk.insert_rows(session, Event, events)
    await _tell(session, project_id, kind, [event["id"] for event in events])


async def _tell(
    session: AsyncSession, project_id: UUID, kind: EventType, event_ids: Sequence[object]
) -> None:
    for listener in await listening.listeners(session, project_id, kind):
        payload = {"event_ids": [str(each) for each in event_ids]}
        await jobs.enqueue(session, listening.JOBS[listener], payload)


def _subject(data: JSONObject) -> dict[str, object]:
    """The message that an event is about, in the columns by which it is found."""
    message = data.get("message")
    if not isinstance(message, Mapping):
        return {"message_id": None, "mailing_id": None}
    message_id = str(message["id"])
    return {"message_id": message_id, "mailing_id": UUID(bytes=ids.decode("msg", message_id, 20)[:16])}


@dataclass(frozen=True, slots=True)
class Recording:
    """What `record_sql` takes as parameters, and the jobs that are to be rung after the commit."""

    rows: str | None
    jobs: str | None
    rings: Sequence[Ring] = ()

    @classmethod
    def of(cls, rows: Sequence[JSONObject], *, listeners: Collection[str]) -> "Recording":
        """Of the ``data`` of each event, as `record_many` takes it; `listening.listeners_sql` told who
        listens to them."""
        if not rows:
            return cls(None, None)
        events = [(str(event_id), row) for event_id, row in zip(ids.uuid7s(len(rows)), rows, strict=True)]
        payload = {"event_ids": [event_id for event_id, _ in events]}
        rings = {listener: Ring(ids.uuid7(), listening.JOBS[listener]) for listener in sorted(listeners)}
        wanted = [(str(ring.job_id), ring.name, payload, listener) for listener, ring in rings.items()]
        return cls(_JSON.encode(events), _JSON.encode(wanted) if wanted else None, list(rings.values()))


def record_sql(kind: EventType, *, project: str, now: str, rows: str, wanted: str) -> str:
    """`record_many` of events that are about no message, as two parts of a WITH for a statement
    written by hand; the arguments are its parameters, the last two those of a `Recording`."""
    return f"""
recorded AS (
    INSERT INTO events (id, project_id, type, data, created_at)
    SELECT (e ->> 0)::uuid, {project}, '{kind.value}', (e -> 1)::jsonb, {now}
    FROM json_array_elements({rows}::text::json) AS e
),
told AS ({jobs.enqueue_sql(wanted)} RETURNING id)
"""  # noqa: S608 - built from words of the code, at import


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


async def blank_messages(session: AsyncSession, project_id: UUID, message_ids: Collection[str]) -> None:
    """Takes out of all events of these messages who they went to, and what servers and requests
    told of that person."""
    if not message_ids:
        return
    statement = select(Event.id, Event.data).where(
        Event.project_id == project_id, Event.message_id.in_(message_ids)
    )
    rows = [{"id": event_id, "data": anonymous(data)} for event_id, data in await session.execute(statement)]
    if rows:
        await session.execute(update(Event), rows)


def anonymous(data: JSONObject) -> JSONObject:
    """The ``data`` of a message's event without what tells of its reader; that it happened stays."""
    blanked = {
        what: {**part, **dict.fromkeys(part.keys() & _PERSONAL.get(what, _OF_THE_REQUEST))}
        for what, part in data.items()
        if isinstance(part, Mapping)
    }
    return {**data, **blanked}


_OF_THE_REQUEST = frozenset({"user_agent", "network", "url"})
_OF_THE_ANSWER = frozenset({"reason"})
"""Servers like to quote the address."""
_PERSONAL = {
    "message": frozenset({"subscriber_id", "to"}),
    "bounce": _OF_THE_ANSWER,
    "deferral": _OF_THE_ANSWER,
    "failure": _OF_THE_ANSWER,
}
