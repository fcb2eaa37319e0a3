"""Gives tags to subscribers and takes them away, many at a time."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import rows
from newsletter.audience.models import Subscriber
from newsletter.kit import clock
from newsletter.kit.bulk import among


async def tag_each(
    session: AsyncSession,
    project: Project,
    subscriber_ids: Collection[UUID],
    *,
    add: Sequence[str],
    remove: Sequence[str],
    limit: int,
) -> set[UUID]:
    """Safe to repeat. Returns those who have all of ``add`` now: a subscriber with more than ``limit`` tags
    would be refused by every other call, so their tags stay as they are."""
    done, changed, now = set[UUID](), [], clock.now()
    for row in await rows.locked(session, project, among(session, Subscriber.id, subscriber_ids)):
        kept = [tag for tag in row.tags if tag not in remove]
        tags = list(dict.fromkeys([*kept, *add]))
        if len(tags) > max(limit, len(row.tags)):
            continue
        done.add(row.id)
        if tags != row.tags:
            row.tags, row.updated_at = tags, now
            changed.append(row)
    await rows.save(session, changed)
    return done
