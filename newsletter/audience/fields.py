"""Custom fields register themselves: the first value under a name makes the name known."""

from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import queries, quota
from newsletter.audience.models import CustomField
from newsletter.kit import bulk, clock


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
    await _add(session, project, new)
    return known.union(new)


async def register_each(
    session: AsyncSession, project: Project, calls: Sequence[Sequence[str]], limit: int
) -> list[list[str]]:
    """Registers the names of each call as a whole: of one with too many, none. Returns, for each
    call, the names that are too many. The caller holds the lock of `quota`.
    """
    if not any(calls):
        return [[] for _ in calls]
    known = set(await queries.custom_field_names(session, project))
    added, over = list[str](), list[list[str]]()
    for names in calls:
        new = [name for name in dict.fromkeys(names) if name not in known]
        over.append(new[max(0, limit - len(known)) :])
        if not over[-1]:
            known.update(new)
            added += new
    await _add(session, project, added)
    return over


async def _add(session: AsyncSession, project: Project, names: Sequence[str]) -> None:
    now = clock.now()
    rows = [{"project_id": project.id, "name": name, "created_at": now} for name in names]
    await bulk.insert_rows(session, CustomField, rows)
