"""Webhooks, received and verified as the page's samples do."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Received, Receiver, Reply

CATALOGUE = [
    "campaign.sent",
    "campaign.failed",
    "subscriber.created",
    "subscriber.unsubscribed",
    "subscriber.bounced",
    "subscriber.complained",
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Calls to the loopback are allowed, and time out soon."""
    webhooks = WebhookSettings(allowed_ranges=("127.0.0.0/8",), timeout=2)
    return settings.model_copy(update={"webhooks": webhooks})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


Endpoint = Callable[..., Awaitable[Any]]


@pytest.fixture
def endpoint(client: Client, receiver: Receiver) -> Endpoint:
    async def make(*events: str) -> Any:
        body = {"url": receiver.url, "events": list(events), "signature_style": "hex"}
        return await client.data("POST", "/webhooks", 201, json=body)

    return make


def is_genuine(call: Received, secret: str) -> bool:
    """The page's check, in the language of this suite."""
    expected = hmac.new(secret.encode(), call.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, call.headers["x-webhook-signature"])


def events_of(receiver: Receiver) -> list[tuple[str, Any]]:
    calls = [json.loads(call.body) for call in receiver.calls]
    return [(call["event"], call["data"]) for call in calls]


async def test_webhooks_of_subscribers(
    client: Client, runtime: Runtime, list_id: str, receiver: Receiver, endpoint: Endpoint
) -> None:
    made = await endpoint("subscriber.created", "subscriber.unsubscribed")
    body = {"email": "alice@example.com", "list_id": list_id}
    alice = await client.data("POST", "/subscribers", 201, json=body)
    await client.data("POST", "/subscribers", 200, json=body)
    rows = [{"email": f"{n}@example.com"} for n in range(3)]
    await client.post("/subscribers/batch", json={"list_id": list_id, "subscribers": rows})
    await client.delete("/subscribers/alice@example.com")
    await client.delete("/subscribers/alice@example.com")

    await run_due(runtime)

    names = [event for event, _ in events_of(receiver)]
    assert sorted(names) == ["subscriber.created", "subscriber.unsubscribed"]
    for call, (event, data) in zip(receiver.calls, events_of(receiver), strict=True):
        assert call.headers["x-newsletter-event"] == event
        assert data["subscriber"]["id"] == alice["id"]
        assert data["subscriber"]["email"] == "alice@example.com"
        assert is_genuine(call, made["secret"])
        assert not is_genuine(call, "whsec_another")


async def test_webhooks_of_campaigns(
    client: Client, runtime: Runtime, list_id: str, receiver: Receiver, endpoint: Endpoint
) -> None:
    await endpoint("campaign.sent", "campaign.failed", "subscriber.bounced", "subscriber.complained")
    for email in ("alice@example.com", "bounce@sandbox.test", "complaint@sandbox.test"):
        body = {"email": email, "list_id": list_id}
        await client.data("POST", "/subscribers", 201, json=body)
    body = {"list_id": list_id, "subject": "Friday Roundup", "html": "<p>Hello!</p>"}
    campaign = await client.data("POST", "/campaigns", 201, json={**body, "send": True})

    await run_due(runtime)

    events = dict(events_of(receiver))
    assert set(events) == {"campaign.sent", "subscriber.bounced", "subscriber.complained"}
    sent = events["campaign.sent"]["campaign"]
    assert (sent["id"], sent["subject"], sent["emails_sent"]) == (campaign["id"], "Friday Roundup", 3)
    assert events["subscriber.bounced"]["subscriber"]["email"] == "bounce@sandbox.test"
    assert events["subscriber.complained"]["subscriber"]["email"] == "complaint@sandbox.test"
    for call in receiver.calls:
        payload = json.loads(call.body)
        assert payload["id"].startswith("evt_")
        assert payload["created_at"].endswith("Z")
        assert call.headers["webhook-id"] == payload["id"]


@pytest.mark.parametrize("event", CATALOGUE)
async def test_webhooks_of_every_event_of_the_catalogue_can_be_tried(
    client: Client, receiver: Receiver, endpoint: Endpoint, event: str
) -> None:
    made = await endpoint(event)
    called = await client.data("POST", f"/webhooks/{made['id']}/test", json={})
    assert called["status_code"] == 200
    [call] = receiver.calls
    assert json.loads(call.body)["event"] == event
    assert is_genuine(call, made["secret"])


async def test_webhooks_that_fail_count_and_are_acknowledged_by_any_2xx(
    client: Client, runtime: Runtime, list_id: str, receiver: Receiver, endpoint: Endpoint
) -> None:
    made = await endpoint("subscriber.created")
    receiver.replies.extend([Reply(500), Reply(302, headers={"Location": "/"}), Reply(204)])
    body = {"email": "alice@example.com", "list_id": list_id}
    await client.data("POST", "/subscribers", 201, json=body)

    shown = []
    for _ in range(3):
        await run_due(runtime)
        shown.append(await client.data("GET", f"/webhooks/{made['id']}"))
        await make_due(runtime)

    assert [row["consecutive_failures"] for row in shown] == [1, 2, 0]
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert not any("secret" in row for row in shown)
