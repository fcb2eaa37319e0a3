"""What an operator of an endpoint needs: rotation, replay of many, what was sent and answered, and
an end to what nobody answers any more."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from standardwebhooks import Webhook

from newsletter.kit import clock
from newsletter.kit.http import Answer, GuardedClient
from newsletter.runtime import Runtime
from newsletter.webhooks.models import Endpoint
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.deliveries import only_delivery
from tests.webhooks.test_order import statuses


async def test_while_a_secret_rotates_both_sign(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    path = f"/webhooks/{endpoint['id']}"
    made = await client.data("POST", f"{path}/rotate-secret")
    old, new = endpoint["secret"], made["secret"]
    assert old != new
    assert made["previous_secret_until"] > made["updated_at"]
    await happen()
    await run_due(runtime)
    call = receiver.calls[0]
    for secret in (old, new):
        Webhook(secret).verify(call.body, dict(call.headers))

    # When the time of the old one is over, or where it was cut short, the new one signs alone.
    async with runtime.db.unit_of_work() as session:
        await session.execute(
            update(Endpoint).values(previous_secret_until=clock.now() - timedelta(seconds=1))
        )
    await happen()
    await run_due(runtime)
    assert len(receiver.calls[1].headers["webhook-signature"].split()) == 1
    Webhook(new).verify(receiver.calls[1].body, dict(receiver.calls[1].headers))
    latest = await client.data("POST", f"{path}/rotate-secret", json={"overlap_hours": 0})
    assert latest["previous_secret_until"] is None
    await happen()
    await run_due(runtime)
    assert len(receiver.calls[2].headers["webhook-signature"].split()) == 1
    await client.expect_error(
        "POST", f"{path}/rotate-secret", 422, "validation_failed", json={"overlap_hours": 721}
    )


async def test_the_dead_letters_are_replayed_and_nothing_else(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    path = f"/webhooks/{endpoint['id']}"
    receiver.replies.extend([Reply(500)] * 20)
    await happen(times=2)
    for _ in range(10):
        await run_due(runtime)
        await make_due(runtime)
    await happen()
    await run_due(runtime)
    assert await statuses(client, endpoint) == ["exhausted", "exhausted", "succeeded"]
    made = await client.data("POST", f"{path}/replay", 202, json={"status": "exhausted"})
    assert made == {"deliveries": 2}
    await run_due(runtime)
    assert await statuses(client, endpoint) == ["succeeded"] * 3
    assert len(receiver.calls) == 23


async def test_a_range_of_time_is_replayed_block_by_block(
    client: Client,
    runtime: Runtime,
    register: Register,
    happen: Happen,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("newsletter.webhooks.replaying.AT_ONCE", 2)
    endpoint = await register()
    path = f"/webhooks/{endpoint['id']}"
    await happen(times=2)
    await run_due(runtime)
    await asyncio.sleep(0.005)  # Ids know milliseconds.
    between = clock.now().isoformat()
    await asyncio.sleep(0.005)
    await happen(times=3)
    await run_due(runtime)
    rows = list(reversed(await client.data("GET", f"{path}/deliveries")))
    listed = await client.data("GET", f"{path}/deliveries", params={"since": between})
    assert [row["id"] for row in reversed(listed)] == [row["id"] for row in rows[2:]]
    assert len(await client.data("GET", f"{path}/deliveries", params={"until": between})) == 2
    made = await client.data("POST", f"{path}/replay", 202, json={"since": between})
    assert made == {"deliveries": 3}
    assert (await run_due(runtime)).count("webhooks.replay") == 2
    again = [call.headers["x-newsletter-delivery-id"] for call in receiver.calls[5:]]
    assert again == [row["id"] for row in rows[2:]]
    assert await client.data("POST", f"{path}/replay", 202, json={"event_type": "campaign.failed"}) == {
        "deliveries": 0
    }
    await client.expect_error(
        "GET", f"{path}/deliveries", 422, "validation_failed", params={"since": "2026-01-01T00:00:00"}
    )


async def test_a_delivery_shows_what_was_sent(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.append(Reply(500, body=b"not for a customer's eyes"))
    await happen()
    await run_due(runtime)
    shown = await only_delivery(client, endpoint)
    [call] = receiver.calls
    assert shown["request_body"] == call.body.decode()
    [attempt] = shown["attempts"]
    assert {name.lower(): value for name, value in attempt["request_headers"].items()}.items() <= dict(
        call.headers
    ).items()
    assert "webhook-signature" in attempt["request_headers"]
    # The endpoint lives in a network that the operator allowed, and answers nobody but us.
    assert attempt["answer"] is None


async def test_of_a_public_endpoint_the_first_bytes_of_the_answer_are_kept(
    client: Client,
    runtime: Runtime,
    register: Register,
    happen: Happen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = await register()

    async def post(*_: object, **__: object) -> Answer:
        return Answer(500, {}, b"\xffdown\0 for now" + b"." * 9000, 3, is_public=True)

    monkeypatch.setattr(GuardedClient, "post", post)
    await happen()
    await run_due(runtime)
    [attempt] = (await only_delivery(client, endpoint))["attempts"]
    assert attempt["answer"].startswith("\N{REPLACEMENT CHARACTER}down for now...")
    assert len(attempt["answer"]) == 499


async def test_days_of_nothing_but_failures_switch_an_endpoint_off(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(500)
    await happen(times=2)
    await run_due(runtime)
    path = f"/webhooks/{endpoint['id']}"
    assert (await client.data("GET", path))["is_active"] is True
    async with runtime.db.unit_of_work() as session:
        days = timedelta(days=runtime.settings.webhooks.disable_after_days)
        await session.execute(update(Endpoint).values(failing_since=clock.now() - days))
    await make_due(runtime)
    await run_due(runtime)
    shown: Any = await client.data("GET", path)
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "failing")
    assert await statuses(client, endpoint) == ["exhausted"] * 2
    # The second may have been on its way when the first failed for the last time.
    assert len(receiver.calls) in (3, 4)
    await client.expect_error("POST", f"{path}/replay", 409, "webhook_endpoint_inactive", json={})

    # Switched on again it begins anew.
    await client.data("PATCH", path, json={"is_active": True})
    await happen()
    await run_due(runtime)
    assert (await client.data("GET", path))["is_active"] is True
