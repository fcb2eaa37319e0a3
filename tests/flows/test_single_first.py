"""A password reset waits for no campaign and for no call to many, and no call to many holds campaigns up."""

import asyncio
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
CONNECTIONS = 2
A_DOZEN = 12
MAIL = {"from": "news@acme.example.com", "subject": "Your order", "text": "It is on its way."}
RESET = MAIL | {"to": "ada@example.com", "subject": "Your new password", "text": "Here it is."}


@pytest.fixture
def settings(settings: Settings, smtp_sink: Sink) -> Settings:
    smtp_sink.delay = 0.02
    return settings.model_copy(
        update={
            "smtp": SMTPSettings(url=SecretStr(smtp_sink.url), connections=CONNECTIONS),
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


async def begin_campaign(client: Client, sink: Sink) -> str:
    """To ``reader0@…`` and on; returns its id when the first mails of it are out."""
    list_id = (await client.data("POST", "/lists", 201, json={"name": "Readers"}))["id"]
    people = [{"email": f"reader{number}@example.com"} for number in range(READERS)]
    await client.data("POST", "/subscribers/batch", json={"list_id": list_id, "subscribers": people})
    body = {"list_id": list_id, "subject": "News", "html": "<p>News</p>", "send": True}
    campaign = await client.data("POST", "/campaigns", 201, json=body)
    await until(lambda: bool(sink.received))
    return str(campaign["id"])


async def test_a_single_mail_goes_out_in_the_middle_of_a_campaign(
    live_client: Client, smtp_sink: Sink
) -> None:
    campaign_id = await begin_campaign(live_client, smtp_sink)
    # From now on the campaign goes so slowly that a block takes longer than anything that a call waits for.
    smtp_sink.delay = 0.3
    before = len(smtp_sink.received)
    await live_client.data("POST", "/send", 202, json=RESET)
    await until(lambda: bool(smtp_sink.to("ada@example.com")))

    behind = [one.recipient for one in smtp_sink.received].index("ada@example.com") - before
    assert behind < BLOCK, f"{behind} mails of the campaign went first"
    smtp_sink.delay = 0
    await live_client.data("POST", f"/campaigns/{campaign_id}/cancel")


async def test_a_single_mail_goes_out_in_the_middle_of_a_call_to_many_of_another_project(
    live_client: Client, make_client: MakeClient, make_project: MakeProject, smtp_sink: Sink
) -> None:
    many = [MAIL | {"to": f"reader{number}@example.com"} for number in range(READERS)]
    await live_client.data("POST", "/send/bulk", 202, json={"messages": many})
    await until(lambda: bool(smtp_sink.received))

    other = await make_client(await make_project(name="Other", is_test=False))
    # The server takes nothing until the reset stands at its door, past all that waits for queue and lanes.
    smtp_sink.is_held = True
    before = len(smtp_sink.received)
    sent = await other.data("POST", "/send", 202, json=RESET)
    async with asyncio.timeout(60):
        while (await other.data("GET", f"/messages/{sent['id']}"))["status"] != "sending":
            await asyncio.sleep(0.1)
    smtp_sink.is_held = False
    await until(lambda: bool(smtp_sink.to("ada@example.com")))

    behind = [one.recipient for one in smtp_sink.received].index("ada@example.com") - before
    assert behind < A_DOZEN, f"{behind} mails of the call went first"
    smtp_sink.delay = 0


async def test_a_campaign_and_a_marketing_call_go_on_side_by_side(
    live_client: Client, smtp_sink: Sink
) -> None:
    campaign_id = await begin_campaign(live_client, smtp_sink)
    # Six mailings, each of half a block: before the server, the call of fewest messages goes first.
    many = [
        MAIL
        | {"to": f"buyer{number}@example.com", "tags": [f"group{number % 6}"]}
        | {"routing": {"purpose": "marketing"}}
        for number in range(3 * BLOCK)
    ]
    before = len(smtp_sink.received)
    await live_client.data("POST", "/send/bulk", 202, json={"messages": many})

    def bought() -> int:
        return sum(one.recipient.startswith("buyer") for one in smtp_sink.received)

    await until(lambda: bought() == len(many))
    of_campaign = len(smtp_sink.received) - before - len(many)
    assert of_campaign >= len(many), f"the campaign had {of_campaign} mails beside {len(many)} of the call"
    assert of_campaign < READERS - before, "the call had to wait for the end of the campaign"
    smtp_sink.delay = 0
    await live_client.data("POST", f"/campaigns/{campaign_id}/cancel")
