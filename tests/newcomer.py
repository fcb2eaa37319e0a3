"""What a customer of another service's page has: a list, and a receiver of their webhooks."""

from collections.abc import AsyncIterator

import pytest

from newsletter.settings import Settings, WebhookSettings
from tests.client import Client
from tests.mailbox import subscribed_list
from tests.receiver import Receiver


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
