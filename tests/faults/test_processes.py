"""Processes end in the middle of a send: killed, asked to end, or frozen beyond their lease."""


import pytest

from tests.conftest import SIZE
from tests.faults.conftest import TWO_BLOCKS, World

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(SIZE != "distributed", reason="needs the distributed size (Postgres and Redis)"),
]


async def test_a_worker_is_killed_in_the_middle_of_a_send(world: World) -> None:
    api, [victim, _] = await world.start(workers=2)
    campaign = world.campaign(10_000)
    await campaign.start(api.url)
    await campaign.received(2_000)
    victim.kill()
    verdict = await campaign.end(60)
    assert verdict.unknown <= TWO_BLOCKS
    assert verdict.sent + verdict.unknown == 10_000
