"""Reads counts: the sums, and what is not folded into them yet, in one statement.

Two statements could see a fold between them, and count what it moved twice or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, String, case, cast, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.tallies.models import Dimension, Metric, Rollup, Tally


async def of_campaigns(
    session: AsyncSession, project_id: UUID, mailings: Mapping[UUID, UUID]
) -> Mapping[UUID, Counter[Metric]]:
    """All that was counted of these campaigns; the values are their mailings."""
    if not mailings:
        return {}
    folded = select(Rollup.value, *_folded()).where(
        Rollup.project_id == project_id,
        Rollup.dimension == Dimension.campaign,
        Rollup.value.in_([campaign_id.hex for campaign_id in mailings]),
    )
    fresh = select(cast(Tally.mailing_id, String), *_fresh()).where(
        Tally.project_id == project_id, Tally.mailing_id.in_(mailings.values())
    )
    both = union_all(folded.group_by(Rollup.value), fresh.group_by(Tally.mailing_id))
    campaigns = {mailing_id: campaign_id for campaign_id, mailing_id in mailings.items()}
    found = {campaign_id: Counter[Metric]() for campaign_id in mailings}
    for text, *numbers in await session.execute(both):
        value = UUID(text)
        found[campaigns.get(value, value)].update(_counter(numbers))
    return found


def _folded() -> list[ColumnElement[Any]]:
    return [func.sum(getattr(Rollup, metric.value)) for metric in Metric]


def _fresh() -> list[ColumnElement[Any]]:
    return [func.sum(case((Tally.metric == metric, Tally.number), else_=0)) for metric in Metric]


def _counter(numbers: Iterable[Any]) -> Counter[Metric]:
    return Counter({metric: int(number) for metric, number in zip(Metric, numbers, strict=True)})
