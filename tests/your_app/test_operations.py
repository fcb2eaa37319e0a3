"""Its operations and events in the order of the page."""

import json
from typing import Any

import pytest

from newsletter.runtime import Runtime
from newsletter.settings import Settings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.dns_server import NameServer
from tests.jobs import run_due
from tests.mailbox import send_campaign
from tests.newcomer import read_mail
from tests.receiver import Receiver
from tests.your_app.conftest import is_genuine


@pytest.fixture
def settings(settings: Settings, name_server: NameServer) -> Settings:
    return settings.model_copy(update={"dns": name_server.settings})


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
    # Pages go by a cursor, from one to the next.
    await client.data("POST", "/send", 202, json=EMAIL)
    first = (await client.get("/messages", params={"per_page": 1})).json()
    after = {"per_page": 1, "cursor": first["meta"]["next_cursor"]}
    assert [row["id"] for row in await client.data("GET", "/messages", params=after)] == [sent["id"]]
    found = await client.data("GET", f"/messages/{sent['id']}")
    assert found["events"][-1]["type"] == "message.accepted"
    assert (found["opens"], found["clicks"]) == (0, 0)


async def test_its_opens_and_clicks_stand_at_each_email(client: Client, runtime: Runtime) -> None:
    tracking = {"opens": True, "clicks": True}
    html = '<p><a href="https://yourdomain.example.com/start">Start</a></p>'
    sent = await client.data("POST", "/send", 202, json=EMAIL | {"html": html, "tracking": tracking})
    await run_due(runtime)
    await read_mail(client, runtime, EMAIL["to"], opens=2, clicks=1)
    [listed] = await client.data("GET", "/messages")
    found = await client.data("GET", f"/messages/{sent['id']}")
    for each in (listed, found):
        assert (each["opens"], each["clicks"]) == (2, 1)
        assert each["first_opened_at"] <= each["last_opened_at"]
    assert [event["type"] for event in found["events"]].count("message.opened") == 2


async def test_post_contacts_and_get_contacts(client: Client, list_id: str) -> None:
    body = {"email": "new@example.com", "first_name": "John", "last_name": "Doe", "list_id": list_id}
    made = await client.data("POST", "/subscribers", 201, json=body)
    assert (made["email"], made["status"]) == ("new@example.com", "active")
    listed = (await client.get("/subscribers", params={"per_page": 50, "list_id": list_id})).json()
    assert listed["meta"]["total"] == 3


async def test_get_domains(client: Client) -> None:
    await client.data("POST", "/sending-domains", 201, json={"domain": "yourdomain.example.com"})
    [row] = await client.data("GET", "/sending-domains")
    assert row["domain"] == "yourdomain.example.com"


async def test_post_domains_id_verify(client: Client, name_server: NameServer) -> None:
    made = await client.data("POST", "/sending-domains", 201, json={"domain": "yourdomain.example.com"})
    name_server.publish(made["records"])
    verified = await client.data("POST", f"/sending-domains/{made['id']}/verify")
    assert (verified["domain"], verified["status"]) == ("yourdomain.example.com", "verified")


async def test_post_webhooks_and_get_webhooks(client: Client) -> None:
    events = ["message.accepted", "message.opened", "message.clicked", "message.bounced"]
    body = {"url": "https://app.example.com/webhook", "events": events}
    made = await client.data("POST", "/webhooks", 201, json=body)
    assert made["secret"].startswith("whsec_")
    assert made["events"] == events
    [row] = await client.data("GET", "/webhooks")
    assert (row["id"], row["is_active"]) == (made["id"], True)


async def test_post_campaigns_and_post_campaigns_id_launch(client: Client, list_id: str) -> None:
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


async def test_x_webhook_signature(client: Client, runtime: Runtime, receiver: Receiver) -> None:
    """Its check computes over the body that was parsed and written again."""
    body = {"url": receiver.url, "events": ["message.accepted"], "signature_style": "hex"}
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    await client.data("POST", "/send", 202, json=EMAIL)
    await run_due(runtime)
    [call] = receiver.calls
    assert json.loads(call.body)["type"] == "message.accepted"
    assert is_genuine(call, endpoint["secret"])
    assert not is_genuine(call, endpoint["secret"] + "x")


@pytest.mark.parametrize(("plan", "calls"), [("starter", 100), ("professional", 500), ("enterprise", 2000)])
async def test_100_500_2_000_calls_a_minute(
    make_client: MakeClient, make_project: MakeProject, plan: str, calls: int
) -> None:
    limited = await make_client(await make_project(plan=plan))
    headers = (await limited.get("/stats")).headers
    assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == (str(calls), str(calls - 1))
