"""Its events, as a receiver gets them: one shape, signed, in the order of each message."""

import hashlib
import hmac
import json
import time
from typing import Any

from newsletter.delivery import queries as delivery
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import Feedback
from newsletter.feedback import service as feedback
from newsletter.runtime import Runtime
from newsletter.settings import BounceSettings
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.mailbox import send_campaign
from tests.mailers_io.conftest import SEND
from tests.receiver import Received, Receiver, Reply

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"


def is_genuine(call: Received, secret: str) -> bool:
    """``signature: t=…,v1=…``, over ``t.body`` with the whole secret."""
    parts = dict(part.split("=", 1) for part in call.headers["x-webhook-signature"].split(","))
    signed = f"{parts['t']}.".encode() + call.body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(time.time() - int(parts["t"])) < 300


async def test_every_event_of_the_page_reaches_the_receiver(
    client: Client, runtime: Runtime, receiver: Receiver, list_id: str
) -> None:
    body = {"url": receiver.url, "signature_style": "timestamped"}
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    await client.data("PATCH", "/project", json={"track_opens": True, "track_clicks": True})
    campaign = await send_campaign(client, runtime, list_id)
    message_id = (await client.data("GET", "/sandbox/messages", params={"to": "ada@example.com"}))[0][
        "message_id"
    ]
    async with runtime.db.unit_of_work() as session:
        await feedback.apply(session, BounceSettings(), message_id, Feedback.delivered, "smtp")
        found = await delivery.by_public_id(session, message_id)
    assert found is not None
    ref = MessageRef(found.mailing_id, found.seq, found.subscriber_id)
    for url in (runtime.links.opened(ref), runtime.links.tracked(ref, "https://acme.example.com")):
        await client.get(url, headers={"User-Agent": PHONE, "Authorization": ""})
    await runtime.sightings.flush()
    for persona in ("bounce", "complaint"):
        await client.data("POST", "/send", 202, json=SEND | {"to": f"{persona}@sandbox.test"})
    await client.delete(f"/subscribers/grace@example.com?list_id={list_id}")
    await run_due(runtime)

    told: list[Any] = [json.loads(call.body) for call in receiver.calls]
    assert {each["type"] for each in told} >= {
        "message.accepted",
        "message.delivered",
        "message.opened",
        "message.clicked",
        "message.bounced",
        "message.complained",
        "subscriber.unsubscribed",
    }
    assert all(is_genuine(call, endpoint["secret"]) for call in receiver.calls)
    assert not is_genuine(receiver.calls[0], endpoint["secret"] + "x")
    # One shape, whatever happened, and in the order in which it did.
    mine = [each for each in told if each["data"].get("message", {}).get("id") == message_id]
    assert [each["type"].partition(".")[2] for each in mine] == [
        "accepted",
        "delivered",
        "opened",
        "clicked",
    ]
    for each in mine:
        message = each["data"]["message"]
        assert (message["to"], message["campaign_id"]) == ("ada@example.com", campaign["id"])
        assert list(message) == list(mine[0]["data"]["message"])
    tagged = next(each for each in told if each["type"] == "message.bounced")
    assert tagged["data"]["message"]["tags"] == ["onboarding"]


async def test_failed_deliveries_go_to_a_queue_that_is_re_triggered(
    client: Client, runtime: Runtime, receiver: Receiver
) -> None:
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
