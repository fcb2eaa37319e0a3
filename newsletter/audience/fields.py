"""Custom fields register themselves: the first value under a name makes the name known."""

from collections.abc import Iterable

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import queries, quota
from newsletter.audience.models import CustomField
from newsletter.kit import clock


async def register(
    session: AsyncSession, project: Project, names: Iterable[str], limit: int
) -> frozenset[str]:
    """Registers new names in this order until the project has ``limit``; returns all known ones."""
    wanted = dict.fromkeys(names)
    known = await queries.custom_field_names(session, project) if wanted else frozenset()
    if known.issuperset(wanted):
        return known
    # Two calls with a new name each must not both take the last place.
    await quota.lock(session, project)
    known = await queries.custom_field_names(session, project)
    new = [name for name in wanted if name not in known][: max(0, limit - len(known))]
    if new:
        now = clock.now()
        rows = [{"project_id": project.id, "name": name, "created_at": now} for name in new]
        await session.execute(insert(CustomField), rows)
    return known.union(new)
