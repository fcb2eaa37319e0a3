"""The clock of a worker jumps: leases, schedules and deadlines are the database's."""

import os
import signal
from datetime import timedelta

import pytest

from tests.conftest import SIZE
from tests.faults.conftest import PATIENCE, World

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(300),
    pytest.mark.skipif(SIZE != "distributed", reason="needs a database with a clock of its own"),
]


@pytest.mark.parametrize("step", [timedelta(days=2), timedelta(days=-1), timedelta(hours=1)], ids=str)
async def test_the_clock_of_a_worker_jumps_in_the_middle_of_a_send(world: World, step: timedelta) -> None:
    world.set(delivery_batch_size=50)
    world.sink.faults.delay = 0.005
    api, _ = await world.start(workers=1)
    dreamer = await world.add_worker(
        "tests.faults.dreamer", smtp_local_hostname="dreamer.test", dreamer_step=step.total_seconds()
    )
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    await campaign.received(300)
    os.kill(dreamer.pid, signal.SIGUSR1)
    jumped = len(world.sink.mails)
    verdict = await campaign.end(PATIENCE)
    assert (verdict.sent, verdict.unknown, verdict.failed) == (2_000, 0, 0)
    assert "dreamer.test" in {mail.client for mail in world.sink.mails[jumped:]}
