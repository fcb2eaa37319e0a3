"""Takes a person out of what is remembered of calls."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.bulk import among
from newsletter.webhooks.models import Attempt, Endpoint, WebhookDelivery


async def forget(session: AsyncSession, project_id: UUID, event_ids: Collection[UUID]) -> None:
    """Drops what endpoints answered to calls about these events, which may repeat what it was told. The
    bodies of calls are not kept: they are made of the events, which name nobody any more."""
    if not event_ids:
        return
    # By the endpoints, as deliveries are found by endpoint and event.
    mine = select(Endpoint.id).where(Endpoint.project_id == project_id)
    about = select(WebhookDelivery.id).where(
        WebhookDelivery.endpoint_id.in_(mine), among(session, WebhookDelivery.event_id, event_ids)
    )
    # Several events may have gone in one call, whose answer is with the first of them.
    leads = select(WebhookDelivery.lead_id).where(
        WebhookDelivery.id.in_(about), WebhookDelivery.lead_id.is_not(None)
    )
    await session.execute(
        update(Attempt)
        .where(Attempt.delivery_id.in_(about) | Attempt.delivery_id.in_(leads), Attempt.answer.is_not(None))
        .values(answer=None)
        .execution_options(synchronize_session=False)
    )
