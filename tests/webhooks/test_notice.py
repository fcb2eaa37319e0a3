"""Who is told that an endpoint was switched off: the account's owner, by one mail that really goes out."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from newsletter.kit import clock, jobs
from newsletter.runtime import Runtime
from newsletter.settings import Settings, SMTPSettings
from newsletter.webhooks import notice
from newsletter.webhooks.models import Endpoint
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import make_due, run_due
from tests.receiver import Receiver, Reply
from tests.smtp_sink import Sink, smtp_sink

__all__ = ["smtp_sink"]

OWNER = "news@acme.example.com"


@pytest.fixture
def has_server() -> bool:
    return True


@pytest.fixture
def settings(settings: Settings, smtp_sink: Sink, has_server: bool) -> Settings:
    url = SecretStr(smtp_sink.url) if has_server else None
    return settings.model_copy(update={"smtp": SMTPSettings(url=url)})


@pytest.fixture
async def live(make_client: MakeClient, make_project: MakeProject) -> Client:
    return await make_client(await make_project(is_test=False))


async def subscribe(client: Client, *emails: str) -> None:
    """Something that an endpoint is told of."""
    made = await client.data("POST", "/lists", 201, json={"name": "News"})
    for email in emails:
        body = {"list_id": made["id"], "email": email}
        await client.data("POST", "/subscribers", 201, json=body)


async def registered(client: Client, receiver: Receiver, query: str = "") -> str:
    """The path of an endpoint that is told of new subscribers."""
    body = {"url": receiver.url + query, "events": ["subscriber.created"]}
    made = await client.data("POST", "/webhooks", 201, json=body)
    return f"/webhooks/{made['id']}"


async def test_gone_is_told_to_the_owner_once(
    live: Client, runtime: Runtime, receiver: Receiver, smtp_sink: Sink
) -> None:
    path = await registered(live, receiver, "/{{x}}?password=hush")
    receiver.otherwise = Reply(410)
    await subscribe(live, "ada@example.com", "grace@example.com")
    await run_due(runtime)
    assert smtp_sink.recipients == [OWNER]
    mail = smtp_sink.received[0].parsed
    assert mail["Subject"] == f"A webhook endpoint was switched off: 127.0.0.1:{receiver.port}"
    assert (mail["To"], OWNER in mail["From"]) == (OWNER, True)
    text = mail.get_content()
    assert "410" in text
    assert path.removeprefix("/webhooks/") in text
    assert "hush" not in text

    shown = await live.data("GET", path)
    assert (shown["disabled_reason"], shown["owner_untold_code"]) == ("gone", None)
    assert shown["disabled_at"] is not None
    message = await live.data("GET", f"/messages/{shown['owner_message_id']}")
    assert (message["status"], message["to"], message["tags"]) == ("sent", OWNER, [notice.TAG])

    # Neither what happens later nor a second run of the job tells it again.
    await subscribe(live, "alan@example.com")
    endpoint_id = await _only_endpoint(runtime)
    async with runtime.db.unit_of_work() as session:
        await jobs.enqueue(session, "webhooks.tell_owner", {"endpoint_id": str(endpoint_id)})
    await make_due(runtime)
    await run_due(runtime)
    assert smtp_sink.recipients == [OWNER]


async def test_days_of_failures_are_told_and_again_when_it_is_switched_off_again(
    live: Client, runtime: Runtime, receiver: Receiver, smtp_sink: Sink
) -> None:
    path = await registered(live, receiver)
    receiver.otherwise = Reply(500)
    hours = timedelta(hours=runtime.settings.webhooks.notice_hours)
    for turn in (1, 2):
        await subscribe(live, f"ada{turn}@example.com")
        await run_due(runtime)
        days = timedelta(days=runtime.settings.webhooks.disable_after_days)
        async with runtime.db.unit_of_work() as session:
            since = {"failing_since": clock.now() - days, "owner_told_at": Endpoint.owner_told_at}
            if turn == 2:
                since["owner_told_at"] = clock.now() - hours
            await session.execute(update(Endpoint).values(since))
        await make_due(runtime)
        await run_due(runtime)
        assert smtp_sink.recipients == [OWNER] * turn
        assert "acknowledged none of its calls" in smtp_sink.received[-1].parsed.get_content()
        shown: Any = await live.data("PATCH", path, json={"is_active": True})
        assert (shown["disabled_at"], shown["owner_message_id"]) == (None, None)


async def test_who_switches_an_endpoint_on_again_and_again_gets_one_mail(
    live: Client, runtime: Runtime, receiver: Receiver, smtp_sink: Sink
) -> None:
    path = await registered(live, receiver)
    receiver.otherwise = Reply(410)
    for turn in range(3):
        await subscribe(live, f"ada{turn}@example.com")
        await run_due(runtime)
        shown = await live.data("GET", path)
        assert shown["disabled_reason"] == "gone"
        assert shown["owner_untold_code"] == ("told_recently" if turn else None)
        await live.data("PATCH", path, json={"is_active": True})
    assert smtp_sink.recipients == [OWNER]


async def test_who_switches_an_endpoint_off_is_not_told_so(
    live: Client, runtime: Runtime, receiver: Receiver, smtp_sink: Sink
) -> None:
    path = await registered(live, receiver)
    await live.data("PATCH", path, json={"is_active": False})
    async with runtime.db.unit_of_work() as session:
        payload = {"endpoint_id": str(await _only_endpoint(runtime))}
        await jobs.enqueue(session, "webhooks.tell_owner", payload)
    await run_due(runtime)
    assert smtp_sink.recipients == []


@pytest.mark.parametrize("has_server", [False])
async def test_without_a_sending_server_the_endpoint_says_what_is_missing(
    live: Client, runtime: Runtime, receiver: Receiver
) -> None:
    path = await registered(live, receiver)
    receiver.otherwise = Reply(410)
    await subscribe(live, "ada@example.com")
    await run_due(runtime)
    shown = await live.data("GET", path)
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
    assert (shown["owner_message_id"], shown["owner_untold_code"]) == (None, "sending_server_missing")
    assert await live.data("GET", "/messages") == []


async def _only_endpoint(runtime: Runtime) -> Any:
    async with runtime.db.read() as session:
        return (await session.scalars(select(Endpoint.id))).one()
