"""An endpoint to call, a service that may call it, and things that happen."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit.db import JSONObject
from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from tests.client import Client
from tests.receiver import Receiver
from tests.webhooks.deliveries import WAITS

CAMPAIGN: JSONObject = {
    "campaign": {"id": "cmp_1", "subject": 'Zoë: 日本 \u2028 </b> &amp; \\ "', "emails_sent": 2099}
}
SUBSCRIBER: JSONObject = {"subscriber": {"id": "sub_1", "email": "zoë@example.com", "tags": [], "ok": True}}


@pytest.fixture
def webhook_settings() -> WebhookSettings:
    """Calls to the loopback are allowed, and time out soon; they are made again when a test says so."""
    return WebhookSettings(allowed_ranges=("127.0.0.0/8",), timeout=2, retry_seconds=WAITS)


@pytest.fixture
def settings(settings: Settings, webhook_settings: WebhookSettings) -> Settings:
    return settings.model_copy(update={"webhooks": webhook_settings})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


Register = Callable[..., Awaitable[Any]]


@pytest.fixture
def register(client: Client, receiver: Receiver) -> Register:
    """``await register(events=["campaign.sent"])``: an endpoint of the project at the receiver."""

    async def make(**fields: object) -> Any:
        return await client.data("POST", "/webhooks", 201, json={"url": receiver.url, **fields})

    return make


Happen = Callable[..., Awaitable[None]]


@pytest.fixture
def happen(runtime: Runtime, project: Project) -> Happen:
    """``await happen(EventType.campaign_sent)``: records the event, which waits to be fanned out."""

    async def record(kind: EventType = EventType.campaign_sent, times: int = 1) -> None:
        data = CAMPAIGN if kind.value.startswith("campaign.") else SUBSCRIBER
        async with runtime.db.unit_of_work() as session:
            await events.record_many(session, project.id, kind, [data] * times)

    return record
