"""Redis and Postgres go away in the middle of a send, and come back."""

import asyncio
import os
import time

import pytest

from tests.conftest import SIZE
from tests.faults.campaign import wait_for
from tests.faults.conftest import LEASE, PATIENCE, ROWS, TWO_BLOCKS, World
from tests.services import Postgres, Redis

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(int(300 + 2 * PATIENCE)),
    pytest.mark.skipif(SIZE != "distributed", reason="needs the distributed size (Postgres and Redis)"),
]

LOSS_SECONDS = 30.0
"""What losing Redis may cost, whether it comes back or not."""
AWAY = float(os.environ.get("NEWSLETTER_FAULTS_AWAY", "5"))
"""Seconds that Redis is away."""
STOPS = int(os.environ.get("NEWSLETTER_FAULTS_STOPS", "2"))
"""How often Postgres is stopped."""


async def test_redis_is_killed_with_all_its_data_stays_away_and_comes_back_empty(
    world: World, lossy_redis: Redis
) -> None:
    api, _ = await world.start(workers=2)
    campaign = world.campaign(ROWS)
    await campaign.start(api.url)
    await campaign.received(ROWS // 5)
    killed = time.monotonic()
    lossy_redis.kill()
    while time.monotonic() < killed + AWAY and not await campaign.is_closed():
        await asyncio.sleep(1)
    lossy_redis.start()
    verdict = await campaign.end(PATIENCE)
    campaign.recoveries.append(world.sink.longest_silence(killed))
    assert (verdict.sent, verdict.unknown) == (ROWS, 0)
    assert campaign.recoveries[-1] <= LOSS_SECONDS


async def test_redis_is_flushed_in_the_middle_of_a_send(world: World, lossy_redis: Redis) -> None:
    api, _ = await world.start(workers=2)
    campaign = world.campaign(ROWS)
    await campaign.start(api.url)
    await campaign.received(ROWS // 5)
    flushed = time.monotonic()
    lossy_redis.flush()
    verdict = await campaign.end(PATIENCE)
    campaign.recoveries.append(world.sink.longest_silence(flushed))
    assert (verdict.sent, verdict.unknown) == (ROWS, 0)
    assert campaign.recoveries[-1] <= LOSS_SECONDS


async def test_a_campaign_is_launched_sent_and_closed_while_redis_is_away(
    world: World, lossy_redis: Redis
) -> None:
    lossy_redis.kill()
    api, workers = await world.start(workers=2)
    used = workers[0].cpu_seconds()
    await asyncio.sleep(4)
    assert workers[0].cpu_seconds() - used < 2, "a worker without its broker burns the processor"
    campaign = world.campaign(ROWS)
    await campaign.start(api.url)
    await campaign.goes_on(LOSS_SECONDS)
    verdict = await campaign.end(PATIENCE)
    assert (verdict.sent, verdict.unknown) == (ROWS, 0)
    for worker in workers:
        status, _ = worker.terminate()
        assert status == 0


async def test_postgres_stops_at_once_again_and_again_and_comes_back(
    world: World, durable_postgres: Postgres
) -> None:
    # No worker dies here, and whoever holds a lease comes back to it: also when all have run out.
    api, workers = await world.start(workers=2)
    campaign = world.campaign(ROWS)
    campaign.times = STOPS
    await campaign.start(api.url)
    for number in range(1, STOPS + 1):
        await campaign.received(ROWS * number // (STOPS + 1))
        durable_postgres.stop("immediate")
        stopped = len(world.sink.mails)
        await asyncio.sleep(LEASE + 1)
        assert len(world.sink.mails) - stopped <= 2 * TWO_BLOCKS, "mail was begun with no place to record it"
        async with campaign.http(api.url) as client:
            answer = await client.get(f"/campaigns/{campaign.id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        durable_postgres.start()
        await campaign.goes_on()
    verdict = await campaign.end(PATIENCE)
    assert (verdict.sent, verdict.unknown) == (ROWS, 0)
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
    durable_postgres.start()
    lossy_redis.start()
    worker.start()
    verdict = await campaign.end()
    assert verdict.sent + verdict.unknown == 2_000
    assert verdict.unknown <= TWO_BLOCKS
