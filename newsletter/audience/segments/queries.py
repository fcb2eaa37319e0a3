"""Reads segments, and who is in them."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal, Project
from newsletter.audience import conditions, keeping
from newsletter.audience.conditions import Acts, Condition
from newsletter.audience.models import Segment, Status, Subscriber
from newsletter.kit import anycase, ids
from newsletter.kit.db import Database, db_now
from newsletter.kit.errors import NewsletterError
from newsletter.kit.patience import a_place, at_most
from newsletter.settings import Settings

POOL_PARTS = 2
"""What asks for the people of segments has one of so many parts of a process's connections; the rest is left
to calls that take milliseconds."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Those who met conditions at a moment of the database's clock."""

    total_subscribers: int
    active_subscribers: int
    counted_at: datetime


class SegmentTooSlow(NewsletterError):
    code, status = "segment_too_slow", 503
    summary = (
        "The database takes too long to ask the whole list for these conditions. Use fewer of them, "
        "and fewer such calls at a time."
    )


def bounded(session: AsyncSession, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Raises `SegmentTooSlow` for what takes longer than it may: no index serves conditions."""
    return at_most(session, settings.limits.segment_seconds, SegmentTooSlow())


def place(project: Project, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Around each session that asks who is in a segment, before it has begun: neither one account nor all of
    them together may have all connections with that. Raises `SegmentTooSlow`."""
    limits = settings.limits
    most_of_all = max(1, settings.database_pool // POOL_PARTS)
    too_many = SegmentTooSlow(
        "Other uses of segments keep the database too long. Try again, with fewer at once."
    )
    return a_place(project.account_id, limits.segment_calls, most_of_all, limits.segment_seconds, too_many)


@asynccontextmanager
async def reading(db: Database, project: Project, settings: Settings) -> AsyncIterator[AsyncSession]:
    """A session to read who is in a segment, `bounded` and with a `place`. Raises `SegmentTooSlow`."""
    async with place(project, settings), db.read() as session, bounded(session, settings):
        yield session


async def find(
    session: AsyncSession, project: Project, segment_id: UUID, *, share: bool = False, lock: bool = False
) -> Segment | None:
    """``share`` keeps it from being changed and deleted until the transaction ends; ``lock`` is for who
    does so."""
    statement = select(Segment).where(Segment.project_id == project.id, Segment.id == segment_id)
    if share or lock:
        statement = statement.with_for_update(read=share).execution_options(populate_existing=True)
    return (await session.scalars(statement)).one_or_none()


def listed(principal: Principal, list_id: UUID | None, search: str | None) -> Select[Segment]:
    """The newest first; of a restricted key, those of its lists."""
    statement = select(Segment).where(Segment.project_id == principal.project.id)
    if principal.list_ids:
        statement = statement.where(Segment.list_id.in_(principal.list_ids))
    if list_id is not None:
        statement = statement.where(Segment.list_id == list_id)
    if search:
        statement = statement.where(anycase.contains(Segment.name, search))
    return statement.order_by(Segment.id.desc())


async def count(session: AsyncSession, project: Project) -> int:
    counted = select(func.count()).where(Segment.project_id == project.id)
    return (await session.execute(counted)).scalar_one()


async def asking_for(session: AsyncSession, project: Project, list_id: UUID) -> list[str]:
    """The public ids of the segments of other lists whose conditions ask for this one. A project has few
    segments (`LimitSettings.segments`), so each is read."""
    others = select(Segment).where(Segment.project_id == project.id, Segment.list_id != list_id)
    rows = await session.scalars(others.order_by(Segment.id))
    return [ids.public("seg", row.id) for row in rows if keeping.asks_for(condition_of(row), list_id)]


def condition_of(segment: Segment) -> Condition:
    return Condition.model_validate(segment.conditions)


async def within(
    session: AsyncSession, project: Project, chosen: Select[Subscriber], condition: Condition, acted: Acts
) -> Select[Subscriber]:
    """Those of the chosen who meet the condition."""
    held = conditions.holds(session, project, condition, await acted(session, project, [condition]))
    return chosen.where(held)


async def counted(
    session: AsyncSession, project: Project, list_id: UUID, condition: Condition, acted: Acts
) -> Counted:
    """One statement, which reads all of the list: an index leads to its rows, and each is looked at once."""
    statement = select(func.count(), func.count().filter(Subscriber.status == Status.active), db_now()).where(
        # The project in a form that fits no index, as in `rows.locked`.
        (Subscriber.project_id == project.id).is_(True),
        Subscriber.status.in_(list(Status)),
        Subscriber.list_id == list_id,
        conditions.holds(session, project, condition, await acted(session, project, [condition])),
    )
    return Counted(*(await session.execute(statement)).one())
