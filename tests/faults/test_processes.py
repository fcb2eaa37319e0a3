"""Processes end in the middle of a send: killed, asked to end, or frozen beyond their lease."""

import asyncio
import time
from collections import Counter

import pytest

from newsletter.delivery.models import Outcome
from tests.conftest import SIZE
from tests.faults.campaign import wait_for
from tests.faults.conftest import CONNECTIONS, LEASE, PATIENCE, ROWS, TWO_BLOCKS, World

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(int(300 + 2 * PATIENCE)),
    pytest.mark.skipif(SIZE != "distributed", reason="needs the distributed size (Postgres and Redis)"),
]


async def test_a_worker_is_killed_in_the_middle_of_a_send(world: World) -> None:
    api, [victim, _] = await world.start(workers=2)
    campaign = world.campaign(ROWS)
    await campaign.start(api.url)
    await campaign.received(ROWS // 5)
    victim.kill()
    campaign.recoveries.append(await wait_for(campaign.has_unknown, 45, "another worker takes over"))
    verdict = await campaign.end(PATIENCE)
    assert verdict.sent + verdict.unknown == ROWS
    assert verdict.unknown <= TWO_BLOCKS


async def test_three_workers_share_a_campaign_and_no_recipient(world: World) -> None:
    # More batches than two workers have in hand at once, or nothing would be left for a third.
    world.set(delivery_batch_size=100)
    api, _ = await world.start()
    world.sink.faults.delay = 0.01
    campaign = world.campaign(ROWS)
    campaign.times = 0
    for number in (1, 2, 3):
        await world.add_worker(smtp_local_hostname=f"worker{number}.test")
    await campaign.start(api.url)
    verdict = await campaign.end(PATIENCE)
    assert (verdict.sent, verdict.unknown) == (ROWS, 0)
    shares = Counter(mail.client for mail in world.sink.mails)
    assert sum(shares.values()) == ROWS
    assert shares.keys() == {"worker1.test", "worker2.test", "worker3.test"}


async def test_the_api_is_killed_in_the_middle_of_a_send(world: World) -> None:
    api, _ = await world.start(workers=2)
    campaign = world.campaign(ROWS)
    await campaign.start(api.url)
    await campaign.received(ROWS // 5)
    api.kill()
    verdict = await campaign.end(PATIENCE)
    assert (verdict.sent, verdict.unknown) == (ROWS, 0)
    api.start()
    async with campaign.http(api.url) as client:
        shown = (await client.get(f"/campaigns/{campaign.id}")).json()["data"]
        usage = (await client.get("/account/usage")).json()["data"]
    assert (shown["status"], shown["emails_sent"], shown["emails_unknown"]) == ("sent", ROWS, 0)
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (ROWS, 0)


async def test_a_worker_that_is_asked_to_end_leaves_nothing_unknown(world: World) -> None:
    api, [first, second] = await world.start(workers=2)
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    await campaign.received(300)
    status, seconds = first.terminate()
    assert status == 0
    assert seconds < 10
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown) == (2_000, 0)
    assert second.is_running


async def test_an_api_that_is_asked_to_end_does_so(world: World) -> None:
    api, _ = await world.start(workers=1)
    campaign = world.campaign(300)
    await campaign.start(api.url)
    status, seconds = api.terminate()
    assert status == 0
    assert seconds < 10
    assert (await campaign.end()).sent == 300


async def test_a_worker_is_frozen_for_three_leases_and_sends_nothing_more(world: World) -> None:
    api, [sleeper] = await world.start(workers=1)
    campaign = world.campaign(2_000)
    world.sink.faults.delay = 0.01
    await campaign.start(api.url)
    await campaign.received(200)
    sleeper.freeze()
    frozen_at = time.monotonic()
    await world.add_worker()
    campaign.recoveries.append(await wait_for(campaign.has_unknown, 30, "another takes the batch"))
    unknown = {
        address for address, outcome in (await campaign.outcomes()).items() if outcome is Outcome.unknown
    }
    taken = world.sink.copies()
    await asyncio.sleep(max(0.0, frozen_at + 3 * LEASE - time.monotonic()))
    sleeper.thaw()
    verdict = await campaign.end()
    late = {address for address in world.sink.copies() if address in unknown and address not in taken}
    assert len(late) <= CONNECTIONS
    assert verdict.sent + verdict.unknown == 2_000
    assert verdict.unknown <= TWO_BLOCKS
