"""Whole campaigns over real SMTP servers: routed, failed over, limited, and in the books."""

import pytest
from sqlalchemy import select

from newsletter.accounts.project import Project
from newsletter.delivery.models import Message, Outcome
from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.settings import DeliverySettings, Settings
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.routing.conftest import Connect
from tests.smtp_sink import Sink


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"delivery": DeliverySettings(batch_size=20, block_size=8)})


async def launch(client: Client, count: int, domain: str = "example.org") -> str:
    """A campaign to u1@…, u2@… whose jobs wait to be run."""
    made = await client.data("POST", "/lists", 201, json={"name": "Readers"})
    rows = [{"email": f"u{number}@{domain}"} for number in range(1, count + 1)]
    body = {"list_id": made["id"], "subscribers": rows}
    await client.data("POST", "/subscribers/batch", 200, json=body)
    body = {"list_id": made["id"], "subject": "Hi", "html": "<p>Hello</p>", "send": True}
    campaign = await client.data("POST", "/campaigns", 201, json=body)
    return str(campaign["id"])


async def messages(runtime: Runtime) -> list[Message]:
    async with runtime.db.read() as session:
        return list(await session.scalars(select(Message).order_by(Message.seq)))


async def test_a_project_with_a_server_of_its_own_needs_none_of_the_installation(
    live_client: Client, runtime: Runtime, connect: Connect, smtp_sink: Sink
) -> None:
    server = await connect(smtp_sink)
    campaign = await launch(live_client, 20)
    await run_due(runtime)
    assert sorted(smtp_sink.recipients) == sorted(f"u{n}@example.org" for n in range(1, 21))
    done = await live_client.data("GET", f"/campaigns/{campaign}")
    assert (done["status"], done["emails_sent"]) == ("sent", 20)
    server_id = ids.private("srv", server["id"])
    assert {row.server_id for row in await messages(runtime)} == {server_id}


async def test_a_server_for_other_domains_does_not_make_a_launch_possible(
    live_client: Client, connect: Connect, smtp_sink: Sink
) -> None:
    await connect(smtp_sink, from_domains=["example.net"])
    made = await live_client.data("POST", "/lists", 201, json={"name": "Readers"})
    body = {"list_id": made["id"], "subject": "Hi", "html": "<p>Hello</p>", "send": True}
    await live_client.expect_error("POST", "/campaigns", 409, "sending_server_missing", json=body)


async def test_mail_that_one_server_refuses_for_now_goes_out_by_another_at_its_first_try(
    live_client: Client, runtime: Runtime, connect: Connect, smtp_sink: Sink
) -> None:
    with Sink() as second:
        for number, sink in enumerate((smtp_sink, second), start=1):
            server = await connect(sink, name=f"relay {number}")
            body = {"server_id": server["id"], "priority": number}
            await live_client.data("POST", "/routing/rules", 201, json=body)
        for n in (3, 7):
            smtp_sink.refuse(f"u{n}@example.org", "450 4.3.2 not now")
        campaign = await launch(live_client, 20)
        await run_due(runtime)
        assert sorted(second.recipients) == ["u3@example.org", "u7@example.org"]
    assert len(smtp_sink.recipients) == 18
    done = await live_client.data("GET", f"/campaigns/{campaign}")
    assert (done["status"], done["emails_sent"]) == ("sent", 20)
    assert {row.attempts for row in await messages(runtime)} == {1}


async def test_a_server_that_is_gone_is_made_up_for_by_the_next(
    live_client: Client, runtime: Runtime, connect: Connect, smtp_sink: Sink
) -> None:
    with Sink() as gone:
        servers = [await connect(sink) for sink in (gone, smtp_sink)]
    for number, server in enumerate(servers, start=1):
        body = {"server_id": server["id"], "priority": number}
        await live_client.data("POST", "/routing/rules", 201, json=body)
    await launch(live_client, 60)
    await run_due(runtime)
    assert len(set(smtp_sink.recipients)) == len(smtp_sink.recipients) == 60
    assert {row.attempts for row in await messages(runtime)} == {1}
    # After three blocks nobody tried it any more.
    shown = await live_client.data("GET", f"/sending-servers/{servers[0]['id']}")
    assert shown["breaker"]["state"] in {"open", "half_open"}


async def test_a_quota_makes_mail_wait_without_using_up_its_attempts(
    live_client: Client, runtime: Runtime, connect: Connect, smtp_sink: Sink
) -> None:
    server = await connect(smtp_sink, quota_per_hour=12)
    campaign = await launch(live_client, 20)
    await run_due(runtime)
    assert len(smtp_sink.recipients) == 12
    waiting = [row for row in await messages(runtime) if row.outcome is Outcome.pending]
    assert len(waiting) == 8
    assert {row.attempts for row in waiting} == {0}
    assert all(row.next_attempt_at is not None for row in waiting)
    assert (await live_client.data("GET", f"/campaigns/{campaign}"))["status"] == "sending"

    await live_client.data("PATCH", f"/sending-servers/{server['id']}", json={"quota_per_hour": None})
    await make_messages_due(runtime)
    await make_due(runtime)
    await run_due(runtime)
    assert len(set(smtp_sink.recipients)) == len(smtp_sink.recipients) == 20
    assert {row.attempts for row in await messages(runtime)} == {1}
    assert (await live_client.data("GET", f"/campaigns/{campaign}"))["status"] == "sent"


async def make_messages_due(runtime: Runtime) -> None:
    async with runtime.db.unit_of_work() as session:
        for row in await session.scalars(select(Message).where(Message.next_attempt_at.is_not(None))):
            row.next_attempt_at = row.next_attempt_at and row.next_attempt_at.replace(year=2020)


async def test_mail_of_a_test_project_reaches_no_server_whatever_is_configured(
    client: Client, project: Project, runtime: Runtime, smtp_sink: Sink
) -> None:
    body = {
        "name": "relay",
        "type": "smtp",
        "config": {"host": "127.0.0.1", "port": smtp_sink.port, "tls": "offered"},
    }
    await client.data("POST", "/sending-servers", 201, json=body)
    await launch(client, 5)
    await run_due(runtime)
    assert smtp_sink.connections == 0
    assert len(await client.data("GET", "/sandbox/messages")) == 5


async def test_the_messages_of_a_connection_are_counted(
    live_client: Client, runtime: Runtime, connect: Connect, smtp_sink: Sink
) -> None:
    await connect(smtp_sink, max_connections=1, messages_per_connection=5)
    await launch(live_client, 20)
    await run_due(runtime)
    per_connection = {one.connection for one in smtp_sink.received}
    assert len(per_connection) == 4
    most = max(sum(one.connection == each for one in smtp_sink.received) for each in per_connection)
    assert most == 5
