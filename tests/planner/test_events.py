"""Steps of opens, clicks and calls of webhooks; `tests.planner.world` says what is asked of them."""

import time
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import text

from newsletter.accounts.project import Project
from newsletter.delivery.links import MessageRef
from newsletter.feedback import engagement
from newsletter.feedback.classing import Request
from newsletter.feedback.engagement import Entry
from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from newsletter.webhooks import delivering, fanning, queries, service
from newsletter.webhooks.calls import Call
from newsletter.webhooks.schemas import EndpointCreate
from newsletter.webhooks.silence import Silence
from tests.planner.world import FEW, KEYS, Step, Watched, World, read_too_much

TIMES = 5
"""Events of one recipient in the history. Of 4,000 rows all are read as soon as sixteen are looked up."""


class EventWorld(World):
    """With a history: opens of other messages, which an endpoint was told of."""

    def __init__(self, runtime: Runtime, project: Project) -> None:
        super().__init__(runtime, project)
        self.endpoint_id = UUID(int=0)
        self.newest: list[UUID] = []
        """Events of the step before."""

    async def grow(self, count: int) -> None:
        await super().grow(count)
        async with self.db.unit_of_work() as session:
            if not self.endpoint_id.int:
                new = EndpointCreate(url="https://hooks.example.com/in")
                await service.create(session, self.runtime.vault, self.project, new, limit=1)
                self.endpoint_id = (await queries.active(session, self.project.id))[0].id
            values = {
                "project": self.project.id,
                "mailing": self.mailing_id,
                "endpoint": self.endpoint_id,
                "lot": f"msg_{self.lists}x",
                "head": str(ids.uuid7())[:24],
                "count": TIMES * count,
            }
            for statement in (_OPENS, _DELIVERIES, _ATTEMPTS, _ENGAGEMENT):
                await session.execute(text(statement), values)


_OPENS = """
INSERT INTO events (id, project_id, type, data, created_at, message_id, mailing_id)
SELECT CAST(:head || lpad(to_hex(n), 12, '0') AS uuid), :project, 'message.opened', '{}', now(), :lot || n,
    :mailing
FROM generate_series(1, :count) AS n
"""
_DELIVERIES = """
INSERT INTO webhook_deliveries (id, project_id, endpoint_id, event_id, event_type, message_id, status,
    attempt_count, attempts_before_replay, created_at, finished_at)
SELECT gen_random_uuid(), project_id, :endpoint, id, type, message_id, 'succeeded', 1, 0, now(), now()
FROM events WHERE message_id LIKE :lot || '%'
"""
_ATTEMPTS = """
INSERT INTO webhook_attempts (delivery_id, number, status_code, elapsed_ms, at)
SELECT id, 1, 200, 5, now() FROM webhook_deliveries WHERE message_id LIKE :lot || '%'
"""
_ENGAGEMENT = """
INSERT INTO message_engagement (mailing_id, seq, opens, machine_opens, clicks, machine_clicks)
SELECT mailing_id, seq, 1, 0, 0, 0 FROM messages WHERE mailing_id = :mailing
"""


async def reading(world: EventWorld) -> None:
    """Opens and clicks of several mailings, in one block."""
    request, now = Request("GET", "Mozilla/5.0", None, None), time.time()
    mailings = [*world.mailings, world.mailing_id]
    refs = [MessageRef(mailings[place % len(mailings)], 1 + place % FEW, None) for place in range(KEYS)]
    entries = [
        Entry(ids.uuid7(), now, ref, "https://shop.example.org/" if is_click else None, request)
        for ref in refs
        for is_click in (False, True)
    ]
    world.newest = [each.id for each in entries]
    async with world.db.unit_of_work() as session:
        await engagement.record(session, entries, too_soon=0)


async def calling(world: EventWorld) -> None:
    """A turn of the endpoint, with what was read before it."""
    await fanning.fan_out(world.db, world.newest, 1)
    egress = cast(Any, None)  # No call is made: its end is written here.
    tools = delivering.Tools(
        world.db, egress, world.runtime.vault, WebhookSettings(), Silence(lambda _: None, 1, 1)
    )
    turn = delivering._Delivering(tools, world.endpoint_id, uuid4())
    made = 0
    while await turn._record():
        made += len(turn._waiting)
        turn._ended += [each.ended(Call(datetime.now(UTC), 5, 200)) for each in turn._waiting]
        turn._waiting.clear()
    assert made == len(world.newest)


STEPS: tuple[Step, ...] = (reading, calling)


async def test_a_step_of_events_reads_its_own_rows_whatever_the_statistics_say(
    watched: Watched, settings: Settings
) -> None:
    wrong = await read_too_much(watched, settings, EventWorld, STEPS)
    assert not wrong, "\n".join(wrong)
