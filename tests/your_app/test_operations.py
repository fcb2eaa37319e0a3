"""Its operations and events in the order of the page."""

import hashlib
import hmac
import json
import re
from html import unescape
from typing import Any

from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign
from tests.receiver import Receiver

EMAIL: dict[str, Any] = {
    "to": "user@example.com",
    "from": "you@yourdomain.example.com",
    "subject": "Welcome!",
    "html": "<h1>Hello!</h1><p>Welcome aboard.</p>",
    "tags": {"type": "welcome"},
}


async def test_post_emails(client: Client, runtime: Runtime) -> None:
    sent = await client.data("POST", "/send", 202, json=EMAIL)
    await run_due(runtime)
    found = await client.data("GET", f"/messages/{sent['id']}")
    assert (found["status"], found["to"]) == ("sent", "user@example.com")


async def test_post_emails_batch(client: Client, runtime: Runtime) -> None:
    messages = [EMAIL | {"to": f"{name}@example.com"} for name in "ab"]
    done = await client.data("POST", "/send/bulk", 202, json={"messages": messages})
    assert len(done["results"]) == 2
    await run_due(runtime)
    assert {mail["to_email"] for mail in await client.data("GET", "/sandbox/messages")} == {
        "a@example.com",
        "b@example.com",
    }


async def test_get_emails_and_get_emails_id(client: Client, runtime: Runtime) -> None:
    sent = await client.data("POST", "/send", 202, json=EMAIL)
    await run_due(runtime)
    params = {"per_page": 20, "status": "sent"}
    assert [row["id"] for row in await client.data("GET", "/messages", params=params)] == [sent["id"]]
    found = await client.data("GET", f"/messages/{sent['id']}")
    assert found["events"][-1]["type"] == "message.accepted"
    assert (found["opens"], found["clicks"]) == (0, 0)


async def test_its_opens_and_clicks_stand_at_each_email(client: Client, runtime: Runtime) -> None:
    tracking = {"opens": True, "clicks": True}
    html = '<p><a href="https://yourdomain.example.com/start">Start</a></p>'
    sent = await client.data("POST", "/send", 202, json=EMAIL | {"html": html, "tracking": tracking})
    await run_due(runtime)
    page = (await mail_to(client, EMAIL["to"]))["html"]
    link, pixel = re.search('href="([^"]*)"', page), re.search('<img src="([^"]*)"', page)
    assert link is not None
    assert pixel is not None
    phone = {"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)", "Authorization": ""}
    for url in (link[1], pixel[1], pixel[1]):
        await client.get(unescape(url), headers=phone)
    await runtime.sightings.flush()
    [listed] = await client.data("GET", "/messages")
    found = await client.data("GET", f"/messages/{sent['id']}")
    for each in (listed, found):
        assert (each["opens"], each["clicks"]) == (2, 1)
        assert each["first_opened_at"] <= each["last_opened_at"]
    assert [event["type"] for event in found["events"]].count("message.opened") == 2


async def test_post_and_get_contacts(client: Client, list_id: str) -> None:
    body = {"email": "new@example.com", "first_name": "John", "last_name": "Doe", "list_id": list_id}
    made = await client.data("POST", "/subscribers", 201, json=body)
    assert (made["email"], made["status"]) == ("new@example.com", "active")
    listed = (await client.get("/subscribers", params={"per_page": 50, "list_id": list_id})).json()
    assert listed["meta"]["total"] == 3


async def test_get_domains(client: Client) -> None:
    await client.data("POST", "/sending-domains", 201, json={"domain": "yourdomain.example.com"})
    [row] = await client.data("GET", "/sending-domains")
    assert row["domain"] == "yourdomain.example.com"


async def test_post_and_get_webhooks(client: Client) -> None:
    events = ["message.accepted", "message.opened", "message.clicked", "message.bounced"]
    body = {"url": "https://app.example.com/webhook", "events": events}
    made = await client.data("POST", "/webhooks", 201, json=body)
    assert made["secret"].startswith("whsec_")
    assert made["events"] == events
    [row] = await client.data("GET", "/webhooks")
    assert (row["id"], row["is_active"]) == (made["id"], True)


async def test_post_campaigns_and_campaigns_id_launch(client: Client, list_id: str) -> None:
    body = {"name": "March Newsletter", "subject": "News!", "list_id": list_id, "html": "<h1>Hello</h1>"}
    made = await client.data("POST", "/campaigns", 201, json=body)
    assert (made["name"], made["status"]) == ("March Newsletter", "draft")
    launched = await client.data("POST", f"/campaigns/{made['id']}/launch", json={})
    assert launched["status"] == "sending"


async def test_get_stats(client: Client, runtime: Runtime, list_id: str) -> None:
    await send_campaign(client, runtime, list_id)
    await client.data("POST", "/sending-domains", 201, json={"domain": "yourdomain.example.com"})
    stats = await client.data("GET", "/stats")
    assert (stats["contacts"], stats["emails_this_month"], stats["domains"]) == (2, 2, 1)
    assert stats["campaigns"]["total"] == 1


async def test_its_webhook_check_holds_over_the_body_parsed_and_written_again(
    client: Client, runtime: Runtime, receiver: Receiver
) -> None:
    body = {"url": receiver.url, "events": ["message.accepted"], "signature_style": "hex"}
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    await client.data("POST", "/send", 202, json=EMAIL)
    await run_due(runtime)
    [call] = receiver.calls
    parsed = json.loads(call.body)
    assert parsed["type"] == "message.accepted"
    again = json.dumps(parsed, ensure_ascii=False, separators=(",", ":")).encode()
    expected = hmac.new(endpoint["secret"].encode(), again, hashlib.sha256).hexdigest()
    assert call.headers["x-webhook-signature"] == expected
