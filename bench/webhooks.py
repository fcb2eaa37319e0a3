"""Events on their way to customers' endpoints, against a loop that only posts the same bodies."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from uuid import UUID

import httpx
from sqlalchemy import select

from bench.reports import new_project
from bench.service import process
from bench.table import Goal, Measured, Row, row
from newsletter import migrations
from newsletter.accounts.project import Project
from newsletter.delivery.queries import public_id
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids, jobs
from newsletter.kit import logging as logs
from newsletter.kit.db import JSONObject
from newsletter.kit.jobs import Handler, Job
from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from newsletter.webhooks import service
from newsletter.webhooks.schemas import EndpointCreate
from tests.services import Postgres
from workers.registry import handlers

DELIVERIES = 500
"""Of one round, to all endpoints together."""


def webhook_rows(rounds: int) -> list[Row]:
    return [
        row(
            Goal(
                f"Webhook deliveries to {count} endpoint{'s' * (count > 1)}, from event to books / bare posts"
            ),
            lambda count=count: asyncio.run(_delivered(count, rounds)),  # type: ignore[misc]
        )
        for count in (1, 100)
    ]


async def _delivered(endpoints: int, rounds: int) -> Measured:
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres() as postgres,
        process(["bench.hooks"], dict(os.environ), Path(folder)) as child,
    ):
        assert child.stdout is not None
        url = f"http://127.0.0.1:{int(child.stdout.readline())}/hook"
        settings = Settings(
            data_dir=Path(folder),
            database_url=postgres.create_database("bench"),
            secret_key="k" * 32,
            webhooks=WebhookSettings(allowed_ranges=("127.0.0.0/8",)),
        )
        runtime = Runtime(settings, lambda rings: None)
        logs.configure("warning", "json")
        try:
            await migrations.upgrade(runtime.db.engine)
            project = await new_project(runtime)
            async with runtime.db.unit_of_work() as session:
                for _ in range(endpoints):
                    wanted = EndpointCreate(url=url)
                    await service.create(session, runtime.vault, project, wanted, limit=endpoints)
            ours, bare = [], []
            for _ in range(rounds + 1):
                ours.append(await _ours(runtime, project, DELIVERIES // endpoints))
                bare.append(await _bare(url, settings.webhooks.calls_at_once))
        finally:
            await runtime.aclose()
    # The first round fills caches.
    figures = DELIVERIES / median(ours[1:]), DELIVERIES / median(bare[1:])
    return Measured(f"{figures[0]:,.0f} deliveries/s", f"{figures[1]:,.0f} posts/s", figures[0] / figures[1])


async def _ours(runtime: Runtime, project: Project, count: int) -> float:
    """From the events in the log to the last outcome in the books: fan-out, calls, and their results."""
    async with runtime.db.unit_of_work() as session:
        await events.record_many(
            session, project.id, EventType.message_accepted, [_data() for _ in range(count)]
        )
    made, started = handlers(runtime), time.perf_counter()
    while True:
        waiting = iter(await _waiting(runtime))
        runs = (_run(runtime, waiting, made) for _ in range(runtime.settings.webhooks.threads))
        if not any(await asyncio.gather(*runs)):
            break
    return time.perf_counter() - started


async def _run(runtime: Runtime, waiting: Iterator[UUID], made: Mapping[str, Handler]) -> int:
    """Takes jobs for as long as there are any, as one thread of a worker does; how many it took."""
    count = 0
    for job_id in waiting:
        await jobs.run(runtime.db, job_id, made, lease=30)
        count += 1
    return count


async def _waiting(runtime: Runtime) -> Sequence[UUID]:
    async with runtime.db.read() as session:
        return (await session.scalars(select(Job.id).order_by(Job.id))).all()


async def _bare(url: str, at_once: int) -> float:
    """Bodies of the same size, signed headers and all, over connections that are kept."""
    body, numbers = b"x" * 420, iter(range(DELIVERIES))
    headers = {
        "webhook-id": "evt_" + "0" * 26,
        "webhook-timestamp": "1",
        "webhook-signature": "v1," + "x" * 44,
    }
    async with httpx.AsyncClient(timeout=8, limits=httpx.Limits(max_connections=at_once)) as client:

        async def work() -> None:
            for _ in numbers:
                (await client.post(url, content=body, headers=headers)).raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return time.perf_counter() - started


def _data() -> JSONObject:
    """Of an event of a message of its own."""
    message: JSONObject = {
        "id": public_id(ids.uuid7(), 1),
        "campaign_id": ids.public("cmp", ids.uuid7()),
        "subscriber_id": ids.public("sub", ids.uuid7()),
        "to": "reader@example.org",
        "from": "news@example.com",
        "tags": [],
        "sending_server": None,
        "provider": None,
        "status": "sent",
    }
    return {"message": message}
