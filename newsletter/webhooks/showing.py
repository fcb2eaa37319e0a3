"""A delivery as the API shows it: what was sent, and how each call ended."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.events import queries as events
from newsletter.webhooks import calls, queries
from newsletter.webhooks.calls import Notice, Target
from newsletter.webhooks.schemas import AttemptOut, DeliveryOut, DeliverySummary


async def delivery(
    session: AsyncSession, project: Project, endpoint_id: UUID, delivery_id: UUID
) -> DeliveryOut:
    """Raises `newsletter.kit.errors.NotFound`."""
    endpoint = await queries.endpoint(session, project, endpoint_id)
    row = await queries.delivery(session, project, endpoint_id, delivery_id)
    made = [AttemptOut.model_validate(call) for call in await queries.attempts(session, row.id)]
    notices = [
        Notice(event.id, row.id, event.project_id, event.type, event.created_at, event.data)
        for event in await events.by_ids(session, [row.event_id])
    ]
    body = calls.content(Target.of(endpoint), notices).decode() if notices else None
    shown = DeliverySummary.model_validate(row)
    return DeliveryOut(**dict(shown), message_id=row.message_id, request_body=body, attempts=made)
