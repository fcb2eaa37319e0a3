"""One call of an endpoint, from its job to the books: attempt, retry, dead letter.

A delivery is ``pending`` until its first call and again after a replay, ``retrying`` after a
failed one, and in the end ``succeeded`` or ``exhausted`` (the dead letter).

An endpoint may get a call twice with one ``webhook-id``: a process that dies after the call
and before its result is stored leaves the job to be run again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.events import queries as events
from newsletter.kit import jobs
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.http import GuardedClient
from newsletter.settings import WebhookSettings
from newsletter.webhooks import fanning, queries, schedule, service
from newsletter.webhooks.calls import GONE, Call, Notice, Target, call
from newsletter.webhooks.models import (
    Attempt,
    DeliveryStatus,
    DisabledReason,
    Endpoint,
    WebhookDelivery,
)

log = structlog.get_logger(__name__)


async def attempt(
    db: Database,
    egress: GuardedClient,
    vault: Vault,
    settings: WebhookSettings,
    delivery_id: UUID,
    number: int,
) -> None:
    """Makes call ``number`` of the delivery, with those that go in the same calls, and stores how it
    ended, with the retry if it failed.

    Does nothing when that call is in the books already, when the endpoint was deleted, or while
    an earlier event of the message is not delivered.
    """
    async with db.read() as session:
        found = await queries.for_attempt(session, delivery_id)
        if found is None or not _awaits(found.delivery, number):
            return
        delivery, endpoint = found.delivery, found.endpoint
        rows = [delivery, *await queries.led_by(session, delivery_id)]
        happened = {event.id: event for event in await events.by_ids(session, [row.event_id for row in rows])}
        target = Target.of(endpoint) if endpoint.is_active else None
        is_single = endpoint.group_size == 1 and delivery.message_id is not None
        must_wait = is_single and await queries.open_before(session, delivery) is not None
    if must_wait and await fanning.has_to_wait(db, delivery_id):
        return
    notices = [
        Notice(row.event_id, row.id, event.project_id, event.type, event.created_at, event.data)
        for row in rows
        if (event := happened.get(row.event_id)) is not None
    ]
    # Of a dead letter that is replayed late the event may be gone: the log is kept for a time.
    if target is None or not notices:
        await _give_up(db, delivery_id, number)
        return
    made = await call(egress, vault, target, notices, settings.kept_answer_bytes)
    log.info(
        "webhook called",
        delivery_id=str(delivery_id),
        events=len(notices),
        attempt=number,
        status=made.status_code,
        is_acknowledged=made.is_acknowledged,
        elapsed_ms=made.elapsed_ms,
    )
    is_news = not made.is_acknowledged or endpoint.consecutive_failures > 0
    async with db.unit_of_work() as session:
        await _store(session, settings, delivery_id, number, made, is_news=is_news)


async def _store(
    session: AsyncSession,
    settings: WebhookSettings,
    delivery_id: UUID,
    number: int,
    made: Call,
    *,
    is_news: bool,
) -> None:
    """``is_news``: the endpoint's own row changes. One that works is not locked, so that its calls
    do not queue for it."""
    found = await queries.for_attempt(session, delivery_id, lock=True, lock_endpoint=is_news)
    # Deleted meanwhile, or another run of this job was faster.
    if found is None or not _awaits(found.delivery, number):
        return
    delivery, endpoint, now = found.delivery, found.endpoint, found.now
    rows = [delivery, *await queries.led_by(session, delivery_id, lock=True)]
    for row in rows:
        row.attempt_count += 1
        session.add(
            Attempt(
                delivery_id=row.id,
                number=row.attempt_count,
                status_code=made.status_code,
                error=made.error,
                request_headers=dict(made.headers),
                answer=made.answer,
                elapsed_ms=made.elapsed_ms,
                at=made.at,
            )
        )
    if is_news:
        await _judge(session, settings, endpoint, made, now)
    wait = None
    if not made.is_acknowledged and endpoint.is_active:
        failures = delivery.attempt_count - delivery.attempts_before_replay
        wait = schedule.seconds_until_retry(settings.retry_seconds, failures, made.retry_after)
    if wait is None:
        over = DeliveryStatus.succeeded if made.is_acknowledged else DeliveryStatus.exhausted
        await _end(session, endpoint, rows, over, now)
        return
    for row in rows:
        row.status, row.next_attempt_at = DeliveryStatus.retrying, now + timedelta(seconds=wait)
    await jobs.enqueue(
        session,
        "webhooks.attempt",
        service.attempt_payload(delivery),
        run_at=delivery.next_attempt_at,
        key=service.attempt_key(delivery),
    )


async def _judge(
    session: AsyncSession, settings: WebhookSettings, endpoint: Endpoint, made: Call, now: datetime
) -> None:
    """What a call says of its endpoint: that it works, fails, or has failed for so long that nobody
    can want it to be called any more."""
    if made.is_acknowledged:
        endpoint.consecutive_failures, endpoint.failing_since = 0, None
        return
    endpoint.consecutive_failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    if not endpoint.is_active:
        return
    if made.status_code == GONE:
        await _disable(session, endpoint, DisabledReason.gone, now)
    elif now - endpoint.failing_since >= timedelta(days=settings.disable_after_days):
        await _disable(session, endpoint, DisabledReason.failing, now)


async def _disable(session: AsyncSession, endpoint: Endpoint, reason: DisabledReason, now: datetime) -> None:
    log.warning("a webhook endpoint was switched off", endpoint_id=str(endpoint.id), reason=reason.value)
    endpoint.is_active, endpoint.disabled_reason, endpoint.disabled_at = False, reason.value, now
    endpoint.owner_message_id = endpoint.owner_untold_code = None
    await session.flush()
    await jobs.enqueue(session, "webhooks.tell_owner", {"endpoint_id": str(endpoint.id)})
    project = await accounts.project_by_id(session, endpoint.project_id)
    if project is not None:
        await service.listen(session, project)


async def _end(
    session: AsyncSession,
    endpoint: Endpoint,
    rows: Sequence[WebhookDelivery],
    status: DeliveryStatus,
    now: datetime,
) -> None:
    for row in rows:
        row.status, row.next_attempt_at, row.finished_at = status, None, now
    await session.flush()
    await fanning.next_turn(session, endpoint, rows)


async def _give_up(db: Database, delivery_id: UUID, number: int) -> None:
    """Ends a delivery without a call: its endpoint was switched off, and a replay can take it up
    again, or its event is no longer kept."""
    async with db.unit_of_work() as session:
        found = await queries.for_attempt(session, delivery_id, lock=True)
        if found is None or not _awaits(found.delivery, number):
            return
        rows = [found.delivery, *await queries.led_by(session, delivery_id, lock=True)]
        await _end(session, found.endpoint, rows, DeliveryStatus.exhausted, found.now)


def _awaits(delivery: WebhookDelivery, number: int) -> bool:
    return delivery.status in queries.OPEN and delivery.attempt_count + 1 == number
