"""The sending server is down, busy, or loses connections at the worst moments; in both sizes."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from newsletter.delivery.models import Outcome
from tests.faults.campaign import wait_for
from tests.faults.conftest import CONNECTIONS, TWO_BLOCKS, World
from tests.faults.sink import Chosen, nobody

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

AT_ONCE = "[0, 0, 0, 0]"
"""Retries without a wait, in place of minutes."""


def every(number: int, times: int | None = None) -> Chosen:
    """Readers 7, 7 + number, 7 + 2 · number …: always, or each the first few times."""
    met: Counter[str] = Counter()

    def is_chosen(recipient: str) -> bool:
        met[recipient] += 1
        index = int(recipient.partition("@")[0].removeprefix("reader"))
        return index % number == 7 and (times is None or met[recipient] <= times)

    return is_chosen


async def test_a_sending_server_that_is_down_at_launch_gets_the_mail_when_it_is_back(world: World) -> None:
    world.sink.stop()
    world.set(delivery_outage_seconds="[0.5, 1, 2]")
    api, [worker] = await world.start(workers=1)
    campaign = world.campaign(300)
    await campaign.start(api.url)
    await wait_for(lambda: "a sending server is left alone" in worker.new_log(), 30, "the worker notices")
    assert set((await campaign.outcomes()).values()) <= {Outcome.pending, Outcome.sending}
    world.sink.start()
    await campaign.goes_on()
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown, verdict.failed) == (300, 0, 0)


async def test_a_connection_lost_after_the_final_dot_is_unknown_and_not_sent_again(world: World) -> None:
    world.sink.faults.cut_after_the_dot = every(100)
    api, _ = await world.start(workers=1)
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    verdict = await campaign.end()
    assert len(world.sink.dropped) == 20
    assert (verdict.sent, verdict.unknown) == (1_980, 20)
    outcomes = await campaign.outcomes()
    assert {outcomes[recipient] for recipient in world.sink.dropped} == {Outcome.unknown}


async def test_a_connection_lost_before_the_final_dot_costs_a_retry(world: World) -> None:
    world.set(delivery_retry_minutes=AT_ONCE)
    world.sink.faults.cut_before_the_dot = every(20, times=2)
    api, _ = await world.start(workers=1)
    campaign = world.campaign(300)
    await campaign.start(api.url)
    verdict = await campaign.end()
    assert len(world.sink.dropped) == 2 * 15
    assert (verdict.sent, verdict.unknown, verdict.failed) == (300, 0, 0)


async def test_a_storm_of_421_passes(world: World) -> None:
    world.set(delivery_retry_minutes=AT_ONCE)
    world.sink.faults.busy = every(10, times=3)
    world.sink.faults.refuse = every(100)
    api, _ = await world.start(workers=1)
    campaign = world.campaign(1_000)
    await campaign.start(api.url)
    verdict = await campaign.end()
    assert len(world.sink.dropped) == 3 * 100
    assert (verdict.sent, verdict.unknown, verdict.failed) == (990, 0, 10)


async def test_a_storm_of_temporary_refusals_passes(world: World) -> None:
    """Greylisted before the message, and told of a full mailbox after it."""
    world.set(delivery_retry_minutes=AT_ONCE)
    world.sink.faults.greylist = every(20, times=2)
    world.sink.faults.full = every(10, times=1)
    api, _ = await world.start(workers=1)
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    verdict = await campaign.end()
    assert len(world.sink.dropped) == 2 * 100 + 200
    assert (verdict.sent, verdict.unknown, verdict.failed) == (2_000, 0, 0)


async def test_a_server_that_takes_the_mail_and_never_answers_leaves_it_unknown(world: World) -> None:
    world.set(smtp_final_timeout=1)
    world.sink.faults.hang = every(200)
    api, _ = await world.start(workers=1)
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown, verdict.failed) == (1_990, 10, 0)


async def test_a_server_that_accepts_and_never_greets_is_away(world: World) -> None:
    world.set(smtp_command_timeout=1, delivery_outage_seconds="[0.5, 1, 2]")
    world.sink.faults.is_silent = True
    api, [worker] = await world.start(workers=1)
    campaign = world.campaign(300)
    await campaign.start(api.url)
    await wait_for(lambda: "a sending server is left alone" in worker.new_log(), 30, "the worker notices")
    world.sink.faults.is_silent = False
    await campaign.goes_on()
    verdict = await campaign.end()
    assert (verdict.sent, verdict.unknown, verdict.failed) == (300, 0, 0)


async def test_a_process_ends_in_time_though_the_sending_server_hangs(world: World) -> None:
    world.sink.faults.hang = every(20)
    api, [worker] = await world.start(workers=1)
    campaign = world.campaign(300)
    await campaign.start(api.url)
    await campaign.received(8)
    # All connections hang before long; then nothing moves.
    await wait_for(_is_quiet(world), 30, "every connection hangs")
    status, seconds = worker.terminate()
    assert status == 0
    assert seconds < 10
    world.sink.faults.hang = nobody
    worker.start()
    verdict = await campaign.end()
    assert verdict.sent + verdict.unknown == 300
    assert verdict.unknown <= TWO_BLOCKS
    outcomes, taken = await campaign.outcomes(), world.sink.copies()
    in_doubt = [recipient for recipient in taken if outcomes[recipient] is Outcome.unknown]
    assert len(in_doubt) == CONNECTIONS, "what the server had answered is known"


def _is_quiet(world: World) -> Callable[[], Awaitable[bool]]:
    async def is_quiet() -> bool:
        before = len(world.sink.mails)
        await asyncio.sleep(0.5)
        return len(world.sink.mails) == before

    return is_quiet
