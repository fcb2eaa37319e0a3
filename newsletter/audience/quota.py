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


async def lock(session: AsyncSession, project: Project) -> None:
    """Safe to call again in the same transaction."""
    await plans.use(session, project.quota_owner_id, Resource.subscribers, 0, None)


async def take(session: AsyncSession, project: Project, units: int, limit: int | None) -> int:
    """As many of ``units`` as fit under ``limit`` (None: all)."""
    if units == 1:
        # The common case, a single call, in one statement less.
        return int(await plans.use(session, project.quota_owner_id, Resource.subscribers, 1, limit))
    return await plans.use_up_to(session, project.quota_owner_id, Resource.subscribers, units, limit)


async def give_back(session: AsyncSession, project: Project, units: int) -> None:
    await plans.give_back(session, project.quota_owner_id, Resource.subscribers, units)
