"""Rings for jobs whose ring is still to come or was lost: the sweeper's half of `kit.jobs`.

However many wait, a look reads the first few of each name. It comes twice a second in every process, and a
backlog must not become slower to work off as it grows.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import chain, zip_longest
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    String,
    bindparam,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit import prepared
from newsletter.kit.db import Database, db_in, db_now
from newsletter.kit.jobs import ABANDONED, DUE, Bell, Job, JobStatus, Ring
from newsletter.kit.planning import plan_anew

RING_AGAIN: Final = 15.0
"""Seconds after which a rung job that nobody took is rung again."""
RINGS_AGAIN: Final = 100
"""Jobs of one kind that are rung again at most: more would only pile up in a broker whose workers
are busy, and where rings were lost, each job that is taken makes room for the next."""


def _is(status: JobStatus) -> ColumnElement[bool]:
    """Spelled out: an index of a part of the rows serves no plan that is for every status."""
    return Job.status == literal_column(f"'{status.value}'")


_UNRUNG = _is(JobStatus.queued) & Job.rung_at.is_(None)
_RUNG = _is(JobStatus.queued) & Job.rung_at.is_not(None)
_WAS_LOST = Job.rung_at < db_in(-RING_AGAIN)
_NAMED = (Job.name == bindparam("name", type_=String)) & (Job.run_at <= db_now())
_LIMIT = bindparam("limit", type_=Integer)


def _names_of(waiting: ColumnElement[bool], called: str) -> CTE:
    """Each name once, by one step in an index from one to the next. What has no parameter is never planned
    anew, so the name to begin behind is one."""
    begun = waiting & (Job.name > bindparam("behind", type_=String))
    first = select(func.min(Job.name).label("name")).where(begun).cte(called, recursive=True)
    after = select(func.min(Job.name)).where(waiting, Job.name > first.c.name).scalar_subquery()
    return first.union_all(select(after).where(first.c.name.is_not(None)))


def _names(_: prepared.Among) -> prepared.Statement:
    unrung, rung = _names_of(_UNRUNG, "unrung"), _names_of(_RUNG, "rung")
    new = select(unrung.c.name, true()).where(unrung.c.name.is_not(None))
    return new.union_all(select(rung.c.name, false()).where(rung.c.name.is_not(None)))


def _new(_: prepared.Among) -> prepared.Statement:
    waiting = select(Job.id, true()).where(_UNRUNG, _NAMED)
    return waiting.order_by(Job.run_at, Job.id).limit(_LIMIT)


def _lost(_: prepared.Among) -> prepared.Statement:
    rung = select(Job.id, Job.rung_at).where(_RUNG, _NAMED)
    first = rung.order_by(Job.run_at, Job.id).limit(RINGS_AGAIN).subquery()
    return select(first.c.id, false()).where(first.c.rung_at < db_in(-RING_AGAIN))


def _abandoned(_: prepared.Among) -> prepared.Statement:
    is_silent = or_(Job.rung_at.is_(None), _WAS_LOST)
    left = select(Job.id, Job.rung_at.is_(None)).where(_is(JobStatus.running), ABANDONED, is_silent)
    return left.limit(_LIMIT)


_NAMES = prepared.Prepared(_names)
_FIRST = {True: prepared.Prepared(_new), False: prepared.Prepared(_lost)}
_ABANDONED = prepared.Prepared(_abandoned)


async def ring_due(db: Database, bell: Bell, limit: int = 500) -> int:
    """Rings for jobs that are due and were not rung lately, and for abandoned ones.

    Returns how many it rang for. Two sweepers at once do no harm: a job is claimed once.
    """
    async with _looking(db) as session:
        by_kind = [await _ABANDONED.rows(session, limit=limit)]
        for name, is_new in await _NAMES.rows(session, behind=""):
            by_kind.append(await _FIRST[bool(is_new)].rows(session, name=name, limit=limit))
    found = dict(_in_turn(by_kind)[:limit])
    if not found:
        return 0
    async with db.unit_of_work() as session:
        still = select(Job.id).where(
            Job.id.in_(found), or_(DUE, ABANDONED), or_(Job.rung_at.is_(None), _WAS_LOST)
        )
        statement = (
            update(Job)
            .where(Job.id.in_(still.with_for_update(skip_locked=True).scalar_subquery()))
            .values(rung_at=db_now())
            .returning(Job.id, Job.name)
        )
        rings = [Ring(row.id, row.name, found[row.id]) for row in await session.execute(statement)]
    bell(rings)
    return len(rings)


@asynccontextmanager
async def _looking(db: Database) -> AsyncIterator[AsyncSession]:
    """On SQLite without the lock of those who write: most passes find nothing. On PostgreSQL with plans for
    the table as it is: it is small, and a minute later there is a backlog."""
    if db.direct is None:
        async with db.read() as session:
            yield session
        return
    async with db.unit_of_work() as session:
        await plan_anew(session)
        yield session


def _in_turn(by_kind: Iterable[Iterable[Any]]) -> list[tuple[UUID, bool]]:
    """The first of each kind, then the second of each: many of one kind do not keep another waiting."""
    rows = chain.from_iterable(zip_longest(*by_kind))
    return [(row[0], bool(row[1])) for row in rows if row is not None]
