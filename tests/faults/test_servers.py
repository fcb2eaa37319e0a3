"""Redis and Postgres go away in the middle of a send, and come back."""

import asyncio
import time

import pytest

from tests.conftest import SIZE
from tests.faults.campaign import wait_for
from tests.faults.conftest import World
from tests.services import Postgres, Redis

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(SIZE != "distributed", reason="needs the distributed size (Postgres and Redis)"),
]

RESUME_SECONDS = 30.0
"""What losing Redis may cost once it is back."""


async def test_redis_is_killed_with_all_its_data_and_comes_back_empty(
    world: World, lossy_redis: Redis
) -> None:
    api, _ = await world.start(workers=2)
    campaign = world.campaign(10_000)
    await campaign.start(api.url)
    await campaign.received(2_000)
    lossy_redis.kill()
    await asyncio.sleep(5)
    before = len(world.sink.mails)
    lossy_redis.start()
    back = time.monotonic()
    await campaign.received(before + 1, RESUME_SECONDS)
    campaign.figures["resumed_after"] = round(time.monotonic() - back, 1)
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown) == (10_000, 0)


async def test_a_campaign_is_launched_sent_and_closed_while_redis_is_away(
    world: World, lossy_redis: Redis
) -> None:
    lossy_redis.kill()
    api, [worker, other] = await world.start(workers=2)
    used = worker.cpu_seconds()
    await asyncio.sleep(4)
    assert worker.cpu_seconds() - used < 2, "a worker without its broker burns the processor"
    campaign = world.campaign(10_000)
    await campaign.start(api.url)
    launched = time.monotonic()
    await campaign.received(1, RESUME_SECONDS)
    campaign.figures["resumed_after"] = round(time.monotonic() - launched, 1)
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown) == (10_000, 0)
    for each in (worker, other):
        status, _ = each.terminate()
        assert status == 0


async def test_postgres_stops_at_once_in_the_middle_of_a_send_and_comes_back(
    world: World, durable_postgres: Postgres
) -> None:
    api, workers = await world.start(workers=2)
    campaign = world.campaign(10_000)
    await campaign.start(api.url)
    await campaign.received(2_000)
    durable_postgres.stop("immediate")
    stopped = len(world.sink.mails)
    await asyncio.sleep(3)
    assert len(world.sink.mails) - stopped <= 4 * 64, "mail was begun with no place to record it"
    async with campaign.http(api.url) as client:
        answer = await client.get(f"/campaigns/{campaign.id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    before = len(world.sink.mails)
    durable_postgres.start()
    back = time.monotonic()
    await campaign.received(before + 1)
    campaign.figures["resumed_after"] = round(time.monotonic() - back, 1)
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown) == (10_000, 0)
    assert all(worker.is_running for worker in workers)


async def test_a_worker_without_its_database_and_broker_still_ends_when_asked(
    world: World, durable_postgres: Postgres, lossy_redis: Redis
) -> None:
    api, [worker] = await world.start(workers=1)
    campaign = world.campaign(2_000)
    world.sink.faults.delay = 0.01
    await campaign.start(api.url)
    await campaign.received(100)
    durable_postgres.stop("immediate")
    lossy_redis.kill()
    await wait_for(lambda: "the database is away" in worker.new_log(), 30, "the worker notices")
    status, seconds = worker.terminate()
    assert status == 0
    assert seconds < 10
    campaign.figures["exit_seconds"] = round(seconds, 1)
    durable_postgres.start()
    lossy_redis.start()
    worker.start()
    verdict = await campaign.end()
    assert verdict.sent + verdict.unknown == 2_000
    assert verdict.unknown <= 128
