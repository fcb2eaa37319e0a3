"""The plan's number of subscribers: active and pending rows, counted where they change.

Whoever may change a status calls `lock` first. It holds the counter's row until the
transaction ends, so that the count and the rows change together, and so that no two
writers of one account wait for each other in a circle: counter first, then rows.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.kit.errors import NewsletterError
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource


class SubscriberLimitReached(NewsletterError):
    code, status = "subscriber_limit_reached", 402
    summary = "Your plan has no room for more subscribers. Upgrade to add more contacts."


async def lock(session: AsyncSession, project: Project) -> int:
    """How many places are taken. Safe to call again in the same transaction."""
    return await plans.hold(session, project.quota_owner_id, Resource.subscribers)


async def take(session: AsyncSession, project: Project, units: int) -> None:
    """Takes places that are free, as who holds the lock knows."""
    if units:
        await plans.use(session, project.quota_owner_id, Resource.subscribers, units, None)


async def take_one(session: AsyncSession, project: Project, limit: int | None) -> None:
    """Raises `SubscriberLimitReached` when no place is free under ``limit`` (None: always one)."""
    if not await plans.use(session, project.quota_owner_id, Resource.subscribers, 1, limit):
        raise SubscriberLimitReached()


async def give_back(session: AsyncSession, project: Project, units: int) -> None:
    await plans.give_back(session, project.quota_owner_id, Resource.subscribers, units)
