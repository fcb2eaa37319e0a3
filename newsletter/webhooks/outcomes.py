"""How calls ended, in the books: attempts, retries, dead letters, and what they say of the endpoint.

A delivery is ``pending`` until its first call and again after a replay, ``retrying`` after a
failed one, and in the end ``succeeded`` or ``exhausted`` (the dead letter).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.kit import bulk, jobs
from newsletter.settings import WebhookSettings
from newsletter.webhooks import queries, schedule, service
from newsletter.webhooks.calls import GONE, Call
from newsletter.webhooks.models import (
    Attempt,
    DeliveryStatus,
    DisabledReason,
    Endpoint,
    WebhookDelivery,
)
from newsletter.webhooks.queries import Booked
from newsletter.webhooks.turns import Held

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one call, or of what was given up without one."""

    delivery_ids: Sequence[UUID]
    """The first one's, and of those that went in the same call."""
    number: int
    """Which call of the first one it was."""
    call: Call | None


async def store(
    session: AsyncSession, settings: WebhookSettings, held: Held, outcomes: Sequence[Outcome]
) -> None:
    """Writes how these ended, however many, in a handful of statements; in the turn's transaction.

    What is in the books already is left alone, and so is what was replayed or deleted meanwhile.
    """
    if not outcomes:
        return
    booked = await queries.booked(session, [each for one in outcomes for each in one.delivery_ids])
    attempts: list[dict[str, object]] = []
    changed: list[dict[str, object]] = []
    over: list[Booked] = []
    for outcome in outcomes:
        rows = _concerned(booked, outcome)
        if not rows:
            continue
        if outcome.call is not None:
            attempts += [_attempt(row, outcome.call) for row in rows]
            await _judge(session, settings, held.endpoint, outcome.call, held.now)
        status, wait = _verdict(settings, held.endpoint, rows[0], outcome.call)
        if wait is None:
            over += rows
        changed += [
            {
                "id": row.id,
                "status": status,
                "attempt_count": row.attempt_count + (outcome.call is not None),
                "next_attempt_at": None if wait is None else held.now + timedelta(seconds=wait),
                "finished_at": held.now if wait is None else None,
            }
            for row in rows
        ]
    await bulk.insert_rows(session, Attempt, attempts)
    await bulk.update_rows(session, WebhookDelivery, changed)
    await _next_turn(session, held, over)


def _concerned(booked: dict[UUID, Booked], outcome: Outcome) -> list[Booked]:
    """The deliveries that the outcome is of, the first one at the head."""
    lead = booked.get(outcome.delivery_ids[0])
    if lead is None or lead.status not in queries.OPEN or lead.attempt_count + 1 != outcome.number:
        return []
    others = (booked.get(each) for each in outcome.delivery_ids[1:])
    return [
        lead,
        *(each for each in others if each and each.lead_id == lead.id and each.status in queries.OPEN),
    ]


def _attempt(row: Booked, call: Call) -> dict[str, object]:
    return {
        "delivery_id": row.id,
        "number": row.attempt_count + 1,
        "status_code": call.status_code,
        "error": call.error,
        "request_headers": dict(call.headers),
        "answer": call.answer,
        "elapsed_ms": call.elapsed_ms,
        "at": call.at,
    }


def _verdict(
    settings: WebhookSettings, endpoint: Endpoint, lead: Booked, call: Call | None
) -> tuple[DeliveryStatus, float | None]:
    """What becomes of a delivery, and after how many seconds it is called again; None: no more."""
    if call is not None and call.is_acknowledged:
        return DeliveryStatus.succeeded, None
    if call is None or not endpoint.is_active:
        return DeliveryStatus.exhausted, None
    failures = lead.attempt_count + 1 - lead.attempts_before_replay
    wait = schedule.seconds_until_retry(settings.retry_seconds, failures, call.retry_after)
    return (DeliveryStatus.exhausted if wait is None else DeliveryStatus.retrying), wait


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


async def _next_turn(session: AsyncSession, held: Held, over: Sequence[Booked]) -> None:
    """Gives those their time that waited for these."""
    message_ids = {row.message_id for row in over if row.message_id is not None}
    if not message_ids or not held.has_waiting:
        return
    if held.endpoint.group_size > 1:
        await service.gather_soon(session, held.endpoint.id, 0)
        return
    following = await queries.whose_turn_came(session, held.endpoint.id, message_ids)
    await bulk.update_rows(
        session, WebhookDelivery, [{"id": each, "next_attempt_at": held.now} for each in following]
    )


async def hold_back(session: AsyncSession, delivery_ids: Sequence[UUID]) -> None:
    """Takes their time from deliveries that have to wait for another of their message."""
    if delivery_ids:
        waiting = update(WebhookDelivery).where(bulk.among(session, WebhookDelivery.id, delivery_ids))
        await session.execute(waiting.values(next_attempt_at=None))
