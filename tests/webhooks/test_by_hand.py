"""What a customer does by hand: replays of deliveries, and test calls."""

from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.deliveries import WAITS, jobs_left, only_delivery, waits_about


async def test_a_dead_letter_is_replayed_with_the_same_event_and_a_new_schedule(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(500)
    await happen()
    for _ in range(10):
        await run_due(runtime)
        await make_due(runtime)
    dead = await only_delivery(client, endpoint)
    assert dead["status"] == "exhausted"
    path = f"/webhooks/{endpoint['id']}/deliveries/{dead['id']}/replay"
    waiting = await client.data("POST", path, 202)
    assert (waiting["status"], waiting["finished_at"]) == ("pending", None)
    await client.expect_error("POST", path, 409, "delivery_pending")
    await run_due(runtime)
    assert await waits_about(runtime, WAITS[0])
    receiver.otherwise = Reply(200)
    await make_due(runtime)
    await run_due(runtime)
    after = await only_delivery(client, endpoint)
    assert (after["status"], after["attempt_count"], len(after["attempts"])) == ("succeeded", 12, 12)
    assert len({(call.headers["webhook-id"], call.body) for call in receiver.calls}) == 1


async def test_a_success_can_be_replayed_and_a_retry_hastened(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.extend([Reply(500), Reply(500), Reply(500)])
    await happen()
    await run_due(runtime)
    path = f"/webhooks/{endpoint['id']}/deliveries/{(await only_delivery(client, endpoint))['id']}/replay"
    await client.data("POST", path, 202)
    await run_due(runtime)
    assert len(receiver.calls) == 2
    # It kept its place: this was the second failure.
    assert await waits_about(runtime, WAITS[1])
    await client.data("POST", path, 202)
    await run_due(runtime)
    assert await waits_about(runtime, WAITS[2])
    await client.data("POST", path, 202)
    await run_due(runtime)
    assert (await only_delivery(client, endpoint))["status"] == "succeeded"
    assert await jobs_left(runtime) == 0
    await client.data("POST", path, 202)
    await run_due(runtime)
    delivery = await only_delivery(client, endpoint)
    assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 5)
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


async def test_a_test_call_is_real_and_leaves_no_trace(
    client: Client, register: Register, receiver: Receiver
) -> None:
    endpoint = await register(events=["subscriber.bounced", "campaign.sent"], is_active=False)
    path = f"/webhooks/{endpoint['id']}"
    receiver.replies.extend([Reply(201, body=b"internal"), Reply(410), Reply(302, {"Location": "/"})])
    first = await client.data("POST", f"{path}/test", json={})
    assert (first["event_type"], first["status_code"], first["error"]) == ("subscriber.bounced", 201, None)
    assert first["event_id"] == receiver.calls[0].headers["webhook-id"]
    assert "internal" not in str(first)
    for status in (410, 302):
        made = await client.data("POST", f"{path}/test", json={"event_type": "campaign.failed"})
        assert (made["event_type"], made["status_code"]) == ("campaign.failed", status)
        assert made["error"]
    after = await client.data("GET", path)
    assert (after["consecutive_failures"], after["disabled_reason"]) == (0, None)
    assert await client.data("GET", f"{path}/deliveries") == []
    await client.expect_error("POST", f"{path}/test", 422, "validation_failed", json={"event_type": "x.y"})


async def test_a_repeated_test_call_with_one_key_is_made_once(
    client: Client, register: Register, receiver: Receiver
) -> None:
    path = f"/webhooks/{(await register())['id']}/test"
    for _ in range(2):
        await client.data("POST", path, json={}, headers={"Idempotency-Key": "one-test-call"})
    assert len(receiver.calls) == 1
