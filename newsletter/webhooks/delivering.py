"""From an event to its endpoints: fan out, attempt, retry, dead letter.

A delivery is ``pending`` until its first call and again after a replay, ``retrying`` after a
failed one, and in the end ``succeeded`` or ``exhausted`` (the dead letter).

An endpoint may get a call twice with one ``webhook-id``: a process that dies after the call
and before its result is stored leaves the job to be run again.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.events import queries as events
from newsletter.kit import ids, jobs
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database, db_now, insert
from newsletter.kit.http import GuardedClient
from newsletter.webhooks import queries, schedule, service
from newsletter.webhooks.calls import GONE, Call, Notice, Target, call
from newsletter.webhooks.models import Attempt, DeliveryStatus, Endpoint, WebhookDelivery

log = structlog.get_logger(__name__)

EVENTS_AT_ONCE = 50
"""Events of one transaction of a fan-out: times the endpoints of a project, a short one."""
ROWS_AT_ONCE = 500
"""Both databases limit the parameters of one statement."""
_OPEN = (DeliveryStatus.pending, DeliveryStatus.retrying)


async def fan_out(db: Database, event_ids: Sequence[UUID]) -> None:
    """One delivery per event and endpoint that wants it. A second run adds nothing."""
    for start in range(0, len(event_ids), EVENTS_AT_ONCE):
        async with db.unit_of_work() as session:
            await _fan_out(session, event_ids[start : start + EVENTS_AT_ONCE])


async def _fan_out(session: AsyncSession, event_ids: Sequence[UUID]) -> None:
    happened = await events.by_ids(session, event_ids)
    endpoints = {
        project_id: await queries.active(session, project_id)
        for project_id in {event.project_id for event in happened}
    }
    rows = [
        {
            "id": ids.uuid7(),
            "project_id": event.project_id,
            "endpoint_id": endpoint.id,
            "event_id": event.id,
            "event_type": event.type,
            "status": DeliveryStatus.pending,
            "attempt_count": 0,
            "attempts_before_replay": 0,
            "next_attempt_at": db_now(),
            "created_at": db_now(),
        }
        for event in happened
        for endpoint in endpoints[event.project_id]
        if not endpoint.events or event.type in endpoint.events
    ]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        written = await session.scalars(
            insert(session, WebhookDelivery)
            .values(rows[start : start + ROWS_AT_ONCE])
            .on_conflict_do_nothing(index_elements=["endpoint_id", "event_id"])
            .returning(WebhookDelivery)
        )
        payloads = [service.attempt_payload(row) for row in written]
        await jobs.enqueue_many(session, "webhooks.attempt", payloads)


async def attempt(
    db: Database,
    egress: GuardedClient,
    vault: Vault,
    retry_seconds: Sequence[int],
    delivery_id: UUID,
    number: int,
) -> None:
    """Makes call ``number`` of the delivery and stores how it ended, with the retry if it failed.

    Does nothing when that call is in the books already, or the endpoint was deleted.
    """
    async with db.read() as session:
        found = await queries.for_attempt(session, delivery_id)
        if found is None or not _awaits(found[0], number):
            return
        delivery, endpoint = found
        happened = await events.by_ids(session, [delivery.event_id])
        target = Target.of(endpoint) if endpoint.is_active else None
    # Of a dead letter that is replayed late the event may be gone: the log is kept for a time.
    if target is None or not happened:
        await _give_up(db, delivery_id, number)
        return
    [event] = happened
    notice = Notice(event.id, delivery_id, event.project_id, event.type, event.created_at, event.data)
    made = await call(egress, vault, target, notice)
    log.info(
        "webhook called",
        delivery_id=str(delivery_id),
        attempt=number,
        status=made.status_code,
        is_acknowledged=made.is_acknowledged,
        elapsed_ms=made.elapsed_ms,
    )
    async with db.unit_of_work() as session:
        await _store(session, retry_seconds, delivery_id, number, made)


async def _store(
    session: AsyncSession, retry_seconds: Sequence[int], delivery_id: UUID, number: int, made: Call
) -> None:
    found = await queries.for_attempt(session, delivery_id, lock=True)
    # Deleted meanwhile, or another run of this job was faster.
    if found is None or not _awaits(found[0], number):
        return
    delivery, endpoint = found
    delivery.attempt_count = number
    session.add(
        Attempt(
            delivery_id=delivery_id,
            number=number,
            status_code=made.status_code,
            error=made.error,
            elapsed_ms=made.elapsed_ms,
            at=made.at,
        )
    )
    await _decide(session, retry_seconds, delivery, endpoint, made)


async def _decide(
    session: AsyncSession,
    retry_seconds: Sequence[int],
    delivery: WebhookDelivery,
    endpoint: Endpoint,
    made: Call,
) -> None:
    now = (await session.execute(select(db_now()))).scalar_one()
    if made.is_acknowledged:
        endpoint.consecutive_failures = 0
        delivery.status, delivery.next_attempt_at, delivery.finished_at = DeliveryStatus.succeeded, None, now
        return
    endpoint.consecutive_failures += 1
    failures = delivery.attempt_count - delivery.attempts_before_replay
    wait = schedule.seconds_until_retry(retry_seconds, failures, made.retry_after)
    if made.status_code == GONE:
        await _disable(session, endpoint, "gone")
        wait = None
    if wait is None:
        delivery.status, delivery.next_attempt_at, delivery.finished_at = DeliveryStatus.exhausted, None, now
        return
    delivery.status, delivery.next_attempt_at = DeliveryStatus.retrying, now + timedelta(seconds=wait)
    await jobs.enqueue(
        session,
        "webhooks.attempt",
        service.attempt_payload(delivery),
        run_at=delivery.next_attempt_at,
        key=service.attempt_key(delivery),
    )


async def _disable(session: AsyncSession, endpoint: Endpoint, reason: str) -> None:
    endpoint.is_active, endpoint.disabled_reason = False, reason
    await session.flush()
    project = await accounts.project_by_id(session, endpoint.project_id)
    if project is not None:
        await service.listen(session, project)


async def _give_up(db: Database, delivery_id: UUID, number: int) -> None:
    """Ends a delivery without a call: its endpoint was switched off, and a replay can take it up
    again, or its event is no longer kept."""
    async with db.unit_of_work() as session:
        found = await queries.for_attempt(session, delivery_id, lock=True)
        if found is not None and _awaits(found[0], number):
            found[0].status, found[0].next_attempt_at = DeliveryStatus.exhausted, None
            found[0].finished_at = (await session.execute(select(db_now()))).scalar_one()


def _awaits(delivery: WebhookDelivery, number: int) -> bool:
    return delivery.status in _OPEN and delivery.attempt_count + 1 == number
