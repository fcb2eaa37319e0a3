"""Its events, each as a receiver gets it: one shape, signed, in the order of each message."""

import hashlib
import hmac
import time

import pytest

from newsletter.delivery.models import Feedback
from newsletter.feedback import service as feedback
from newsletter.runtime import Runtime
from newsletter.settings import BounceSettings
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.mailbox import send_campaign
from tests.mailers_io.conftest import SEND
from tests.newcomer import Told, read_mail
from tests.receiver import Received, Receiver, Reply

TRACKED = SEND | {
    "html": '<p>Thanks for <a href="https://acme.example.com">joining</a>.</p>',
    "tracking": {"opens": True, "clicks": True},
}
SHAPE = {"id", "provider", "from", "to", "tags"}
"""What stands in the page's ``message``."""


def is_genuine(call: Received, secret: str) -> bool:
    """``signature: t=…,v1=…``, over ``t.body`` with the whole secret."""
    parts = dict(part.split("=", 1) for part in call.headers["x-webhook-signature"].split(","))
    signed = f"{parts['t']}.".encode() + call.body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(time.time() - int(parts["t"])) < 300


@pytest.fixture
async def told(client: Client, runtime: Runtime, receiver: Receiver) -> Told:
    """What an endpoint for everything hears."""
    body = {"url": receiver.url, "signature_style": "timestamped"}
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    return Told(runtime, receiver, lambda call: is_genuine(call, endpoint["secret"]))


async def test_message_accepted(client: Client, told: Told) -> None:
    sent = await client.data("POST", "/send", 202, json=SEND)
    [event] = await told.all()
    message = event["data"]["message"]
    assert (event["type"], message["id"]) == ("message.accepted", sent["id"])
    assert (event["id"][:4], message["to"], message["tags"]) == ("evt_", SEND["to"], ["onboarding"])
    assert message.keys() >= SHAPE


async def test_message_delivered(client: Client, told: Told) -> None:
    sent = await client.data("POST", "/send", 202, json=SEND)
    await told.all()
    async with told.runtime.db.unit_of_work() as session:
        await feedback.apply(session, BounceSettings(), sent["id"], Feedback.delivered, "smtp")
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["message"]["status"]) == ("message.delivered", "delivered")


async def test_message_opened(client: Client, told: Told) -> None:
    await client.data("POST", "/send", 202, json=TRACKED)
    await told.all()
    await read_mail(client, told.runtime, SEND["to"], opens=1)
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["open"]["by"]) == ("message.opened", "human")


async def test_message_clicked(client: Client, told: Told) -> None:
    await client.data("POST", "/send", 202, json=TRACKED)
    await told.all()
    await read_mail(client, told.runtime, SEND["to"], clicks=1)
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["click"]["url"]) == ("message.clicked", "https://acme.example.com")


async def test_message_bounced(client: Client, told: Told) -> None:
    await client.data("POST", "/send", 202, json=SEND | {"to": "bounce@sandbox.test"})
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["bounce"]["kind"]) == ("message.bounced", "hard")
    assert event["data"]["message"]["tags"] == ["onboarding"]


async def test_message_complained(client: Client, told: Told) -> None:
    await client.data("POST", "/send", 202, json=SEND | {"to": "complaint@sandbox.test"})
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["message"]["to"]) == ("message.complained", "complaint@sandbox.test")


async def test_subscriber_unsubscribed(client: Client, told: Told, list_id: str) -> None:
    await told.all()
    await client.delete(f"/subscribers/grace@example.com?list_id={list_id}")
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["subscriber"]["email"]) == (
        "subscriber.unsubscribed",
        "grace@example.com",
    )


async def test_automation_triggered(client: Client, told: Told, list_id: str) -> None:
    steps = [{"tag": {"add": ["welcome"]}}]
    body = {"name": "Welcome", "list_id": list_id, "steps": steps}
    made = await client.data("POST", "/automations", 201, json=body)
    await client.data("POST", f"/automations/{made['id']}/activate")
    run = await client.data(
        "POST", f"/automations/{made['id']}/trigger", 202, json={"email": "ada@example.com"}
    )
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["automation"]["id"]) == ("automation.triggered", made["id"])
    assert event["data"]["run"] == {
        "id": run["id"],
        "subscriber_id": run["subscriber_id"],
        "cause": "trigger",
        "event_id": None,
        "started_at": run["started_at"],
    }


async def test_events_of_a_message_come_in_its_order_and_in_one_shape(
    client: Client, told: Told, list_id: str
) -> None:
    tracking = {"track_opens": True, "track_clicks": True}
    campaign = await send_campaign(client, told.runtime, list_id, **tracking)
    mine = [
        each for each in await told.all() if each["data"].get("message", {}).get("to") == "ada@example.com"
    ]
    async with told.runtime.db.unit_of_work() as session:
        message_id = mine[0]["data"]["message"]["id"]
        await feedback.apply(session, BounceSettings(), message_id, Feedback.delivered, "smtp")
    await read_mail(client, told.runtime, "ada@example.com", opens=1, clicks=1)
    mine = [each for each in await told.all() if each["data"].get("message", {}).get("id") == message_id]
    assert [each["type"].partition(".")[2] for each in mine] == [
        "accepted",
        "delivered",
        "opened",
        "clicked",
    ]
    for each in mine:
        assert each["data"]["message"]["campaign_id"] == campaign["id"]
        assert list(each["data"]["message"]) == list(mine[0]["data"]["message"])


async def test_signature_t_v1(client: Client, runtime: Runtime, receiver: Receiver) -> None:
    body = {"url": receiver.url, "signature_style": "timestamped"}
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    await client.data("POST", "/send", 202, json=SEND)
    await run_due(runtime)
    [call] = receiver.calls
    assert is_genuine(call, endpoint["secret"])
    assert not is_genuine(call, endpoint["secret"] + "x")
    later = Received(call.method, call.path, call.headers, call.body + b" ")
    assert not is_genuine(later, endpoint["secret"])


async def test_retries_replay_queue(client: Client, runtime: Runtime, receiver: Receiver) -> None:
    """Failed deliveries go to a queue that is re-triggered."""
    body = {"url": receiver.url, "events": ["message.accepted"]}
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    receiver.replies.extend([Reply(500)] * 10)
    await client.data("POST", "/send", 202, json=SEND)
    for _ in range(10):
        await run_due(runtime)
        await make_due(runtime)
    path = f"/webhooks/{endpoint['id']}"
    [dead] = await client.data("GET", f"{path}/deliveries", params={"status": "exhausted"})
    assert await client.data("POST", f"{path}/replay", 202, json={"status": "exhausted"}) == {"deliveries": 1}
    await run_due(runtime)
    [row] = await client.data("GET", f"{path}/deliveries")
    assert (row["id"], row["status"]) == (dead["id"], "succeeded")
