"""Delivers once more, with the same event ids: one delivery, or all of a time or a status."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, jobs, prepared
from newsletter.kit.db import Database
from newsletter.kit.errors import Conflict
from newsletter.webhooks import queries, service
from newsletter.webhooks.models import DeliveryStatus, Endpoint, WebhookDelivery
from newsletter.webhooks.queries import Filters

AT_ONCE = 200
"""Deliveries of one transaction."""


class EndpointInactive(Conflict):
    code, status = "webhook_endpoint_inactive", 409
    summary = "The endpoint is not active. Set is_active to true first."


class DeliveryPending(Conflict):
    code, status = "delivery_pending", 409
    summary = "The delivery waits for its call already."


async def replay(
    session: AsyncSession, project: Project, endpoint_id: UUID, delivery_id: UUID
) -> WebhookDelivery:
    """Calls once more now, with the same event id and body.

    A delivery that is over starts its retry schedule again; one that waits for a retry keeps
    its place in the schedule. Raises `DeliveryPending` or `EndpointInactive`.
    """
    endpoint = await queries.endpoint(session, project, endpoint_id)
    if not endpoint.is_active:
        raise EndpointInactive()
    row = await queries.delivery(session, project, endpoint_id, delivery_id, lock=True)
    if row.status is DeliveryStatus.pending:
        raise DeliveryPending()
    if row.status is DeliveryStatus.retrying:
        await _let_go(session, endpoint, row)
    await _again(session, endpoint, [row])
    return row


async def replay_many(session: AsyncSession, project: Project, endpoint_id: UUID, filters: Filters) -> int:
    """Has those that are over delivered once more, the oldest first, by a job; returns how many
    there are. Raises `EndpointInactive`."""
    endpoint = await queries.endpoint(session, project, endpoint_id)
    if not endpoint.is_active:
        raise EndpointInactive()
    asked_at = clock.now()
    counted = select(func.count()).select_from(_over(endpoint.id, filters, asked_at).subquery())
    found = (await session.execute(counted)).scalar_one()
    if found:
        await jobs.enqueue(session, "webhooks.replay", _payload(endpoint.id, filters, asked_at, None))
    return found


async def replay_next(db: Database, payload: Mapping[str, Any]) -> None:
    """The job behind `replay_many`: some of them, and a job for those behind. Run twice, it leaves
    alone what was called since."""
    endpoint_id, asked_at = UUID(payload["endpoint_id"]), datetime.fromisoformat(payload["asked_at"])
    filters = Filters(
        status=DeliveryStatus(payload["status"]) if payload["status"] else None,
        event_type=EventType(payload["event_type"]) if payload["event_type"] else None,
        since=_time(payload["since"]),
        until=_time(payload["until"]),
    )
    over = _over(endpoint_id, filters, asked_at).order_by(WebhookDelivery.id).limit(AT_ONCE)
    if payload["after"] is not None:
        over = over.where(WebhookDelivery.id > UUID(payload["after"]))
    async with db.unit_of_work() as session:
        endpoint = await session.get(Endpoint, endpoint_id)
        if endpoint is None or not endpoint.is_active:
            return
        rows = (await session.scalars(over.with_for_update())).all()
        if rows:
            await _again(session, endpoint, rows)
        if len(rows) == AT_ONCE:
            following = _payload(endpoint_id, filters, asked_at, rows[-1].id)
            await jobs.enqueue(session, "webhooks.replay", following)


def _over(endpoint_id: UUID, filters: Filters, asked_at: datetime) -> Select[WebhookDelivery]:
    """Without those that wait for a call, and those that had one after it was asked for."""
    return filters.of(endpoint_id).where(
        WebhookDelivery.status.not_in(queries.OPEN), WebhookDelivery.finished_at <= asked_at
    )


def _payload(
    endpoint_id: UUID, filters: Filters, asked_at: datetime, after: UUID | None
) -> dict[str, str | None]:
    return {
        "endpoint_id": str(endpoint_id),
        "status": filters.status,
        "event_type": filters.event_type,
        "since": filters.since.isoformat() if filters.since else None,
        "until": filters.until.isoformat() if filters.until else None,
        "asked_at": asked_at.isoformat(),
        "after": str(after) if after else None,
    }


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


async def _let_go(session: AsyncSession, endpoint: Endpoint, lead: WebhookDelivery) -> None:
    """Has those that went in the calls of this one, which had the only job, put into calls of their own."""
    followers = await queries.led_by(session, [lead.id], lock=True)
    for each in followers:
        each.status, each.next_attempt_at, each.lead_id = DeliveryStatus.pending, None, None
    if followers:
        await session.flush()
        await service.gather_soon(session, endpoint.id, 0)


async def _again(session: AsyncSession, endpoint: Endpoint, rows: Sequence[WebhookDelivery]) -> None:
    is_grouped = endpoint.group_size > 1
    now = await prepared.now(session)
    for row in rows:
        if row.status is not DeliveryStatus.retrying:
            row.attempts_before_replay = row.attempt_count
        row.status, row.finished_at, row.lead_id = DeliveryStatus.pending, None, None
        row.next_attempt_at = None if is_grouped else now
    await session.flush()
    if is_grouped:
        await service.gather_soon(session, endpoint.id, 0)
    else:
        await service.serve_soon(session, [endpoint.id])
