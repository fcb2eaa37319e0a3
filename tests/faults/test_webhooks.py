"""Workers are killed while they call an endpoint: nothing is lost, and each message keeps its order."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy import func, select, update

from newsletter.delivery.queries import public_id
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.jobs import Job
from newsletter.webhooks.models import DeliveryStatus, Endpoint, WebhookDelivery
from tests.conftest import SIZE
from tests.faults.campaign import wait_for
from tests.faults.conftest import KILLS_ASIDE as KILLS
from tests.faults.conftest import World
from tests.faults.processes import Newsletter
from tests.receiver import Receiver

MESSAGES = 60
STORY = (
    EventType.message_accepted,
    EventType.message_delivered,
    EventType.message_opened,
    EventType.message_clicked,
)
"""What happens to each message, in this order."""
TAKEOVER = 45
"""Seconds, many times the lease of these tests, within which another has the turn of a dead worker."""
ANSWERED = 10
"""Calls whose answers a worker has when it is killed."""
MOMENTS = (0.0, 0.4)
"""Seconds from the first call of a story to the end of a worker, at least and at most."""
SEED = 20261127

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300 + 60 * KILLS)]


@dataclass
class Hook:
    """An endpoint, and what happens to the messages that it is told of."""

    world: World
    receiver: Receiver
    worker: Newsletter
    happened: int = 0

    async def happen(self, messages: int) -> None:
        """Records the whole story of so many messages, and has it fanned out at once."""
        async with self.world.db.unit_of_work() as session:
            project_id = (await session.execute(select(Endpoint.project_id))).scalar_one()
            names = [public_id(ids.uuid7(), 1) for _ in range(messages)]
            for kind in STORY:
                data = [{"message": {"id": name, "tags": []}} for name in names]
                await events.record_many(session, project_id, kind, data)
            # No bell rings here: the sweeper does when it sees a job that was never rung for.
            await session.execute(update(Job).values(rung_at=None))
        self.happened += messages * len(STORY)

    async def stand_by(self) -> None:
        """Another worker is there before the first one dies; a single process has none."""
        if SIZE == "distributed":
            await self.world.add_worker()

    async def take_over(self) -> float:
        """Seconds until the endpoint is called again: by the other worker, or by the single process, which is
        started once more."""
        before = len(self.receiver.calls)
        if SIZE == "embedded":
            await asyncio.to_thread(self.worker.start)
        return await self.is_called(before, TAKEOVER)

    async def is_over(self) -> bool:
        async with self.world.db.read() as session:
            over = WebhookDelivery.status == DeliveryStatus.succeeded
            counted = select(func.count()).select_from(WebhookDelivery).where(over)
            return (await session.execute(counted)).scalar_one() == self.happened

    async def is_called(self, since: int, seconds: float = 60) -> float:
        """Seconds until a call comes after so many."""
        return await wait_for(lambda: len(self.receiver.calls) > since, seconds, "the endpoint is called")

    async def end(self) -> None:
        """Waits until the books say that all is told; then what came must agree."""
        await wait_for(self.is_over, 120, "all events are acknowledged")
        bodies: dict[str, set[bytes]] = defaultdict(set)
        stories: dict[str, list[str]] = defaultdict(list)
        for call in self.receiver.calls:
            event = json.loads(call.body)
            assert call.headers["webhook-id"] == event["id"]
            bodies[event["id"]].add(call.body)
            stories[event["data"]["message"]["id"]].append(event["type"])
        assert len(bodies) == self.happened, "each event came"
        assert all(len(same) == 1 for same in bodies.values()), "as the same each time"
        for story in stories.values():
            # One may come again, and nothing after it before it is in the books.
            assert sorted(story, key=STORY.index) == story

    @property
    def repeated(self) -> int:
        return len(self.receiver.calls) - len({call.headers["webhook-id"] for call in self.receiver.calls})


@pytest.fixture
async def hook(world: World) -> AsyncIterator[Hook]:
    world.set(webhook_allowed_ranges='["127.0.0.0/8"]', webhook_timeout=60)
    async with Receiver() as receiver:
        api, [worker] = await world.start(workers=1)
        headers = {"Authorization": f"Bearer {world.seeded.key}"}
        async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", headers=headers, timeout=30) as client:
            made = await client.post("/webhooks", json={"url": receiver.url})
            assert made.status_code == 201, made.text
        yield Hook(world, receiver, worker)


async def test_calls_on_the_wire_of_a_killed_worker_are_made_again(world: World, hook: Hook) -> None:
    hook.receiver.go_on.clear()
    await hook.happen(MESSAGES)
    await hook.is_called(since=0)
    await hook.stand_by()
    hook.worker.kill()
    hook.receiver.go_on.set()
    await hook.take_over()
    await hook.end()
    assert hook.repeated > 0


async def test_calls_answered_and_not_stored_by_a_killed_worker_are_made_again(
    world: World, hook: Hook
) -> None:
    hook.receiver.go_on.clear()
    await hook.happen(MESSAGES)
    await hook.is_called(since=0)
    await hook.stand_by()
    async with world.db.unit_of_work() as session:
        # Nobody can store what the calls say, as each of a turn's transactions begins with this lock.
        await session.execute(select(Endpoint.id).with_for_update())
        hook.receiver.go_on.set()
        await wait_for(lambda: hook.receiver.answered >= ANSWERED, 30, "calls are answered")
        hook.worker.kill()
    await hook.take_over()
    await hook.end()
    assert hook.repeated >= ANSWERED


async def test_an_endpoint_hears_everything_though_workers_are_killed_at_random(
    world: World, hook: Hook
) -> None:
    dice = random.Random(SEED)
    workers = [hook.worker, *([await world.add_worker()] if SIZE == "distributed" else [])]
    for _ in range(KILLS):
        await hook.happen(MESSAGES)
        await hook.is_called(len(hook.receiver.calls))
        await asyncio.sleep(dice.uniform(*MOMENTS))
        victim = dice.choice(workers)
        victim.kill()
        await asyncio.to_thread(victim.start)
    await hook.end()
