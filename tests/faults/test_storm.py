"""Kill -9, again and again, of whatever comes first: an API, or a worker with its sweeper."""

import asyncio
import os
import random

import pytest

from tests.conftest import SIZE
from tests.faults.conftest import KILLS, PATIENCE, ROWS, TWO_BLOCKS, World
from tests.faults.processes import API, Newsletter
from tests.faults.takeovers import Takeovers

LEASE = float(os.environ.get("NEWSLETTER_FAULTS_LEASE", "4"))
"""Seconds; `make faults` measures with the default of production."""
PAUSE = (0.5, LEASE / 6 + 1)
"""Seconds between two kills, at least and at most."""
WORKERS = 3
SEED = 20261125

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(SIZE != "distributed", reason="needs the distributed size (Postgres and Redis)"),
    pytest.mark.timeout(300 + 60 * KILLS),
]


class Storm:
    """Kills one process after the other and starts it again while the others work."""

    def __init__(self, processes: list[Newsletter], dice: random.Random) -> None:
        self.processes = processes
        self.kills = self.kills_of_workers = 0
        self._dice = dice
        self._starting: dict[Newsletter, asyncio.Task[None]] = {}

    async def strike(self) -> bool:
        """After a pause; True when a worker was hit. Who is still starting is spared, and one worker
        is left: what is measured is how soon it takes over, not how long a start takes."""
        await asyncio.sleep(self._dice.uniform(*PAUSE))
        started = [
            process
            for process in self.processes
            if process not in self._starting or self._starting[process].done()
        ]
        workers = [process for process in started if not isinstance(process, API)]
        if len(workers) < 2:
            started = [process for process in started if process not in workers]
        if not started:
            return False
        victim = self._dice.choice(started)
        victim.kill()
        self.kills += 1
        self._starting[victim] = asyncio.create_task(asyncio.to_thread(victim.start))
        is_worker = not isinstance(victim, API)
        self.kills_of_workers += is_worker
        return is_worker

    async def calm(self) -> None:
        """All processes are up again."""
        await asyncio.gather(*self._starting.values())


async def test_api_workers_and_sweepers_are_killed_at_random(world: World) -> None:
    world.set(delivery_lease=LEASE)
    api, workers = await world.start(WORKERS)
    storm = Storm([api, *workers], random.Random(SEED))
    while storm.kills < KILLS:
        world.sink.mails.clear()
        campaign = world.campaign(ROWS)
        before, before_workers = storm.kills, storm.kills_of_workers
        await campaign.start(api.url)
        async with Takeovers(campaign, LEASE) as seen:
            while storm.kills < KILLS and not await campaign.is_closed():
                if await storm.strike():
                    seen.note_a_kill()
            await storm.calm()
            await campaign.closes(PATIENCE + 3 * LEASE)
        campaign.times, campaign.recoveries = storm.kills - before, seen.seconds
        verdict = await campaign.end()
        assert verdict.sent + verdict.unknown == ROWS, "no healthy message is called poison"
        assert verdict.unknown <= (storm.kills_of_workers - before_workers) * TWO_BLOCKS
