"""The event log is kept in months, and for as long as the operator says."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from newsletter.accounts.project import Project
from newsletter.events import parts
from newsletter.events.models import Event
from newsletter.events.parts import Month
from newsletter.kit import clock, ids
from newsletter.kit.db import Database

KEPT = 400


async def happened(db: Database, project: Project, at: datetime) -> UUID:
    """An event of that time; its id begins with it."""
    event_id = UUID(int=ids.first_of(at).int + ids.uuid7().int % (1 << 80))
    async with db.unit_of_work() as session:
        session.add(
            Event(id=event_id, project_id=project.id, type="campaign.sent", data={"a": 1}, created_at=at)
        )
    return event_id


async def part_of(db: Database, event_id: UUID) -> str:
    async with db.read() as session:
        found = await session.execute(
            text("SELECT tableoid::regclass::text FROM events WHERE id = :id"), {"id": event_id}
        )
        return str(found.scalar_one())


async def kept(db: Database) -> set[UUID]:
    async with db.read() as session:
        return set(await session.scalars(select(Event.id)))


@pytest.fixture
async def parted(db: Database) -> Database:
    if db.is_sqlite:
        pytest.skip("SQLite keeps one table")
    return db


def test_a_month_ends_where_the_next_begins() -> None:
    december = Month.of(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))

    assert december.after() == Month(2027, 1)
    assert december.bounds[1] == december.after().bounds[0]
    assert december.after(14).table == "events_202802"


def test_ids_of_a_month_lie_between_its_bounds() -> None:
    before, now = ids.uuid7(), ids.uuid7()
    low, high = Month.of(clock.now()).bounds

    assert low <= before < now < high


async def test_an_event_lies_in_the_part_of_its_month(parted: Database, project: Project) -> None:
    now = clock.now()

    event_id = await happened(parted, project, now)

    assert await part_of(parted, event_id) == Month.of(now).table


async def test_a_late_part_takes_over_what_waited_for_it(parted: Database, project: Project) -> None:
    """No worker ran for months: no event was refused, and each comes into its own month later."""
    far = clock.now() + timedelta(days=300)
    event_id = await happened(parted, project, far)
    assert await part_of(parted, event_id) == "events_default"

    for _ in range(2):
        async with parted.unit_of_work() as session:
            await parts.prepare(session, at=far)

    assert await part_of(parted, event_id) == Month.of(far).table
    async with parted.unit_of_work() as session:
        for number in range(parts.MONTHS_AHEAD + 1):
            await session.execute(text(f"DROP TABLE {Month.of(far).after(number).table}"))


async def test_old_events_go_and_young_ones_stay(db: Database, project: Project) -> None:
    """In a month of its own on Postgres, as it would have been made when that month was young."""
    now = clock.now()
    old = now - timedelta(days=KEPT + 40)
    if not db.is_sqlite:
        async with db.unit_of_work() as session:
            await parts.prepare(session, at=old)
    await happened(db, project, old)
    young = await happened(db, project, now - timedelta(days=KEPT - 1))
    new = await happened(db, project, now)

    for _ in range(2):
        await parts.prune(db, KEPT, at=now)

    assert await kept(db) == {young, new}


async def test_what_never_got_a_month_of_its_own_goes_with_its_month(
    parted: Database, project: Project
) -> None:
    """An API without a worker wrote events for longer than parts were made ahead."""
    now = clock.now()
    old = await happened(parted, project, now - timedelta(days=KEPT + 40))
    young = await happened(parted, project, now - timedelta(days=KEPT - 1))
    assert await part_of(parted, old) == "events_default"

    await parts.prune(parted, KEPT, at=now)

    assert await kept(parted) == {young}


async def test_few_rows_go_at_once(db: Database, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    if not db.is_sqlite:
        pytest.skip("Postgres drops whole months")
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", 2)
    for _ in range(3):
        await happened(db, project, clock.now() - timedelta(days=KEPT + 1))

    await parts.prune(db, KEPT)

    assert len(await kept(db)) == 1


async def test_no_worker_makes_a_month_twice(parted: Database) -> None:
    async with parted.unit_of_work() as session:
        await parts.prepare(session)
        counted = text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
        before = await session.scalar(counted)
    async with parted.unit_of_work() as session:
        await parts.prepare(session)
        assert await session.scalar(counted) == before
        assert await session.scalar(select(func.count()).select_from(Event)) == 0
