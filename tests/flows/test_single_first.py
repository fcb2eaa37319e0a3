"""A password reset does not wait for a campaign."""

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from pydantic import SecretStr

from newsletter.accounts.project import Project
from newsletter.kit.broker import Broker, BrokerBell, make_broker
from newsletter.kit.jobs import Ring
from newsletter.settings import DeliverySettings, Settings, SMTPSettings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject, Rings
from tests.jobs import until, workers
from tests.smtp_sink import Sink, smtp_sink

__all__ = ["smtp_sink"]

BLOCK = 64
READERS = 10 * BLOCK
"""Ten batches: more than twice as many as a process takes in hand."""


@pytest.fixture
def settings(settings: Settings, smtp_sink: Sink) -> Settings:
    smtp_sink.delay = 0.02
    return settings.model_copy(
        update={
            "smtp": SMTPSettings(url=SecretStr(smtp_sink.url), connections=2),
            "delivery": DeliverySettings(batch_size=BLOCK, block_size=BLOCK),
        }
    )


@pytest.fixture
def broker(settings: Settings) -> Iterator[Broker]:
    made = make_broker(settings.broker_url)
    yield made
    made.close()


@pytest.fixture
def rings(broker: Broker) -> Iterator[Rings]:
    """A bell that workers hear."""
    bell = BrokerBell(broker)

    class Heard(Rings):
        def __call__(self, rings: Sequence[Ring]) -> None:
            bell(rings)

    yield Heard()
    bell.close()


@pytest.fixture
async def live(make_project: MakeProject) -> Project:
    return await make_project(is_test=False)


@pytest.fixture
async def live_client(
    make_client: MakeClient, live: Project, settings: Settings, broker: Broker
) -> AsyncIterator[Client]:
    client = await make_client(live)
    async with workers(settings, broker):
        yield client


async def test_a_single_mail_goes_out_in_the_middle_of_a_campaign(
    live_client: Client, smtp_sink: Sink
) -> None:
    list_id = (await live_client.data("POST", "/lists", 201, json={"name": "Readers"}))["id"]
    people = [{"email": f"reader{number}@example.com"} for number in range(READERS)]
    await live_client.data("POST", "/subscribers/batch", json={"list_id": list_id, "subscribers": people})
    body = {"list_id": list_id, "subject": "News", "html": "<p>News</p>", "send": True}
    campaign = await live_client.data("POST", "/campaigns", 201, json=body)
    await until(lambda: bool(smtp_sink.received))

    mail = {"to": "ada@example.com", "subject": "Your new password", "text": "Here it is."}
    mail["from"] = "news@acme.example.com"
    # From now on the campaign goes so slowly that a block takes longer than anything that a call waits for.
    smtp_sink.delay = 0.3
    before = len(smtp_sink.received)
    await live_client.data("POST", "/send", 202, json=mail)
    await until(lambda: bool(smtp_sink.to("ada@example.com")))

    behind = [one.recipient for one in smtp_sink.received].index("ada@example.com") - before
    assert behind < BLOCK, f"{behind} mails of the campaign went first"
    smtp_sink.delay = 0
    await live_client.data("POST", f"/campaigns/{campaign['id']}/cancel")
