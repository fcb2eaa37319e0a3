"""Counts what happens, in the transaction in which it happens.

Counts are written as changes (`Tally`), and `fold` adds them to the sums that are read
(`Rollup`). A reader takes both, in one statement, so that what a call has just answered is in
the counts that the next call reads.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit import clock
from newsletter.kit.bulk import plain_table
from newsletter.kit.db import Database, insert
from newsletter.kit.prepared import Prepared
from newsletter.tallies.models import Dimension, Metric, Rollup, Tally
from newsletter.tallies.spans import QUARTER_SECONDS, quarter_of

QUARTER_SQL = f"floor(extract(epoch FROM clock_timestamp()) / {QUARTER_SECONDS})::int"
"""The quarter of this moment, for statements on Postgres."""
AT_ONCE = 2_000
"""Changes that one transaction folds."""
_FIRST = Prepared(lambda _: select(Tally.id).limit(1))
_BY_SERVER = frozenset(Metric) - {Metric.suppressed, Metric.skipped, Metric.unsubscribed}
"""What never reached a server says nothing about one."""


@dataclass(frozen=True, slots=True)
class Count:
    """``number`` more of ``metric`` in the quarter; the mailing is None for what no mail caused."""

    mailing_id: UUID | None
    server_id: UUID | None
    quarter: int
    metric: Metric
    number: int


@dataclass(frozen=True, slots=True)
class About:
    """What the counts of a mailing are added to, beside the project's own."""

    campaign_id: UUID | None
    domain: str | None
    tags: tuple[str, ...] = ()


Abouts = Callable[[AsyncSession, Collection[UUID]], Awaitable[Mapping[UUID, About]]]
"""Tells of mailings what they count for; those of test sends are left out, as they count for nothing."""
Sums = Mapping[tuple[Dimension, str, int], Counter[Metric]]
"""By dimension, value and quarter."""


async def add(session: AsyncSession, project_id: UUID, counts: Iterable[Count]) -> None:
    """Counts in the caller's transaction; what is zero is left out."""
    rows = [
        {
            "project_id": project_id,
            "mailing_id": each.mailing_id,
            "server_id": each.server_id,
            "quarter": each.quarter,
            "metric": each.metric,
            "number": each.number,
        }
        for each in counts
        if each.number
    ]
    if rows:
        connection = await session.connection()
        await connection.execute(insert(session, Tally), rows)


async def add_now(
    session: AsyncSession,
    project_id: UUID,
    mailing_id: UUID,
    server_id: UUID | None,
    numbers: Mapping[Metric, int],
) -> None:
    """Counts what happened to messages of one mailing at this moment."""
    quarter = quarter_of(clock.now())
    counts = [Count(mailing_id, server_id, quarter, metric, number) for metric, number in numbers.items()]
    await add(session, project_id, counts)


def spread(counts: Iterable[tuple[UUID, Count]], abouts: Mapping[UUID, About]) -> dict[UUID, Sums]:
    """What these counts, each with its project, add to which sums."""
    sums: dict[UUID, dict[tuple[Dimension, str, int], Counter[Metric]]] = {}
    for project_id, count in counts:
        mine = sums.setdefault(project_id, {})
        for dimension, value in _places(count, abouts):
            mine.setdefault((dimension, value, count.quarter), Counter())[count.metric] += count.number
    return dict(sums)


def _places(count: Count, abouts: Mapping[UUID, About]) -> list[tuple[Dimension, str]]:
    total = (Dimension.total, "")
    if count.mailing_id is None:
        return [total]
    about = abouts.get(count.mailing_id)
    if about is None:
        return []
    places = [total, *((Dimension.tag, tag) for tag in about.tags)]
    if about.campaign_id is not None:
        places.append((Dimension.campaign, about.campaign_id.hex))
    if about.domain is not None:
        places.append((Dimension.domain, about.domain))
    if count.metric in _BY_SERVER:
        places.append((Dimension.server, count.server_id.hex if count.server_id else ""))
    return places


async def fold(db: Database, abouts: Abouts) -> int:
    """Adds changes to the sums, `AT_ONCE` of them, and returns how many there were.

    A change is deleted in the transaction that adds it, so it counts once however often this runs;
    of two workers each takes what the other has not.
    """
    async with db.read() as session:
        if not await _FIRST.rows(session):
            return 0
    async with db.unit_of_work() as session:
        counts = await _take(session)
        known = await abouts(session, {each.mailing_id for _, each in counts if each.mailing_id})
        await _raise(session, spread(counts, known))
    return len(counts)


async def _take(session: AsyncSession) -> list[tuple[UUID, Count]]:
    oldest = select(Tally.id).order_by(Tally.id).limit(AT_ONCE).with_for_update(skip_locked=True)
    taken = (
        delete(Tally)
        .where(Tally.id.in_(oldest))
        .returning(
            *(Tally.project_id, Tally.mailing_id, Tally.server_id),
            *(Tally.quarter, Tally.metric, Tally.number),
        )
        .execution_options(synchronize_session=False)
    )
    return [(row[0], Count(*row[1:])) for row in await session.execute(taken)]


async def _raise(session: AsyncSession, by_project: Mapping[UUID, Sums]) -> None:
    # In the order of the key: two workers that raise the same sums do not wait in a circle.
    rows: list[dict[str, Any]] = [
        {
            "project_id": project_id,
            "dimension": dimension,
            "value": value,
            "quarter": quarter,
            **{metric.value: numbers[metric] for metric in Metric},
        }
        for project_id, sums in sorted(by_project.items())
        for (dimension, value, quarter), numbers in sorted(sums.items())
    ]
    if rows:
        statement, columns = insert(session, Rollup), plain_table(Rollup).c
        raised = {metric.value: columns[metric] + statement.excluded[metric] for metric in Metric}
        key = ["project_id", "dimension", "value", "quarter"]
        connection = await session.connection()
        await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=raised), rows)
