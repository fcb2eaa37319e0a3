"""Takes a person out of what was sent, came back and was told to others (GDPR Art. 17).

The audience has erased them before (`newsletter.audience.erase`); here goes what is found by the address
that the job behind it carries. Safe to repeat.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.automations import person as automations
from newsletter.delivery import forgetting
from newsletter.events import queries as events
from newsletter.feedback import repeated, returned
from newsletter.kit import ids
from newsletter.sandbox import inbox
from newsletter.webhooks import forgetting as webhooks

MOST_EVENTS = 100_000
"""Of one person: a mail each day, and what became of it, for 50 years."""
EVENTS_AT_ONCE = 1_000
"""A database takes only so many parameters with one statement: SQLite by its own default 32,766."""


async def forget(
    session: AsyncSession,
    project_id: UUID,
    address_key: str,
    replacement: str,
    subscriber_ids: Collection[str],
) -> None:
    """``replacement`` stands where the address did; ``subscriber_ids`` are those that the person ever
    had, in public form."""
    message_ids = await forgetting.forget(session, project_id, address_key, replacement)
    await automations.forget(session, project_id, [ids.private("sub", each) for each in subscriber_ids])
    await inbox.forget(session, project_id, address_key)
    await repeated.forget(session, project_id, address_key)
    await returned.forget(session, message_ids)
    told = await events.about(
        session, project_id, subscriber_ids=subscriber_ids, message_ids=message_ids, limit=MOST_EVENTS
    )
    for start in range(0, len(told), EVENTS_AT_ONCE):
        part = told[start : start + EVENTS_AT_ONCE]
        await webhooks.forget(session, project_id, [each.id for each in part])
