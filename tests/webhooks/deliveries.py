"""What tests ask about deliveries and the jobs that make them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from newsletter.kit import ids
from newsletter.kit.db import db_now
from newsletter.kit.jobs import Job, JobStatus
from newsletter.runtime import Runtime
from newsletter.webhooks.models import Attempt
from tests.client import Client
from workers.registry import handlers

WAITS = (600, 1200, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds between calls in these tests: none so short that a slow machine reaches it by itself."""


async def only_delivery(client: Client, endpoint: Any) -> Any:
    [listed] = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    return await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries/{listed['id']}")


async def waits_about(runtime: Runtime, seconds: float, *, jitter: float = 0.2) -> bool:
    """Whether the one waiting job waits so long, give or take: at least since the newest call was made, at
    most from now on."""
    async with runtime.db.read() as session:
        [[run_at, now]] = (
            await session.execute(select(Job.run_at, db_now()).where(Job.status == JobStatus.queued))
        ).all()
        called_at = (await session.execute(select(func.max(Attempt.at)))).scalar_one()
    since, left = run_at - called_at, run_at - now
    longest, shortest = timedelta(seconds=seconds * (1 + jitter)), timedelta(seconds=seconds * (1 - jitter))
    # The clock of the process and that of the database may differ in how they round.
    return bool(shortest - timedelta(milliseconds=1) <= since and left <= longest)


async def serve(runtime: Runtime, endpoint: Any, job_id: UUID | None = None) -> None:
    """A turn of the endpoint beside those that have a job, or again that of a job."""
    payload = {"endpoint_id": str(ids.private("whe", endpoint["id"])), "job_id": str(job_id or ids.uuid7())}
    await handlers(runtime)["webhooks.deliver"].run(payload)


async def jobs_left(runtime: Runtime) -> int:
    async with runtime.db.read() as session:
        return (await session.execute(select(func.count()).select_from(Job))).scalar_one()
