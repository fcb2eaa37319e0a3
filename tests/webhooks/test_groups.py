"""Several events in one call: what it looks like, and that it fails and succeeds as one."""

import json
from typing import Any

from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.webhooks import fanning
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Received, Receiver, Reply
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.deliveries import jobs_left
from tests.webhooks.test_order import ACCEPTED, DELIVERED, Story, name_of, statuses, story

__all__ = ["story"]


def body_of(call: Received) -> Any:
    return json.loads(call.body)


async def run_all(runtime: Runtime) -> None:
    """Also what waits for others to come along."""
    await run_due(runtime)
    await make_due(runtime)
    await run_due(runtime)


async def test_up_to_a_hundred_events_go_in_one_call(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register(group_size=100)
    await happen(EventType.campaign_sent, times=70)
    await happen(EventType.campaign_failed, times=60)
    await run_all(runtime)
    assert [len(body_of(call)["events"]) for call in receiver.calls] == [100, 30]
    call, body = receiver.calls[0], body_of(receiver.calls[0])
    assert list(body) == ["id", "type", "event", "project_id", "events"]
    assert body["type"] == body["event"] == call.headers["x-newsletter-event"] == "group"
    assert body["id"] == call.headers["webhook-id"]
    assert list(body["events"][0]) == ["id", "type", "event", "created_at", "project_id", "data"]
    types = [each["type"] for call in receiver.calls for each in body_of(call)["events"]]
    assert types == ["campaign.sent"] * 70 + ["campaign.failed"] * 60
    assert await statuses(client, endpoint) == ["succeeded"] * 20
    assert await jobs_left(runtime) == 0


async def refused_group(runtime: Runtime, register: Register, happen: Happen, receiver: Receiver) -> Any:
    """Three events of an endpoint whose first call was answered 503."""
    endpoint = await register(group_size=10)
    receiver.replies.append(Reply(503))
    await happen(times=3)
    await run_all(runtime)
    return endpoint


async def test_a_group_that_fails_is_tried_again_as_it_was(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await refused_group(runtime, register, happen, receiver)
    assert len(receiver.calls) == 1
    assert await statuses(client, endpoint) == ["retrying"] * 3
    assert (await client.data("GET", f"/webhooks/{endpoint['id']}"))["consecutive_failures"] == 1
    await happen(times=1)
    await run_all(runtime)
    first, *later = receiver.calls
    assert [len(body_of(call)["events"]) for call in later].count(3) == 1
    again = next(call for call in later if call.body == first.body)
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert await statuses(client, endpoint) == ["succeeded"] * 4
    rows = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    for row in rows[1:]:
        shown = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries/{row['id']}")
        assert [call["status_code"] for call in shown["attempts"]] == [503, 200]


async def test_a_group_is_called_again_as_it_was_when_groups_were_switched_off(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await refused_group(runtime, register, happen, receiver)
    await client.data("PATCH", f"/webhooks/{endpoint['id']}", json={"group_size": 1})
    await run_all(runtime)
    first, second = receiver.calls
    assert (second.body, second.headers["webhook-id"]) == (first.body, first.headers["webhook-id"])
    assert await statuses(client, endpoint) == ["succeeded"] * 3


async def test_one_of_a_group_is_replayed_alone(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register(group_size=10)
    await happen(times=3)
    await run_all(runtime)
    [_, row, _] = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    await client.data("POST", f"/webhooks/{endpoint['id']}/deliveries/{row['id']}/replay", 202)
    await run_all(runtime)
    assert [[each["id"] for each in body_of(call)["events"]] for call in receiver.calls[1:]] == [
        [row["event_id"]]
    ]
    assert await statuses(client, endpoint) == ["succeeded"] * 3


async def test_a_group_whose_first_is_replayed_behind_another_leaves_none_behind(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register(group_size=10)
    await happen(times=1)
    await run_all(runtime)
    receiver.replies.append(Reply(503))
    await happen(times=3)
    await run_due(runtime)
    await make_due(runtime)
    await run_due(runtime)
    assert await statuses(client, endpoint) == ["succeeded"] + ["retrying"] * 3
    [_, _, first, earlier] = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    for row in (earlier, first):
        await client.data("POST", f"/webhooks/{endpoint['id']}/deliveries/{row['id']}/replay", 202)
    await run_all(runtime)
    assert await statuses(client, endpoint) == ["succeeded"] * 4
    assert await jobs_left(runtime) == 0


async def test_an_event_waits_for_the_group_with_the_one_before_it(
    client: Client, runtime: Runtime, register: Register, story: Story, receiver: Receiver
) -> None:
    endpoint = await register(group_size=10)
    receiver.replies.append(Reply(500))
    await story.happen(ACCEPTED, "a")
    await run_due(runtime)
    await make_due(runtime)
    await run_due(runtime)
    await story.happen(DELIVERED, "a")
    await story.happen(ACCEPTED, "b")
    await run_due(runtime, but="webhooks.deliver")
    assert await statuses(client, endpoint) == ["retrying", "pending", "pending"]
    await fanning.gather(runtime.db, ids.private("whe", endpoint["id"]))
    rows = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    assert [row["next_attempt_at"] is None for row in reversed(rows)] == [False, True, False]
    await run_all(runtime)
    await run_all(runtime)
    seen = [(name_of(each), each["type"]) for call in receiver.calls[1:] for each in body_of(call)["events"]]
    assert seen.index(("msg_a", "message.accepted")) < seen.index(("msg_a", "message.delivered"))
    assert len(seen) == 3
    assert await statuses(client, endpoint) == ["succeeded"] * 3


async def test_what_waits_for_others_goes_alone_when_groups_are_switched_off(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register(group_size=10)
    await happen(times=3)
    await run_due(runtime)
    await client.data("PATCH", f"/webhooks/{endpoint['id']}", json={"group_size": 1})
    await run_all(runtime)
    assert [body_of(call)["type"] for call in receiver.calls] == ["campaign.sent"] * 3
    assert await statuses(client, endpoint) == ["succeeded"] * 3
    assert await jobs_left(runtime) == 0
