"""Background work that the database owns: nothing that was rung for may be lost, or run by two."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from newsletter.kit import clock, jobs, leases, ringing
from newsletter.kit.db import Database, db_in
from newsletter.kit.jobs import Again, Claim, Handler, Job, JobStatus
from newsletter.kit.ringing import RING_AGAIN, RINGS_AGAIN
from tests.conftest import Rings

LEASE = 30.0


async def enqueue(db: Database, name: str = "tests.work", number: int = 1) -> None:
    async with db.unit_of_work() as session:
        await jobs.enqueue_many(session, name, [{"number": each} for each in range(number)])


async def only_job(db: Database) -> Job:
    async with db.read() as session:
        return (await session.scalars(select(Job))).one()


async def change(db: Database, **values: object) -> None:
    """In place of waiting: moves times of all jobs."""
    async with db.unit_of_work() as session:
        await session.execute(update(Job).values(values))


class Work:
    """A handler that counts its runs, and then does as told."""

    def __init__(self, *answers: Again | Exception | None) -> None:
        self.runs = 0
        self._answers = list(answers)

    async def __call__(self, payload: Mapping[str, Any]) -> Again | None:
        self.runs += 1
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


async def run(db: Database, work: Work, *, max_errors: int = 9) -> None:
    job = await only_job(db)
    await jobs.run(db, job.id, {job.name: Handler(work, max_errors)}, LEASE)


async def test_a_ring_that_got_lost_is_repeated(db: Database, rings: Rings) -> None:
    await enqueue(db)
    assert len(rings) == 1, "rung with the commit"
    assert await ringing.ring_due(db, rings) == 0
    await change(db, rung_at=db_in(-RING_AGAIN - 1))
    assert await ringing.ring_due(db, rings) == 1
    assert await ringing.ring_due(db, rings) == 0
    assert [ring.queue for ring in rings] == ["tests", "tests"]


async def test_a_job_of_a_dead_process_is_rung_at_once_and_then_in_peace(db: Database, rings: Rings) -> None:
    await enqueue(db)
    job = await only_job(db)
    assert await jobs._claim(db, job.id, LEASE) is not None
    assert await ringing.ring_due(db, rings) == 0, "its owner may live"
    await change(db, lease_until=db_in(-1))
    assert await ringing.ring_due(db, rings) == 1
    assert await ringing.ring_due(db, rings) == 0
    assert rings[-1].queue == "tests.due", "not behind all that was only now begun"


async def test_what_a_process_that_was_alone_left_is_rung_for_at_its_next_start(
    db: Database, rings: Rings
) -> None:
    await enqueue(db, "tests.rung")
    await enqueue(db, "tests.running")
    await enqueue(db, "tests.dead")
    async with db.unit_of_work() as session:
        for status in (JobStatus.running, JobStatus.dead):
            values = {"status": status, "lease_until": db_in(LEASE)}
            await session.execute(update(Job).where(Job.name == f"tests.{status}").values(values))
    assert await ringing.ring_due(db, rings) == 0
    rings.clear()
    await jobs.free_all(db)
    assert await ringing.ring_due(db, rings) == 2
    assert {ring.name for ring in rings} == {"tests.rung", "tests.running"}


async def test_a_crash_between_the_effect_and_its_record_runs_the_job_again(db: Database) -> None:
    await enqueue(db)
    job = await only_job(db)
    dead = await jobs._claim(db, job.id, LEASE)
    assert dead is not None
    work = Work()
    await run(db, work)
    assert work.runs == 0
    await change(db, lease_until=db_in(-1))
    await run(db, work)
    assert work.runs == 1
    await jobs._done(db, dead, Again(0))
    async with db.read() as session:
        assert (await session.scalars(select(Job))).all() == [], "the first owner changes nothing any more"


async def test_a_busy_queue_is_not_rung_full(db: Database, rings: Rings) -> None:
    await enqueue(db, "tests.many", 3 * RINGS_AGAIN)
    await enqueue(db, "tests.few", 2)
    await change(db, rung_at=db_in(-RING_AGAIN - 1))
    rings.clear()
    for _ in range(3):
        await ringing.ring_due(db, rings)
    assert len(rings) == RINGS_AGAIN + 2, "one kind never hides another"


async def test_rings_that_were_all_lost_are_made_up_for_as_jobs_are_taken(db: Database, rings: Rings) -> None:
    await enqueue(db, number=3 * RINGS_AGAIN)
    await change(db, rung_at=db_in(-RING_AGAIN - 1))
    rings.clear()
    handlers = {"tests.work": Handler(Work())}
    for _ in range(3):
        assert await ringing.ring_due(db, rings) == RINGS_AGAIN
        for ring in rings:
            await jobs.run(db, ring.job_id, handlers, LEASE)
        rings.clear()
    async with db.read() as session:
        assert (await session.scalars(select(Job))).all() == []


async def test_a_job_that_comes_again_is_rung_when_it_is_due(db: Database, rings: Rings) -> None:
    await enqueue(db)
    rings.clear()
    work = Work(Again(0), Again(60))
    await run(db, work)
    assert await ringing.ring_due(db, rings) == 1
    await run(db, work)
    assert await ringing.ring_due(db, rings) == 0
    await run(db, work)
    assert work.runs == 2, "not before its time"
    await change(db, run_at=db_in(-1))
    assert await ringing.ring_due(db, rings) == 1
    assert {ring.queue for ring in rings} == {"tests.due"}


async def test_a_time_in_the_past_is_due_now(db: Database, rings: Rings) -> None:
    async with db.unit_of_work() as session:
        await jobs.enqueue(session, "tests.work", {}, run_at=clock.now() - timedelta(days=1))
    assert await ringing.ring_due(db, rings) == 1
    work = Work()
    await run(db, work)
    assert work.runs == 1


async def test_errors_are_retried_by_the_schedule_until_the_job_is_dead(db: Database, rings: Rings) -> None:
    await enqueue(db)
    work = Work(*[RuntimeError("broken")] * 3)
    for _ in range(3):
        await change(db, run_at=db_in(-1))
        await run(db, work, max_errors=2)
    job = await only_job(db)
    assert (work.runs, job.status, job.error) == (3, JobStatus.dead, "RuntimeError: broken")
    assert await ringing.ring_due(db, rings) == 0


async def test_a_handler_whose_job_went_to_another_is_cancelled(db: Database) -> None:
    await enqueue(db)
    job = await only_job(db)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(payload: Mapping[str, Any]) -> None:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    running = asyncio.create_task(jobs.run(db, job.id, {job.name: Handler(work)}, lease=0.3))
    await begun.wait()
    await change(db, token=99, lease_until=db_in(60))
    await asyncio.wait_for(running, 10)
    assert ended.is_set()
    assert (await only_job(db)).token == 99


async def test_a_claim_that_meets_a_dead_connection_is_made_on_another(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enqueue(db)
    rows, tries = jobs._CLAIM.rows, 0

    async def broken_once(db: Database, **values: object) -> Sequence[Sequence[Any]]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionResetError
        return await rows(db, **values)

    monkeypatch.setattr(jobs._CLAIM, "rows", broken_once)
    work = Work()
    await run(db, work)
    assert (work.runs, tries) == (1, 2)


async def test_a_handler_with_a_lease_of_its_own_outlives_its_job(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enqueue(db)
    job = await only_job(db)
    begun, refused, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    renew = jobs._renew

    async def noted(db: Database, job: Claim, lease: float) -> bool:
        is_ours = await renew(db, job, lease)
        if not is_ours:
            refused.set()
        return is_ours

    async def work(payload: Mapping[str, Any]) -> None:
        begun.set()
        await refused.wait()
        ended.set()

    monkeypatch.setattr(jobs, "_renew", noted)
    handlers = {job.name: Handler(work, has_own_lease=True)}
    running = asyncio.create_task(jobs.run(db, job.id, handlers, lease=0.3))
    await begun.wait()
    await change(db, token=99, lease_until=db_in(60))
    await asyncio.wait_for(running, 60)
    assert ended.is_set()
    assert (await only_job(db)).token == 99, "it is its new owner's to end"


async def test_a_renewal_that_fails_is_tried_again_soon() -> None:
    tries = 0

    async def renew() -> bool:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionRefusedError
        return True

    async with leases.keep_alive(0.05, renew):
        async with asyncio.timeout(60):
            while tries < 4:
                await asyncio.sleep(0.01)


async def test_a_job_that_is_rung_for_five_times_runs_once(db: Database) -> None:
    await enqueue(db)
    job = await only_job(db)
    work = Work()
    handlers = {job.name: Handler(work)}
    await asyncio.gather(*(jobs.run(db, job.id, handlers, LEASE) for _ in range(5)))
    assert work.runs == 1
