"""Processes end in the middle of a send: killed, asked to end, or frozen beyond their lease."""

import os

import pytest

from newsletter.delivery.models import Outcome
from tests.conftest import SIZE
from tests.faults.campaign import wait_for
from tests.faults.conftest import CONNECTIONS, TWO_BLOCKS, World

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(SIZE != "distributed", reason="needs the distributed size (Postgres and Redis)"),
]


KILLS = int(os.environ.get("NEWSLETTER_FAULTS_KILLS", "3"))
"""Up to 20."""


async def test_a_worker_is_killed_in_the_middle_of_a_send(world: World) -> None:
    api, [victim, _] = await world.start(workers=2)
    campaign = world.campaign(10_000)
    await campaign.start(api.url)
    await campaign.received(2_000)
    victim.kill()
    took_over = await wait_for(campaign.has_unknown, 45, "another worker takes over")
    campaign.figures["taken_over_after"] = round(took_over, 1)
    verdict = await campaign.end()
    assert verdict.sent + verdict.unknown == 10_000
    assert verdict.unknown <= TWO_BLOCKS


async def test_the_only_worker_is_killed_again_and_again(world: World) -> None:
    api, [worker] = await world.start(workers=1)
    campaign = world.campaign(2_000 if KILLS <= 3 else 10_000)
    await campaign.start(api.url)
    for number in range(1, KILLS + 1):
        await campaign.received(400 * number)
        worker.kill()
        worker.start()
    campaign.figures["kills"] = KILLS
    verdict = await campaign.end()
    assert verdict.sent + verdict.unknown == verdict.recipients
    assert verdict.unknown <= KILLS * TWO_BLOCKS


async def test_the_api_is_killed_in_the_middle_of_a_send(world: World) -> None:
    api, _ = await world.start(workers=2)
    campaign = world.campaign(10_000)
    await campaign.start(api.url)
    await campaign.received(2_000)
    api.kill()
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown) == (10_000, 0)
    api.start()
    async with campaign.http(api.url) as client:
        shown = (await client.get(f"/campaigns/{campaign.id}")).json()["data"]
        usage = (await client.get("/account/usage")).json()["data"]
    assert (shown["status"], shown["emails_sent"], shown["emails_unknown"]) == ("sent", 10_000, 0)
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (10_000, 0)


async def test_a_worker_that_is_asked_to_end_leaves_nothing_unknown(world: World) -> None:
    api, [first, second] = await world.start(workers=2)
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    await campaign.received(300)
    status, seconds = first.terminate()
    assert status == 0
    assert seconds < 10
    campaign.figures["exit_seconds"] = round(seconds, 1)
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


async def test_a_worker_that_slept_beyond_its_lease_sends_nothing_more(world: World) -> None:
    api, [sleeper] = await world.start(workers=1)
    campaign = world.campaign(2_000)
    world.sink.faults.delay = 0.01
    await campaign.start(api.url)
    await campaign.received(200)
    sleeper.freeze()
    await world.add_worker()
    await wait_for(campaign.has_unknown, 30, "the lease runs out and another takes the batch")
    unknown = {
        address for address, outcome in (await campaign.outcomes()).items() if outcome is Outcome.unknown
    }
    taken = world.sink.copies()
    sleeper.thaw()
    verdict = await campaign.end()
    late = {address for address in world.sink.copies() if address in unknown and address not in taken}
    assert len(late) <= CONNECTIONS
    assert verdict.sent + verdict.unknown == 2_000
    assert verdict.unknown <= TWO_BLOCKS
