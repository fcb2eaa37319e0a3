"""What tests ask about deliveries and the jobs that make them."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from newsletter.kit.db import db_now
from newsletter.kit.jobs import Job, JobStatus
from newsletter.runtime import Runtime
from tests.client import Client

# The waits of the contract, in seconds.
WAITS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


async def only_delivery(client: Client, endpoint: Any) -> Any:
    [listed] = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    return await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries/{listed['id']}")


async def seconds_to_run(runtime: Runtime) -> float:
    """How long the one waiting job has to wait, by the database's clock."""
    async with runtime.db.read() as session:
        [[run_at, now]] = (
            await session.execute(select(Job.run_at, db_now()).where(Job.status == JobStatus.queued))
        ).all()
    wait: timedelta = run_at - now
    return wait.total_seconds()


async def jobs_left(runtime: Runtime) -> int:
    async with runtime.db.read() as session:
        return (await session.execute(select(func.count()).select_from(Job))).scalar_one()
