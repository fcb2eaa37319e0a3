"""`POST /send`: one mail, from the call to the inbox."""

from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import mail_to

MAIL = {
    "from": "Acme <hello@acme.example.com>",
    "to": "alice@example.com",
    "subject": "Welcome to Acme",
    "html": "<p>Thanks for joining.</p>",
    "tags": ["onboarding"],
    "routing": {"purpose": "transactional"},
}


async def test_a_mail_arrives_and_its_message_says_so(client: Client, runtime: Runtime) -> None:
    sent = await client.data("POST", "/send", 202, json=MAIL)
    assert sent["status"] == "queued"
    message = await client.data("GET", f"/messages/{sent['id']}")
    assert (message["status"], message["tags"], message["subject"]) == (
        "queued",
        ["onboarding"],
        "Welcome to Acme",
    )
    await run_due(runtime)
    mail = await mail_to(client, "alice@example.com")
    assert mail["subject"] == "Welcome to Acme"
    assert "Thanks for joining." in mail["html"]
    assert mail["text"].strip() == "Thanks for joining."
    message = await client.data("GET", f"/messages/{sent['id']}")
    assert message["status"] == "sent"
    assert [event["type"] for event in message["events"]] == ["message.queued", "message.accepted"]
    assert [(each["number"], each["outcome"]) for each in message["history"]] == [(1, "sent")]
    listed = (await client.get("/messages")).json()["data"]
    assert [each["id"] for each in listed] == [sent["id"]]
