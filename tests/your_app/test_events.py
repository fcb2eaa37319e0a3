"""The events that its example subscribes to, each as a receiver gets it, under its name here."""

from typing import Any

import pytest

from newsletter.runtime import Runtime
from tests.client import Client
from tests.newcomer import Told, read_mail
from tests.receiver import Receiver
from tests.your_app.conftest import is_genuine

EMAIL: dict[str, Any] = {
    "from": "you@yourdomain.example.com",
    "to": "user@example.com",
    "subject": "Welcome!",
    "html": '<p>Welcome <a href="https://yourdomain.example.com">aboard</a>.</p>',
    "tracking": {"opens": True, "clicks": True},
}
EVENTS = ["message.accepted", "message.opened", "message.clicked", "message.bounced"]


@pytest.fixture
async def told(client: Client, runtime: Runtime, receiver: Receiver) -> Told:
    """What an endpoint for the four events hears, and has checked by the page's own code."""
    body = {"url": receiver.url, "events": EVENTS, "signature_style": "hex"}
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    return Told(runtime, receiver, lambda call: is_genuine(call, endpoint["secret"]))


async def test_email_sent(client: Client, told: Told) -> None:
    sent = await client.data("POST", "/send", 202, json=EMAIL)
    [event] = await told.all()
    assert (event["type"], event["data"]["message"]["id"]) == ("message.accepted", sent["id"])


async def test_email_opened(client: Client, told: Told) -> None:
    await client.data("POST", "/send", 202, json=EMAIL)
    await told.all()
    await read_mail(client, told.runtime, EMAIL["to"], opens=1)
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["message"]["to"]) == ("message.opened", EMAIL["to"])


async def test_email_clicked(client: Client, told: Told) -> None:
    await client.data("POST", "/send", 202, json=EMAIL)
    await told.all()
    await read_mail(client, told.runtime, EMAIL["to"], clicks=1)
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["click"]["url"]) == (
        "message.clicked",
        "https://yourdomain.example.com",
    )


async def test_email_bounced(client: Client, told: Told) -> None:
    await client.data("POST", "/send", 202, json=EMAIL | {"to": "bounce@sandbox.test"})
    event = (await told.all())[-1]
    assert (event["type"], event["data"]["message"]["to"]) == ("message.bounced", "bounce@sandbox.test")
