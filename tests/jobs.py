"""Runs background work inside a test, in the test's own loop or as a process does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import select, update

from newsletter.kit import jobs
from newsletter.kit.broker import Broker, make_broker
from newsletter.kit.db import db_now
from newsletter.kit.jobs import Job, JobStatus
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from newsletter.webhooks.models import Endpoint, WebhookDelivery
from workers.main import Workers
from workers.registry import handlers

MAX_ROUNDS = 1_000


@asynccontextmanager
async def workers(settings: Settings, broker: Broker | None = None) -> AsyncIterator[None]:
    """The background work of a process, on the database of the test. It hears who rings on ``broker``."""
    own = broker or make_broker(settings.broker_url)
    at_work = Workers(settings, own)
    await asyncio.to_thread(at_work.start)
    try:
        yield
    finally:
        await asyncio.to_thread(at_work.stop)
        if broker is None:
            own.close()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what the `workers` do, for a minute at most."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def run_due(runtime: Runtime, *, but: str | None = None) -> list[str]:
    """Runs jobs until none is due, and returns their names in order; those named ``but`` wait."""
    made = handlers(runtime)
    ran: list[str] = []
    for _ in range(MAX_ROUNDS):
        async with runtime.db.read() as session:
            due = select(Job.id, Job.name).where(Job.status == JobStatus.queued, Job.run_at <= db_now())
            due = due.where(Job.name != but) if but else due
            found = (await session.execute(due.order_by(Job.run_at, Job.id).limit(1))).first()
        if found is None:
            return ran
        await jobs.run(runtime.db, found.id, made, lease=30)
        ran.append(found.name)
    raise AssertionError(f"jobs keep coming: {ran[-5:]}")


async def make_due(runtime: Runtime) -> None:
    """Lets waiting jobs, and calls of endpoints, be due now, in place of waiting for their time."""
    scheduled = WebhookDelivery.next_attempt_at.is_not(None)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(WebhookDelivery).where(scheduled).values(next_attempt_at=db_now()))
        await session.execute(update(Endpoint).values(rests_until=None))
        await session.execute(update(Job).where(Job.status == JobStatus.queued).values(run_at=db_now()))


async def waiting(runtime: Runtime, name: str) -> int:
    """How many jobs of this name wait, due or not."""
    async with runtime.db.read() as session:
        mine = select(Job.id).where(Job.name == name, Job.status == JobStatus.queued)
        return len((await session.scalars(mine)).all())
