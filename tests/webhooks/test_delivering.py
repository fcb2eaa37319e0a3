"""From an event to its endpoints: who gets it, when it is tried again, and when no more."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from newsletter.events.vocabulary import EventType
from newsletter.kit import clock
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.settings import WebhookSettings
from newsletter.webhooks.models import Endpoint
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.deliveries import WAITS, jobs_left, only_delivery, waits_about


async def test_an_event_reaches_every_endpoint_that_wants_it_and_no_other(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    everything = await register()
    sent = await register(events=["campaign.sent", "campaign.failed"])
    created = await register(events=["subscriber.created"])
    off = await register(is_active=False)
    await happen(EventType.campaign_sent)
    await run_due(runtime)
    for endpoint, expected in ((everything, 1), (sent, 1), (created, 0), (off, 0)):
        assert len(await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")) == expected
    assert len(receiver.calls) == 2
    # Both are calls about one event, each a delivery of its own.
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert len({call.headers["x-newsletter-delivery-id"] for call in receiver.calls}) == 2


async def test_an_acknowledged_delivery_is_over(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(204)
    await happen()
    await run_due(runtime)
    delivery = await only_delivery(client, endpoint)
    assert delivery["id"] == receiver.calls[0].headers["x-newsletter-delivery-id"]
    assert delivery["event_id"] == receiver.calls[0].headers["webhook-id"]
    assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 1)
    assert delivery["next_attempt_at"] is None
    assert delivery["finished_at"] is not None
    [attempt] = delivery["attempts"]
    assert (attempt["number"], attempt["status_code"], attempt["error"]) == (1, 204, None)
    assert attempt["elapsed_ms"] >= 0
    assert await jobs_left(runtime) == 0


async def test_retries_follow_the_contract_to_the_dead_letter(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(500, body=b"a secret of the inside")
    await happen()
    for failures, wait in enumerate(WAITS, 1):
        await run_due(runtime)
        assert len(receiver.calls) == failures
        delivery = await only_delivery(client, endpoint)
        assert (delivery["status"], delivery["attempt_count"]) == ("retrying", failures)
        assert delivery["next_attempt_at"] is not None
        assert await waits_about(runtime, wait)
        await make_due(runtime)
    await run_due(runtime)
    delivery = await only_delivery(client, endpoint)
    assert (delivery["status"], delivery["next_attempt_at"]) == ("exhausted", None)
    assert [attempt["number"] for attempt in delivery["attempts"]] == list(range(1, 11))
    assert {attempt["status_code"] for attempt in delivery["attempts"]} == {500}
    assert "inside" not in str(delivery)
    assert await jobs_left(runtime) == 0
    assert len(receiver.calls) == 10
    assert len({(call.headers["webhook-id"], call.body) for call in receiver.calls}) == 1
    shown = await client.data("GET", f"/webhooks/{endpoint['id']}")
    assert (shown["consecutive_failures"], shown["is_active"]) == (10, True)


async def test_a_success_resets_the_failure_counter(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.extend([Reply(503), Reply(404)])
    await happen(times=2)
    await run_due(runtime)
    assert (await client.data("GET", f"/webhooks/{endpoint['id']}"))["consecutive_failures"] == 2
    await make_due(runtime)
    await run_due(runtime)
    assert (await client.data("GET", f"/webhooks/{endpoint['id']}"))["consecutive_failures"] == 0
    rows = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    assert [(row["status"], row["attempt_count"]) for row in rows] == [("succeeded", 2)] * 2


async def test_gone_switches_the_endpoint_off_and_ends_what_waits_for_it(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.extend([Reply(500), Reply(410)])
    await happen(times=2)
    await run_due(runtime)
    shown = await client.data("GET", f"/webhooks/{endpoint['id']}")
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
    await make_due(runtime)
    await run_due(runtime)
    assert len(receiver.calls) == 2
    path = f"/webhooks/{endpoint['id']}/deliveries"
    rows = await client.data("GET", path)
    assert [(row["status"], row["attempt_count"]) for row in rows] == [("exhausted", 1)] * 2
    assert await jobs_left(runtime) == 0
    await happen()
    await run_due(runtime)
    assert len(await client.data("GET", path)) == 2
    await client.expect_error("POST", f"{path}/{rows[0]['id']}/replay", 409, "webhook_endpoint_inactive")
    again = await client.data("PATCH", f"/webhooks/{endpoint['id']}", json={"is_active": True})
    assert (again["disabled_reason"], again["consecutive_failures"]) == (None, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver, status: int
) -> None:
    endpoint = await register()
    async with Receiver() as elsewhere:
        receiver.otherwise = Reply(status, {"Location": elsewhere.url})
        await happen()
        await run_due(runtime)
        assert elsewhere.connections == 0
    delivery = await only_delivery(client, endpoint)
    assert delivery["status"] == "retrying"
    assert delivery["attempts"][0]["status_code"] == status
    assert "redirect" in delivery["attempts"][0]["error"]


async def test_retry_after_is_honoured_when_it_is_longer(
    runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    await register()
    receiver.replies.extend([Reply(503, {"Retry-After": "3000"}), Reply(429, {"Retry-After": "1"})])
    await happen()
    await run_due(runtime)
    assert await waits_about(runtime, 3000, jitter=0.01)
    await make_due(runtime)
    await run_due(runtime)
    assert await waits_about(runtime, WAITS[1])


async def test_a_retry_after_of_years_is_bounded_to_a_day(
    runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    await register()
    receiver.otherwise = Reply(503, {"Retry-After": "999999999"})
    await happen()
    await run_due(runtime)
    assert await waits_about(runtime, 86_400, jitter=0)


async def test_an_endpoint_that_hangs_up_or_is_not_there_is_a_failure(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    hangs_up = await register()
    async with Receiver() as closed:
        url = closed.url
    absent = await client.data("POST", "/webhooks", 201, json={"url": url})
    receiver.otherwise = Reply(drop=True)
    await happen()
    await run_due(runtime)
    for endpoint in (hangs_up, absent):
        delivery = await only_delivery(client, endpoint)
        [attempt] = delivery["attempts"]
        assert (delivery["status"], attempt["status_code"]) == ("retrying", None)
        assert attempt["error"]
        assert (await client.data("GET", f"/webhooks/{endpoint['id']}"))["consecutive_failures"] == 1


class TestTimeout:
    @pytest.fixture
    def webhook_settings(self) -> WebhookSettings:
        return WebhookSettings(allowed_ranges=("127.0.0.0/8",), timeout=0.3, retry_seconds=WAITS)

    async def test_an_endpoint_that_does_not_answer_in_time_is_a_failure(
        self, client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
    ) -> None:
        endpoint = await register()
        receiver.go_on.clear()
        await happen()
        await asyncio.wait_for(run_due(runtime), timeout=60)
        delivery = await only_delivery(client, endpoint)
        [attempt] = delivery["attempts"]
        assert (delivery["status"], attempt["status_code"]) == ("retrying", None)
        assert attempt["elapsed_ms"] >= 250

    async def test_an_endpoint_that_answers_nothing_rests_before_it_is_called_with_the_others(
        self, client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
    ) -> None:
        endpoint, most = await register(), runtime.settings.webhooks.calls_at_once
        receiver.go_on.clear()
        await happen(times=most + 2)
        await asyncio.wait_for(run_due(runtime), timeout=60)
        async with runtime.db.read() as session:
            row = (await session.scalars(select(Endpoint))).one()
            next_at = (await session.scalars(select(Job.run_at))).one()
        assert row.turn_job_id is None
        # Not only at the time of the first retry: what happens meanwhile has no other job.
        assert row.rests_until == next_at
        # No more than it gets at once: the others did not wait for their time-outs in this turn.
        rows = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
        assert sorted((row["status"], row["attempt_count"]) for row in rows) == [
            *[("pending", 0)] * 2,
            *[("retrying", 1)] * most,
        ]
        # What happens in its rest waits for its end, here one that no slow machine reaches.
        async with runtime.db.unit_of_work() as session:
            rest = {"rests_until": clock.now() + timedelta(hours=1)}
            await session.execute(update(Endpoint).values(rest))
            await session.execute(update(Job).values(run_at=rest["rests_until"]))
        await happen()
        await run_due(runtime)
        after = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
        assert [row["attempt_count"] for row in after].count(0) == 3


class TestPrivateAddresses:
    @pytest.fixture
    def webhook_settings(self) -> WebhookSettings:
        return WebhookSettings(timeout=2, retry_seconds=WAITS)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
    async def test_nothing_connects_to_a_private_address_that_the_operator_did_not_allow(
        self, client: Client, runtime: Runtime, db: Any, happen: Happen, receiver: Receiver, host: str
    ) -> None:
        # Registered while it was allowed, or under a name that came to point here.
        made = await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com/"})
        async with runtime.db.unit_of_work() as session:
            row = (await session.scalars(select(Endpoint))).one()
            row.url = f"http://{host}:{receiver.port}/hook"
        await happen()
        await run_due(runtime)
        assert receiver.connections == 0
        delivery = await only_delivery(client, made)
        [attempt] = delivery["attempts"]
        assert (delivery["status"], attempt["status_code"]) == ("retrying", None)
        assert attempt["error"]
        # It waits like any other failure.
        assert await waits_about(runtime, WAITS[0])
        tested = await client.data("POST", f"/webhooks/{made['id']}/test", json={})
        assert (tested["status_code"], tested["error"]) == (None, attempt["error"])
        assert receiver.connections == 0


class TestSlowEndpoint:
    @pytest.fixture
    def webhook_settings(self) -> WebhookSettings:
        return WebhookSettings(allowed_ranges=("127.0.0.0/8",), timeout=60, retry_seconds=WAITS)

    async def test_one_slow_endpoint_does_not_hold_the_database(
        self, client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
    ) -> None:
        await register()
        receiver.go_on.clear()
        await happen()
        running = asyncio.create_task(run_due(runtime))
        await receiver.called.wait()
        await client.data("PATCH", "/project", json={"name": "Written meanwhile"})
        assert not running.done()
        receiver.go_on.set()
        await running

    async def test_other_messages_do_not_wait_for_a_call_that_takes_long(
        self, client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
    ) -> None:
        endpoint = await register()
        receiver.replies.append(Reply(delay=3600))
        await happen(times=5)
        running, statuses = asyncio.create_task(run_due(runtime)), list[str]()
        while statuses.count("succeeded") < 4:
            await asyncio.sleep(0.05)
            rows = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
            statuses = [row["status"] for row in rows]
        assert statuses.count("pending") == 1
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
