"""From events to deliveries: who gets what, in whose turn, and which of them in one call.

Events of one message reach an endpoint in the order in which they happened: each waits until
the one before it is acknowledged or given up. A delivery that waits for its turn is open without
a time of its next call; whoever ends the one before it gives it one.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from newsletter.events import queries as events
from newsletter.events.queries import Logged
from newsletter.kit import bulk, clock, ids, prepared
from newsletter.kit.db import Database
from newsletter.kit.planning import plan_anew
from newsletter.webhooks import queries, service
from newsletter.webhooks.models import DeliveryStatus, Endpoint, WebhookDelivery
from newsletter.webhooks.queries import OPEN

EVENTS_AT_ONCE = 50
"""Events of one transaction of a fan-out: times the endpoints of a project, a short one."""
LOOK_BACK = timedelta(hours=24)
"""How late a fan-out may be and still be overtaken by none of a later event of its message."""
UNSEEN = timedelta(minutes=1)
"""An event has its id before its transaction ends, so a later one may be seen first: by so much at most,
or it is delivered after that one."""


async def fan_out(db: Database, event_ids: Sequence[UUID], group_seconds: float) -> None:
    """One delivery per event and endpoint that wants it. A second run adds nothing."""
    for start in range(0, len(event_ids), EVENTS_AT_ONCE):
        async with db.unit_of_work() as session:
            await plan_anew(session)
            await _fan_out(session, event_ids[start : start + EVENTS_AT_ONCE], group_seconds)


async def _fan_out(session: AsyncSession, event_ids: Sequence[UUID], group_seconds: float) -> None:
    happened = await events.by_ids(session, event_ids)
    endpoints = {
        project_id: await queries.active(session, project_id)
        for project_id in {event.project_id for event in happened}
    }
    wanted = [
        (event, endpoint)
        for event in happened
        for endpoint in endpoints[event.project_id]
        if not endpoint.events or event.type in endpoint.events
    ]
    wanted = [*await _overtaken(session, endpoints, wanted), *wanted]
    now = await prepared.now(session)
    rows = [
        {
            "id": ids.uuid7(),
            "project_id": event.project_id,
            "endpoint_id": endpoint.id,
            "event_id": event.id,
            "event_type": event.type,
            "message_id": event.message_id,
            "status": DeliveryStatus.pending,
            "attempt_count": 0,
            "attempts_before_replay": 0,
            "next_attempt_at": now if endpoint.group_size == 1 else None,
            "created_at": now,
        }
        for event, endpoint in wanted
    ]
    written = await bulk.insert_missing(session, WebhookDelivery, rows)
    called = {row["endpoint_id"] for row in rows if row["id"] in written}
    wanting = {endpoint.id: endpoint.group_size for _, endpoint in wanted if endpoint.id in called}
    await service.serve_soon(session, [each for each, size in wanting.items() if size == 1])
    for endpoint_id in (each for each, size in wanting.items() if size > 1):
        await service.gather_soon(session, endpoint_id, group_seconds)


async def _overtaken(
    session: AsyncSession,
    endpoints: Mapping[UUID, Sequence[Endpoint]],
    wanted: Sequence[tuple[Logged, Endpoint]],
) -> list[tuple[Logged, Endpoint]]:
    """Earlier events of the same messages whose own fan-out has not come yet: it is a job as this
    one, and jobs overtake each other. They get their deliveries here, before the later ones.

    As that is done for every endpoint of the project, what happened to a message before the newest event
    that has a delivery was seen to when that one got it, so nothing older is read. (Read from the
    beginning, the thousandth open of a hot message read 999 others.)
    """
    latest = {event.message_id: event for event, _ in wanted if event.message_id is not None}
    if not latest:
        return []
    mine = {event.project_id: endpoints[event.project_id] for event in latest.values()}
    by_id = {endpoint.id: endpoint for found in mine.values() for endpoint in found}
    oldest = clock.now() - LOOK_BACK
    since = dict.fromkeys(latest, oldest)
    for message_id, event_id in (await queries.newest(session, by_id, latest)).items():
        since[message_id] = max(oldest, ids.time_of(event_id) - UNSEEN)
    listened = [endpoint.events for endpoint in by_id.values()]
    kinds = None if [] in listened else {kind for events_ in listened for kind in events_}
    before = max(event.id for event in latest.values())
    missing = [
        (event, endpoint)
        for event in await events.of_messages(session, since, before, kinds)
        for endpoint in mine[event.project_id]
        if event.id < latest[str(event.message_id)].id
        # What happened before the endpoint was there, or as it is now, is not for it.
        and event.created_at >= endpoint.updated_at
        and (not endpoint.events or event.type in endpoint.events)
    ]
    known = await queries.known(session, by_id, {event.id for event, _ in missing})
    return [(event, endpoint) for event, endpoint in missing if (endpoint.id, event.id) not in known]


async def gather(db: Database, endpoint_id: UUID) -> None:
    """Puts what waits at an endpoint into calls of up to ``group_size`` events. Safe to repeat."""
    is_more = True
    while is_more:
        async with db.unit_of_work() as session:
            await plan_anew(session)
            is_more = await _gather(session, endpoint_id)


async def _gather(session: AsyncSession, endpoint_id: UUID) -> bool:
    endpoint = await session.get(Endpoint, endpoint_id, with_for_update=True)
    if endpoint is None:
        return False
    row, before = WebhookDelivery, aliased(WebhookDelivery)
    is_blocked = (
        select(before.id)
        .where(
            before.endpoint_id == row.endpoint_id,
            before.message_id == row.message_id,
            before.event_id < row.event_id,
            before.status.in_(OPEN),
            before.next_attempt_at.is_not(None),
        )
        .exists()
    )
    waiting = select(row).where(
        row.endpoint_id == endpoint_id, row.status == DeliveryStatus.pending, row.next_attempt_at.is_(None)
    )
    if endpoint.is_active:
        waiting = waiting.where(~is_blocked)
    found = (await session.scalars(waiting.order_by(row.event_id).limit(endpoint.group_size))).all()
    if not found:
        return False
    lead = found[0]
    now = await prepared.now(session)
    for each in found:
        each.next_attempt_at = now
        each.lead_id = None if each is lead else lead.id
    await session.flush()
    await service.serve_soon(session, [endpoint_id])
    return True
