"""Events of one message arrive in their order; other messages do not wait."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from newsletter.accounts.project import Project
from newsletter.delivery.queries import public_id
from newsletter.events import queries as event_queries
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.webhooks import fanning
from newsletter.webhooks.models import WebhookDelivery
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Register
from tests.webhooks.deliveries import jobs_left, serve

ACCEPTED, DELIVERED, BOUNCED = (
    EventType.message_accepted,
    EventType.message_delivered,
    EventType.message_bounced,
)


IDS = {name: public_id(UUID(int=number), 1) for number, name in enumerate("ab")}
"""Of two messages."""
_NAMES = {id_: f"msg_{name}" for name, id_ in IDS.items()}


def name_of(body: Any) -> str:
    """The message that an event is about."""
    return _NAMES[body["data"]["message"]["id"]]


class Story:
    """What happens to messages, told one after the other."""

    def __init__(self, runtime: Runtime, project: Project) -> None:
        self._runtime, self._project = runtime, project

    async def happen(self, kind: EventType, message: str) -> None:
        async with self._runtime.db.unit_of_work() as session:
            data = {"message": {"id": IDS[message]}}
            await events.record_many(session, self._project.id, kind, [data])


@pytest.fixture
def story(runtime: Runtime, project: Project) -> Story:
    return Story(runtime, project)


def told(receiver: Receiver) -> list[tuple[str, str]]:
    """The calls: of which message, and what had happened."""
    bodies = [json.loads(call.body) for call in receiver.calls]
    return [(name_of(body), body["type"].partition(".")[2]) for body in bodies]


async def statuses(client: Client, endpoint: Any) -> list[str]:
    """Of the deliveries, the oldest first."""
    rows = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    return [row["status"] for row in reversed(rows)]


async def test_the_next_event_of_a_message_waits_for_the_one_before(
    client: Client, runtime: Runtime, register: Register, story: Story, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.append(Reply(500))
    for kind, message in (
        (ACCEPTED, "a"),
        (ACCEPTED, "b"),
        (DELIVERED, "a"),
        (DELIVERED, "b"),
        (BOUNCED, "a"),
    ):
        await story.happen(kind, message)
    await run_due(runtime)
    # What befell b did not wait for a.
    assert told(receiver) == [("msg_a", "accepted"), ("msg_b", "accepted"), ("msg_b", "delivered")]
    assert await statuses(client, endpoint) == ["retrying", "succeeded", "pending", "succeeded", "pending"]

    await make_due(runtime)
    await run_due(runtime)
    assert told(receiver)[3:] == [("msg_a", "accepted"), ("msg_a", "delivered"), ("msg_a", "bounced")]
    assert await statuses(client, endpoint) == ["succeeded"] * 5
    assert await jobs_left(runtime) == 0


async def test_one_that_is_given_up_lets_the_next_one_go(
    client: Client, runtime: Runtime, register: Register, story: Story, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.extend([Reply(500)] * 10)
    await story.happen(ACCEPTED, "a")
    await story.happen(DELIVERED, "a")
    for _ in range(10):
        await run_due(runtime)
        await make_due(runtime)
    await run_due(runtime)
    assert await statuses(client, endpoint) == ["exhausted", "succeeded"]
    assert await jobs_left(runtime) == 0


async def test_what_waits_for_its_turn_at_an_endpoint_that_is_gone_ends_as_well(
    client: Client, runtime: Runtime, register: Register, story: Story, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(410)
    for kind in (ACCEPTED, DELIVERED, BOUNCED):
        await story.happen(kind, "a")
    await run_due(runtime)
    assert len(receiver.calls) == 1
    assert await statuses(client, endpoint) == ["exhausted"] * 3
    assert await jobs_left(runtime) == 0


async def test_a_fan_out_that_overtakes_another_delivers_the_earlier_event_first(
    client: Client, runtime: Runtime, register: Register, story: Story, receiver: Receiver
) -> None:
    endpoint = await register()
    await story.happen(ACCEPTED, "a")
    await story.happen(DELIVERED, "a")
    async with runtime.db.read() as session:
        fan_outs = select(Job).where(Job.name == "webhooks.fan_out").order_by(Job.id)
        first, second = [
            [UUID(each) for each in job.payload["event_ids"]] for job in await session.scalars(fan_outs)
        ]
    await fanning.fan_out(runtime.db, second, 0)
    await run_due(runtime, but="webhooks.fan_out")
    assert len(receiver.calls) == 2
    await fanning.fan_out(runtime.db, first, 0)
    await run_due(runtime)
    assert told(receiver) == [("msg_a", "accepted"), ("msg_a", "delivered")]
    assert await statuses(client, endpoint) == ["succeeded"] * 2


async def test_an_endpoint_hears_nothing_of_before_it_was_there(
    client: Client, runtime: Runtime, register: Register, story: Story, receiver: Receiver
) -> None:
    await register(events=["message.bounced"])
    await story.happen(ACCEPTED, "a")
    newcomer = await register()
    await story.happen(BOUNCED, "a")
    await run_due(runtime)
    assert await statuses(client, newcomer) == ["succeeded"]
    assert told(receiver) == [("msg_a", "bounced")] * 2


async def test_a_second_turn_makes_no_call_of_one_that_waits(
    client: Client, runtime: Runtime, register: Register, story: Story, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(500)
    await story.happen(ACCEPTED, "a")
    await story.happen(DELIVERED, "a")
    await run_due(runtime)
    await serve(runtime, endpoint)
    assert told(receiver) == [("msg_a", "accepted")]
    assert await statuses(client, endpoint) == ["retrying", "pending"]


async def fan_outs(runtime: Runtime) -> list[list[UUID]]:
    """The events of each fan-out that waits, the oldest first."""
    async with runtime.db.read() as session:
        waiting = select(Job).where(Job.name == "webhooks.fan_out").order_by(Job.id)
        return [[UUID(each) for each in job.payload["event_ids"]] for job in await session.scalars(waiting)]


async def test_endpoints_that_want_other_events_are_seen_to_as_well(
    client: Client, runtime: Runtime, register: Register, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was before the newest event that has a delivery is not read again, whoever wanted that one."""
    monkeypatch.setattr(fanning, "UNSEEN", timedelta(0))
    await register(events=[DELIVERED.value, BOUNCED.value])
    other = await register(events=[ACCEPTED.value, BOUNCED.value])
    for kind in (ACCEPTED, DELIVERED, BOUNCED):
        await story.happen(kind, "a")
    first, second, third = await fan_outs(runtime)
    for event_ids in (second, third, first):
        await fanning.fan_out(runtime.db, event_ids, 0)
        rows = await client.data("GET", f"/webhooks/{other['id']}/deliveries")
        told_of = [row["event_type"] for row in reversed(rows)]
        assert told_of == ["message.accepted", "message.bounced"][: len(rows)]
        assert len(rows) == (1 if event_ids == second else 2)


async def test_the_many_events_of_one_message_are_each_read_once(
    runtime: Runtime, register: Register, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register()
    for _ in range(12):
        await story.happen(EventType.message_opened, "a")
    read: list[list[UUID]] = []
    of_messages = event_queries.of_messages

    async def noted(*arguments: Any) -> list[event_queries.Logged]:
        found = await of_messages(*arguments)
        read.append([event.id for event in found])
        return found

    monkeypatch.setattr(event_queries, "of_messages", noted)
    monkeypatch.setattr(fanning, "UNSEEN", timedelta(0))
    waiting = [event_id for (event_id,) in await fan_outs(runtime)]
    for event_id in waiting:
        await fanning.fan_out(runtime.db, [event_id], 0)
    # From the newest that has a delivery on, and with it what its millisecond held.
    expected: list[list[UUID]] = [[]]
    for place, last in enumerate(waiting[:-1], 1):
        expected.append([each for each in waiting[:place] if ids.time_of(each) >= ids.time_of(last)])
    assert read == expected
    async with runtime.db.read() as session:
        assert len((await session.scalars(select(WebhookDelivery.id))).all()) == 12
