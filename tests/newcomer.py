"""What a customer of another service's page has: a list, readers, and a receiver of their webhooks."""

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest

from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import mail_to, subscribed_list
from tests.receiver import Received, Receiver

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Calls to the loopback are allowed, and time out soon."""
    webhooks = WebhookSettings(allowed_ranges=("127.0.0.0/8",), timeout=2)
    return settings.model_copy(update={"webhooks": webhooks})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


@pytest.fixture
async def list_id(client: Client) -> str:
    return await subscribed_list(client, "Ada", "Grace")


@dataclass(frozen=True, slots=True)
class Told:
    """What a receiver was told, once it has checked each call as the page says."""

    runtime: Runtime
    receiver: Receiver
    is_genuine: Callable[[Received], bool]

    async def all(self) -> list[Any]:
        """Every event so far, in the order in which they came; those of a group one by one."""
        await run_due(self.runtime)
        assert all(self.is_genuine(call) for call in self.receiver.calls)
        bodies = [json.loads(call.body) for call in self.receiver.calls]
        return [event for body in bodies for event in body.get("events", [body])]


async def read_mail(
    client: Client, runtime: Runtime, address: str, *, opens: int = 0, clicks: int = 0
) -> None:
    """As a person does, on a phone: fetches the picture of their newest mail, and follows its first link."""
    page = (await mail_to(client, address))["html"]
    link, pixel = re.search('href="([^"]*)"', page), re.search('<img src="([^"]*)"', page)
    assert link is not None
    assert pixel is not None
    for url in [pixel[1]] * opens + [link[1]] * clicks:
        await client.get(unescape(url), headers={"User-Agent": PHONE, "Authorization": ""})
    await runtime.sightings.flush()
