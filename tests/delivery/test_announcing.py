"""What becomes of each message is told to who listens, in one shape."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from sqlalchemy import select

from newsletter.accounts.project import Project
from newsletter.delivery import queries as delivery
from newsletter.delivery.models import Feedback
from newsletter.events.models import Event
from newsletter.events.vocabulary import EventType
from newsletter.feedback import service as feedback
from newsletter.runtime import Runtime
from newsletter.settings import BounceSettings
from newsletter.webhooks import samples
from tests.client import Client
from tests.delivery.conftest import Launch, Sent
from tests.jobs import make_due, run_due
from tests.smtp_sink import Sink

Logged = Callable[[], Awaitable[list[tuple[str, dict[str, Any]]]]]


@pytest.fixture
def logged(runtime: Runtime, live: Project) -> Logged:
    """The events of the project's messages, as they happened."""

    async def read() -> list[tuple[str, dict[str, Any]]]:
        async with runtime.db.read() as session:
            mine = select(Event.type, Event.data).where(
                Event.project_id == live.id, Event.type.startswith("message.")
            )
            return [(kind, data) for kind, data in await session.execute(mine.order_by(Event.id))]

    return read


@pytest.fixture
async def listening(live_client: Client) -> str:
    """An endpoint that wants all, and that nobody can reach."""
    made = await live_client.data("POST", "/webhooks", 201, json={"url": "http://hooks.example.com/"})
    return str(made["id"])


def of_sample(kind: str) -> list[tuple[str, list[str]]]:
    return shape(cast(Any, samples.data(EventType(kind))))


def shape(data: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Whatever order the database keeps names in."""
    return sorted((name, sorted(fields)) for name, fields in data.items())


async def refuse_some(sink: Sink, launch: Launch, client: Client) -> Sent:
    """To four readers: one is refused for now, one for good, one is suppressed meanwhile."""
    sink.refuse("u2@example.com", "451 4.7.1 later please", times=1)
    sink.refuse("u3@example.com", "550 5.7.1 not wanted here")
    sent = await launch(4)
    await client.data("POST", "/suppressions", 201, json={"email": "u4@example.com", "reason": "manual"})
    return sent


async def test_sending_is_told_message_by_message_to_who_listens(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client, logged: Logged, listening: str
) -> None:
    sent = await refuse_some(smtp_sink, launch, live_client)
    await run_due(runtime, but="webhooks.deliver")
    await sent.let_time_pass()
    await make_due(runtime)
    await run_due(runtime, but="webhooks.deliver")

    told = await logged()
    assert Counter((kind, data["message"]["to"][:2]) for kind, data in told) == {
        ("message.accepted", "u1"): 1,
        ("message.deferred", "u2"): 1,
        ("message.accepted", "u2"): 1,
        ("message.failed", "u3"): 1,
        ("message.suppressed", "u4"): 1,
    }
    for kind, data in told:
        assert shape(data) == of_sample(kind)
        assert data["message"]["campaign_id"] == sent.id
    by_kind = dict(told)
    assert by_kind["message.failed"]["message"]["status"] == "failed"
    assert by_kind["message.failed"]["failure"] == {
        "reason": "550 5.7.1 not wanted here",
        "code": 550,
        "enhanced_status": "5.7.1",
    }
    assert by_kind["message.deferred"]["deferral"]["code"] == 451


async def test_of_sending_nothing_is_written_where_nobody_listens(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client, logged: Logged
) -> None:
    body = {"url": "http://hooks.example.com/", "events": ["message.failed", "campaign.sent"]}
    endpoint = await live_client.data("POST", "/webhooks", 201, json=body)
    await refuse_some(smtp_sink, launch, live_client)
    await run_due(runtime, but="webhooks.deliver")
    assert [kind for kind, _ in await logged()] == ["message.failed"]

    # Neither an endpoint that is switched off nor one that is deleted listens.
    await live_client.data("PATCH", f"/webhooks/{endpoint['id']}", json={"is_active": False})
    smtp_sink.refuse("u1@example.com", "550 5.7.1 not wanted here")
    await launch(1)
    await run_due(runtime, but="webhooks.deliver")
    assert len(await logged()) == 1


async def test_messages_that_expire_have_failed(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, logged: Logged, listening: str
) -> None:
    smtp_sink.refuse("u1@example.com", "451 4.7.1 later please")
    sent = await launch(1)
    await run_due(runtime, but="webhooks.deliver")
    await sent.expire()
    await make_due(runtime)
    await run_due(runtime, but="webhooks.deliver")
    assert [kind for kind, _ in await logged()] == ["message.deferred", "message.failed"]
    assert (await logged())[-1][1]["failure"]["reason"] == "expired"


async def test_what_comes_back_is_always_in_the_log_and_once(
    launch: Launch, runtime: Runtime, logged: Logged
) -> None:
    sent = await launch(1)
    await run_due(runtime)
    [message] = await sent.messages()
    message_id = delivery.public_id(message.mailing_id, message.seq)
    for what in (
        Feedback.delivered,
        Feedback.bounced,
        Feedback.delivered,
        Feedback.bounced,
        Feedback.complained,
    ):
        async with runtime.db.unit_of_work() as session:
            await feedback.apply(session, BounceSettings(), message_id, what, "smtp")

    told = await logged()
    assert [kind for kind, _ in told] == ["message.delivered", "message.bounced", "message.complained"]
    for kind, data in told:
        assert shape(data) == of_sample(kind)
        assert data["message"]["id"] == message_id
        assert data["message"]["status"] == kind.removeprefix("message.")
    assert told[1][1]["bounce"]["kind"] == "hard"


async def test_who_was_erased_is_in_no_event_of_a_message(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client, logged: Logged, listening: str
) -> None:
    smtp_sink.refuse("u1@example.com", "550 5.7.1 <u1@example.com> is not wanted here")
    await launch(2)
    await run_due(runtime, but="webhooks.deliver")
    assert "u1@" in str(await logged())
    [person] = await live_client.data("GET", "/subscribers", params={"search": "u1@"})
    await live_client.data("POST", f"/subscribers/{person['id']}/erase")
    await run_due(runtime, but="webhooks.deliver")

    told = await logged()
    assert "u1@" not in str(told)
    assert person["id"] not in str(told)
    assert "u2@" in str(told)
    assert {kind for kind, _ in told} == {"message.failed", "message.accepted"}
