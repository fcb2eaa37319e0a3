"""A month's summary of a project with a thousand times the events of another."""

import asyncio
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.reports import new_project
from bench.table import Goal, Measured, Row, row
from newsletter import migrations
from newsletter.accounts.project import Project
from newsletter.analytics import queries
from newsletter.analytics.queries import Days, Part
from newsletter.analytics.schemas import Grouping
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from tests.services import Postgres

FEW = 10_000
DAYS = 30
ROUNDS = 15
_ZONE = ZoneInfo("Europe/Berlin")

# One event after the other over the month, with ids that sort by time as ours do.
_LOG = """
INSERT INTO events (id, project_id, type, data, created_at)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000'
        || lpad(to_hex(n), 12, '0'))::uuid,
    :project, CASE WHEN n % 5 = 0 THEN 'message.clicked' ELSE 'message.opened' END, '{}', at
FROM generate_series(1, :number) AS n,
    LATERAL (SELECT CAST(:start AS timestamptz) + n * CAST(:length AS interval) / :number AS at) AS moment
"""
_SUMS = """
INSERT INTO rollups (project_id, dimension, value, quarter, opens, clicks, sent, failed, suppressed, skipped,
    unknown, delivered, bounced, complained, unsubscribed, unique_opens, machine_opens, unique_clicks,
    machine_clicks)
SELECT project_id, 'total', '', floor(extract(epoch FROM created_at) / 900)::int,
    count(*) FILTER (WHERE type = 'message.opened'), count(*) FILTER (WHERE type = 'message.clicked'),
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
FROM events WHERE project_id = :project GROUP BY 1, 4
"""


def summary_rows(events: int) -> list[Row]:
    what = f"A month's summary by day over {events:,} events / over {FEW:,}, time"
    return [row(Goal(what, 1.5, 1.1, is_limit=True), lambda: asyncio.run(_compared(events)))]


async def _compared(events: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres:
        settings = Settings(
            data_dir=Path(folder), database_url=postgres.create_database("bench"), secret_key="k" * 32
        )
        runtime = Runtime(settings, lambda rings: None)
        try:
            await migrations.upgrade(runtime.db.engine)
            many, few = await new_project(runtime), await new_project(runtime)
            for project, number in ((many, events), (few, FEW)):
                await _fill(runtime, project, number)
            times: dict[Project, list[float]] = {many: [], few: []}
            for _ in range(ROUNDS):
                for project, number in ((many, events), (few, FEW)):
                    times[project].append(await _timed(runtime, project, number))
        finally:
            await runtime.aclose()
    ours, theirs = median(times[many]), median(times[few])
    return Measured(f"{ours * 1000:.1f} ms", f"{theirs * 1000:.1f} ms", ours / theirs)


def _start() -> datetime:
    """The midnight with which the days begin: all of them are over."""
    return datetime.combine(date(2025, 6, 1), datetime.min.time(), _ZONE)


async def _fill(runtime: Runtime, project: Project, number: int) -> None:
    # The last event is before the last midnight.
    given = {
        "project": project.id,
        "number": number,
        "start": _start().astimezone(UTC) - timedelta(seconds=1),
        "length": timedelta(days=DAYS),
    }
    async with runtime.db.unit_of_work() as session:
        await session.execute(text(_LOG), given)
        await session.execute(text(_SUMS), {"project": project.id})
    async with runtime.db.look_up() as connection:
        await connection.execute(text("ANALYZE rollups"))


async def _timed(runtime: Runtime, project: Project, number: int) -> float:
    first = _start().date()
    days = Days(first - timedelta(days=1), first + timedelta(days=DAYS - 1), _ZONE)
    async with runtime.db.read() as session:
        started = time.perf_counter()
        total = await _total(session, project, days)
        taken = time.perf_counter() - started
    assert total == number, (total, number)
    return taken


async def _total(session: AsyncSession, project: Project, days: Days) -> int:
    found = await queries.summary(session, project, days, Grouping.day, Part(), most=1_000)
    return found.total.opens + found.total.clicks
