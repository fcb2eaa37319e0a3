"""Reads counts: the sums, and what is not folded into them yet, in one statement.

Two statements could see a fold between them, and count what it moved twice or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Uuid,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.prepared import Among, Prepared, Statement
from newsletter.tallies.models import Dimension, Metric, Rollup, Tally
from newsletter.tallies.service import Abouts, Count, spread
from newsletter.tallies.spans import Span, Step, label

Tallied = Mapping[Metric, int]


def _of_campaigns(is_among: Among) -> Statement:
    mine = bindparam("project_id", type_=Uuid())
    folded = select(Rollup.value, *_folded()).where(
        Rollup.project_id == mine,
        Rollup.dimension == Dimension.campaign,
        is_among(Rollup.value, "campaigns"),
    )
    fresh = select(cast(Tally.mailing_id, String), *_fresh()).where(
        Tally.project_id == mine, is_among(Tally.mailing_id, "mailings")
    )
    return union_all(folded.group_by(Rollup.value), fresh.group_by(Tally.mailing_id))


_OF_CAMPAIGNS = Prepared(_of_campaigns)


async def of_campaigns(
    session: AsyncSession, project_id: UUID, mailings: Mapping[UUID, UUID]
) -> Mapping[UUID, Counter[Metric]]:
    """All that was counted of these campaigns; the values are their mailings."""
    if not mailings:
        return {}
    campaigns = {mailing_id: campaign_id for campaign_id, mailing_id in mailings.items()}
    found = {campaign_id: Counter[Metric]() for campaign_id in mailings}
    both = await _OF_CAMPAIGNS.rows(
        session,
        project_id=project_id,
        campaigns=[campaign_id.hex for campaign_id in mailings],
        mailings=list(campaigns),
    )
    for text, *numbers in both:
        value = UUID(text)
        found[campaigns.get(value, value)].update(_counter(numbers))
    return found


async def counted(
    session: AsyncSession,
    project_id: UUID,
    dimension: Dimension,
    parts: Sequence[Span],
    abouts: Abouts,
    *,
    step: Step | None = None,
    value: str | None = None,
) -> Mapping[tuple[str, int], Counter[Metric]]:
    """What was counted in these spans, by value of the dimension and by period (`spans.label`; 0
    where there is no ``step``); of one ``value`` alone, or of all.

    A month of a project is 2,976 rows at most for each value, however much was counted in them.
    """
    folded = [_folded_in(span, step).where(*_mine(project_id, dimension, value)) for span in parts]
    fresh = select(
        *(cast(Tally.mailing_id, String), cast(Tally.server_id, String), Tally.quarter, *_fresh())
    ).where(Tally.project_id == project_id, Tally.quarter.between(parts[0].first, parts[-1].last - 1))
    fresh = fresh.group_by(Tally.mailing_id, Tally.server_id, Tally.quarter)
    rows = (await session.execute(union_all(*folded, fresh))).all()
    found: dict[tuple[str, int], Counter[Metric]] = {}
    counts: list[tuple[UUID, Count]] = []
    for text, server, number, *numbers in rows:
        if server == _FOLDED:
            found.setdefault((text, number), Counter()).update(_counter(numbers))
            continue
        mailing_id, server_id = text and UUID(text), server and UUID(server)
        counts += [
            (project_id, Count(mailing_id, server_id, number, metric, changed))
            for metric, changed in _counter(numbers).items()
            if changed
        ]
    known = await abouts(session, {count.mailing_id for _, count in counts if count.mailing_id})
    for (kind, named, quarter), counter in spread(counts, known).get(project_id, {}).items():
        if kind is dimension and value in (None, named):
            found.setdefault((named, _label(parts, quarter, step)), Counter()).update(counter)
    return found


def was_counted(project_id: ColumnElement[UUID], since: int) -> ColumnElement[bool]:
    """Whether anything was counted of a project from this quarter on, for use inside another statement. What
    is not folded yet is so in seconds."""
    return exists().where(
        Rollup.project_id == project_id, Rollup.dimension == Dimension.total, Rollup.quarter >= since
    )


def summed(many: Iterable[Counter[Metric]]) -> Counter[Metric]:
    total: Counter[Metric] = Counter()
    for each in many:
        total.update(each)
    return total


_FOLDED = "folded"
"""Stands where a change has its server."""


def _folded_in(span: Span, step: Step | None) -> Select[Any]:
    within = Rollup.quarter.between(span.first, span.last - 1)
    period: ColumnElement[int] = literal(0)
    if step is not None:
        local = (Rollup.quarter + span.offset) // step
        period = local if step is Step.day else local * step.value - span.offset
    labelled = select(Rollup.value, literal(_FOLDED), period.label("period"), *_folded()).where(within)
    return labelled.group_by(Rollup.value, *([] if step is None else [period]))


def _mine(project_id: UUID, dimension: Dimension, value: str | None) -> list[ColumnElement[bool]]:
    mine = [Rollup.project_id == project_id, Rollup.dimension == dimension]
    return mine if value is None else [*mine, Rollup.value == value]


def _label(parts: Sequence[Span], quarter: int, step: Step | None) -> int:
    if step is None:
        return 0
    return next(label(span, quarter, step) for span in parts if quarter < span.last)


def _folded() -> list[ColumnElement[Any]]:
    return [func.sum(getattr(Rollup, metric.value)) for metric in Metric]


def _fresh() -> list[ColumnElement[Any]]:
    return [func.sum(case((Tally.metric == metric, Tally.number), else_=0)) for metric in Metric]


def _counter(numbers: Iterable[Any]) -> Counter[Metric]:
    return Counter({metric: int(number) for metric, number in zip(Metric, numbers, strict=True)})
