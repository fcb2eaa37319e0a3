"""Scores the health of projects: once a day by the sweeper's job, and when somebody asks for it.

Read are the sums alone, never the log, so that a score costs the same after ten mails and ten million.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.analytics import health
from newsletter.analytics.health import Numbers
from newsletter.analytics.models import HealthScore
from newsletter.analytics.queries import Days, Part, by_day
from newsletter.analytics.schemas import Counts
from newsletter.delivery import queries as delivery
from newsletter.domains import queries as domains
from newsletter.kit import clock, jobs
from newsletter.kit.db import Database, insert
from newsletter.settings import Settings
from newsletter.tallies import queries as tallies
from newsletter.tallies.models import Dimension, Metric
from newsletter.tallies.spans import quarter_of

HISTORY_DAYS = 365
"""The longest history that is shown."""
AT_ONCE = 200
"""Projects that one job scores; the next pass of the sweeper sees to the others."""
_RATES = ("bounce_rate", "complaint_rate", "unsubscribe_rate", "open_rate", "click_rate")
_ZONE = ZoneInfo("UTC")


async def calculate(session: AsyncSession, project: Project, settings: Settings) -> HealthScore:
    """Of the last `health.WINDOW_DAYS` days of UTC, today among them; not yet kept."""
    now = clock.now()
    today = now.date()
    window = Days(today - timedelta(days=health.WINDOW_DAYS - 1), today, _ZONE)
    days = await by_day(session, project, window, Part())
    total = tallies.summed(days.values())
    judged = health.judge(
        Numbers(
            total=total,
            sent_by_day=[numbers[Metric.sent] for numbers in days.values()],
            is_live=not project.is_test,
            authenticated=await _authenticated(session, project, window, settings),
        )
    )
    rates = Counts.of(total).model_dump(include={"sent", *_RATES})
    return HealthScore(
        project_id=project.id,
        day=today,
        score=judged.score,
        grade=judged.grade,
        rates=rates,
        insights=[asdict(each) for each in judged.insights],
        calculated_at=now,
    )


async def refresh(session: AsyncSession, project: Project, settings: Settings) -> HealthScore:
    """Calculates today's score and keeps it, in the place of an earlier one of the day."""
    row = await calculate(session, project, settings)
    values = {
        name: getattr(row, name)
        for name in ("project_id", "day", "score", "grade", "rates", "insights", "calculated_at")
    }
    statement = insert(session, HealthScore).values(values)
    await session.execute(statement.on_conflict_do_update(index_elements=["project_id", "day"], set_=values))
    old = HealthScore.day <= row.day - timedelta(days=settings.retention.health_days)
    await session.execute(delete(HealthScore).where(HealthScore.project_id == project.id, old))
    return row


async def newest(session: AsyncSession, project: Project, settings: Settings) -> HealthScore:
    """The newest that is kept; calculated on the spot where there is none yet."""
    mine = select(HealthScore).where(HealthScore.project_id == project.id)
    found = (await session.scalars(mine.order_by(HealthScore.day.desc()).limit(1))).one_or_none()
    return found or await calculate(session, project, settings)


async def history(session: AsyncSession, project: Project, days: int) -> Sequence[HealthScore]:
    """The days that have a score among the last ``days``, today among them, oldest first."""
    first = clock.now().date() - timedelta(days=days - 1)
    mine = select(HealthScore).where(HealthScore.project_id == project.id, HealthScore.day >= first)
    return (await session.scalars(mine.order_by(HealthScore.day))).all()


async def enqueue_due(db: Database) -> None:
    """A job, where any project that sent in the window has no score of today. Safe to repeat."""
    async with db.read() as session:
        if not await _due(session, clock.now().date(), 1):
            return
    async with db.unit_of_work() as session:
        await jobs.enqueue(session, "analytics.score_health", {}, key="analytics.score_health")


async def score_due(db: Database, settings: Settings) -> None:
    """Scores up to `AT_ONCE` of them, each in a transaction of its own; a second run finds others."""
    async with db.read() as session:
        due = await _due(session, clock.now().date(), AT_ONCE)
    for project_id in due:
        async with db.unit_of_work() as session:
            project = await accounts.project_by_id(session, project_id)
            if project is not None:
                await refresh(session, project, settings)


async def _due(session: AsyncSession, today: date, limit: int) -> Sequence[UUID]:
    since = quarter_of(clock.now() - timedelta(days=health.WINDOW_DAYS))

    def is_not_scored(project_id: ColumnElement[UUID]) -> ColumnElement[bool]:
        return ~exists().where(HealthScore.project_id == project_id, HealthScore.day == today)

    return await accounts.ids_where(
        session, is_not_scored, lambda project_id: tallies.was_counted(project_id, since), limit=limit
    )


async def _authenticated(
    session: AsyncSession, project: Project, window: Days, settings: Settings
) -> float | None:
    counted = await tallies.counted(session, project.id, Dimension.domain, window.spans, delivery.abouts)
    sent = {name: numbers[Metric.sent] for (name, _), numbers in counted.items() if numbers[Metric.sent] > 0}
    if not sent:
        return None
    proofs = await domains.proofs(session, project, settings)
    proven = 0.0
    for name, number in sent.items():
        proof = proofs.get(name)
        if proof is not None and proof.is_verified:
            proven += number * (1.0 if proof.has_dmarc else 0.75)
    return proven / sum(sent.values())
