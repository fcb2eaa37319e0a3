"""A campaign that pauses itself over bounces and complaints."""

import asyncio

import pytest
from sqlalchemy import select

from newsletter.delivery import brake, returns
from newsletter.delivery.brake import Health, Limits
from newsletter.delivery.models import Feedback, MailingStatus
from newsletter.events.models import Event
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from tests.client import Client
from tests.delivery.conftest import Launch, Sent
from tests.jobs import run_due
from tests.smtp_sink import Sink

AFTER = 8


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A campaign may pause itself after eight mails, above a quarter of bounces."""
    changes = {"pause_after_sends": AFTER, "pause_bounce_percent": 25, "pause_complaint_percent": 10}
    delivery = settings.delivery.model_copy(update=changes)
    return settings.model_copy(update={"delivery": delivery})


@pytest.mark.parametrize(
    ("health", "code"),
    [
        (Health(tried=499, sent=0, bounced=499, complained=0), None),
        (Health(tried=500, sent=475, bounced=25, complained=0), None),
        (Health(tried=500, sent=474, bounced=26, complained=0), "too_many_bounces"),
        (Health(tried=1000, sent=1000, bounced=0, complained=3), None),
        (Health(tried=1000, sent=1000, bounced=0, complained=4), "too_many_complaints"),
        (Health(tried=0, sent=0, bounced=0, complained=0), None),
    ],
)
def test_five_percent_of_bounces_and_three_in_a_thousand_complaints_are_too_many(
    health: Health, code: str | None
) -> None:
    verdict = brake.judge(health, Limits(after=500, bounce=0.05, complaint=0.003))
    assert (verdict[0] if verdict else None) == code


async def refuse(sink: Sink, numbers: range) -> None:
    for number in numbers:
        sink.refuse(f"u{number}@example.com", "550 5.1.1 no such user")


async def test_refused_addresses_pause_a_campaign_before_the_next_block(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    await refuse(smtp_sink, range(1, 41))
    sent = await launch(40)
    await run_due(runtime)
    path = f"/campaigns/{sent.id}"
    campaign = await live_client.data("GET", path)
    assert campaign["status"] == "paused"
    assert campaign["status_reason"]["code"] == "too_many_bounces"
    # Blocks of three, two of them on the wire.
    assert AFTER <= campaign["emails_failed"] <= AFTER + 2 * 3
    assert "mails bounced for good (100.0%)" in campaign["status_reason"]["message"]
    async with runtime.db.read() as session:
        told = (await session.scalars(select(Event.data).where(Event.type == "campaign.paused"))).all()
    assert [event["campaign"]["status_reason"] for event in told] == [campaign["status_reason"]]


async def test_a_campaign_whose_last_block_bounces_is_over_and_waits_for_nobody(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(9)
    for message in (await sent.messages())[-3:]:
        smtp_sink.refuse(message.address, "550 5.1.1 no such user")
    await run_due(runtime)
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["status_reason"]) == ("sent", None)
    assert (campaign["emails_sent"], campaign["emails_failed"], campaign["emails_pending"]) == (6, 3, 0)


async def test_who_resumes_in_spite_of_the_bounces_is_heeded_until_they_double(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(40)
    for message in (await sent.messages())[:3]:
        smtp_sink.refuse(message.address, "550 5.1.1 no such user")
    await run_due(runtime)
    path = f"/campaigns/{sent.id}"
    paused = await live_client.data("GET", path)
    assert paused["status"] == "paused"
    share = paused["emails_failed"] / (paused["emails_failed"] + paused["emails_sent"])
    resumed = await live_client.data("POST", f"{path}/resume", 200)
    assert (resumed["status"], resumed["status_reason"]) == ("sending", None)
    assert (await sent.mailing()).bounce_limit == pytest.approx(2 * share)
    await run_due(runtime)
    assert (await live_client.data("GET", path))["status"] == "sent"


async def test_mails_refused_for_other_reasons_pause_nothing(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    for number in range(1, 21):
        smtp_sink.refuse(f"u{number}@example.com", "550 5.7.1 not wanted here")
    sent = await launch(25)
    await run_due(runtime)
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["status"] == "sent"


@pytest.mark.parametrize(
    ("feedback", "code"),
    [(Feedback.bounced, "too_many_bounces"), (Feedback.complained, "too_many_complaints")],
)
async def test_what_comes_back_pauses_a_campaign_that_still_runs(
    feedback: Feedback, code: str, launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u12@example.com", "451 4.3.0 later please")
    sent = await launch(12)
    await run_due(runtime)
    await come_back(sent, feedback, range(1, 6))
    await come_back(sent, feedback, range(1, 6))
    assert sum(getattr(batch, feedback.value) for batch in await sent.batches()) == 5
    await run_due(runtime)
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["status_reason"]["code"]) == ("paused", code)
    assert (await sent.mailing()).status is MailingStatus.paused


async def test_what_comes_back_later_pauses_nothing(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(12)
    await run_due(runtime)
    await come_back(sent, Feedback.complained, range(1, 12))
    await run_due(runtime)
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["status"] == "sent"


async def test_a_job_that_runs_twice_pauses_once(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u12@example.com", "451 4.3.0 later please")
    sent = await launch(12)
    await run_due(runtime)
    await come_back(sent, Feedback.bounced, range(1, 8))
    mailing = await sent.mailing()

    async def look() -> bool:
        async with runtime.db.unit_of_work() as session:
            return await brake.apply(session, mailing.id, runtime.settings.delivery)

    assert sorted(await asyncio.gather(look(), look())) == [False, True]
    version = (await live_client.data("GET", f"/campaigns/{sent.id}"))["version"]
    await run_due(runtime)
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["version"] == version + 1


async def come_back(sent: Sent, feedback: Feedback, seqs: range) -> None:
    mailing = await sent.mailing()
    for seq in seqs:
        async with sent.runtime.db.unit_of_work() as session:
            await returns.apply_feedback(session, mailing.id, seq, feedback)
