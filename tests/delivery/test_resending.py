"""Sending again, on request, what nobody knows the fate of."""

import asyncio
from collections import Counter

from sqlalchemy import select, update
from sqlalchemy.event import listens_for, remove

from newsletter.accounts import service as accounts
from newsletter.accounts.project import Project
from newsletter.campaigns import service as campaigns
from newsletter.delivery import batches, ledger, returns
from newsletter.delivery.models import Batch, Feedback, Mailing, MailingStatus, Message, Outcome
from newsletter.events.models import Event
from newsletter.kit.db import db_in
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.plans.models import Counter as Units
from newsletter.runtime import Runtime
from newsletter.tallies.models import Metric
from tests.client import Client
from tests.delivery.conftest import Launch, Sent
from tests.jobs import run_due
from tests.smtp_sink import Sink


async def lose(sent: Sent, batch: int, *seqs: int) -> None:
    """A worker died with the DATA of these on the wire; then all else goes out."""
    claimed = await batches.claim(sent.runtime.db, (await sent.batches())[batch].id, 30, 3, 10)
    assert claimed is not None
    async with sent.runtime.db.unit_of_work() as session:
        await ledger.open_block(session, claimed.books, list(seqs))
        gone = update(Batch).where(Batch.id == claimed.books.batch_id)
        await session.execute(gone.values(lease_until=db_in(-1)))


async def test_unknown_messages_go_out_again_once_and_the_books_balance_again(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(25)
    await lose(sent, 0, 2, 3)
    await lose(sent, 2, 24)
    await run_due(runtime)
    path = f"/campaigns/{sent.id}"
    before = await live_client.data("GET", path)
    assert (before["status"], before["emails_sent"], before["emails_unknown"]) == ("sent", 22, 3)

    again = await live_client.data("POST", f"{path}/resend-unknown", 200)
    assert (again["status"], again["emails_unknown"], again["emails_pending"]) == ("sending", 0, 3)
    assert (again["sent_at"], again["finished_at"]) == (None, None)
    await live_client.expect_error("POST", f"{path}/resend-unknown", 409, "cannot_resend")
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (25, 3)

    await run_due(runtime)
    after = await live_client.data("GET", path)
    assert (after["status"], after["emails_sent"], after["emails_unknown"]) == ("sent", 25, 0)
    assert Counter(smtp_sink.recipients) == {f"u{number}@example.com": 1 for number in range(1, 26)}
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (28, 0)
    await live_client.expect_error("POST", f"{path}/resend-unknown", 409, "nothing_unknown")
    async with runtime.db.read() as session:
        told = (await session.scalars(select(Event.data).where(Event.type == "campaign.sent"))).all()
    assert [event["campaign"]["emails_unknown"] for event in told] == [3, 0]


async def test_the_second_copy_has_the_message_id_of_the_first(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    """The server took the mail, and its answer was lost."""
    sent = await launch(2)
    await run_due(runtime)
    async with runtime.db.unit_of_work() as session:
        mailing = await session.get_one(Mailing, (await sent.mailing()).id)
        await session.execute(update(Batch).values(sent=1, unknown=1))
        mailing.sent, mailing.unknown = 1, 1
    await set_outcome(sent, 1, Outcome.unknown)
    await live_client.data("POST", f"/campaigns/{sent.id}/resend-unknown", 200)
    await run_due(runtime)
    first, second = (each.message_id for each in smtp_sink.received if each.recipient == "u1@example.com")
    assert first == second
    assert Counter(smtp_sink.recipients) == {"u1@example.com": 2, "u2@example.com": 1}


async def set_outcome(sent: Sent, seq: int, outcome: Outcome) -> None:
    async with sent.runtime.db.unit_of_work() as session:
        await session.execute(update(Message).where(Message.seq == seq).values(outcome=outcome))


async def test_two_requests_at_once_send_once(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(6)
    await lose(sent, 0, 1)
    await run_due(runtime)
    path = f"/campaigns/{sent.id}/resend-unknown"
    answers = await asyncio.gather(*(live_client.request("POST", path) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    await run_due(runtime)
    assert Counter(smtp_sink.recipients)["u1@example.com"] == 1
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (7, 0)


async def test_a_plan_without_mails_left_refuses_and_changes_nothing(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client, live: Project
) -> None:
    sent = await launch(4)
    await lose(sent, 0, 1, 2)
    await run_due(runtime)
    free = runtime.plans["free"].limits[Resource.mails]
    assert free is not None
    async with runtime.db.unit_of_work() as session:
        await accounts.change_plan(session, runtime.plans, live.account_id, "free")
        assert await plans.use(session, live.quota_owner_id, Resource.mails, free - 4 - 1, None)
    path = f"/campaigns/{sent.id}"
    await live_client.expect_error("POST", f"{path}/resend-unknown", 429, "quota_exceeded")
    campaign = await live_client.data("GET", path)
    assert (campaign["status"], campaign["emails_unknown"]) == ("sent", 2)
    assert (await sent.mailing()).status is MailingStatus.closed


async def test_what_is_sent_again_in_another_month_is_counted_there(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client, live: Project
) -> None:
    sent = await launch(4)
    await lose(sent, 0, 1, 2)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Mailing).values(quota_period="2025-01"))
        mine = Units.owner_id == live.quota_owner_id, Units.resource == "mails"
        await session.execute(update(Units).where(*mine).values(period="2025-01"))
    await run_due(runtime)
    await live_client.data("POST", f"/campaigns/{sent.id}/resend-unknown", 200)
    await run_due(runtime)
    async with runtime.db.read() as session:
        rows = await session.execute(
            select(Units.period, Units.used, Units.reserved).where(*mine).order_by(Units.period)
        )
    assert [tuple(row) for row in rows] == [("2025-01", 4, 0), (plans.period_of(Resource.mails), 2, 0)]


async def test_what_proved_to_be_sent_is_not_sent_again(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(4)
    await lose(sent, 0, 1, 2)
    await run_due(runtime)
    mailing = await sent.mailing()
    async with runtime.db.unit_of_work() as session:
        assert await returns.apply_feedback(session, mailing.id, 1, Feedback.delivered)
    await live_client.data("POST", f"/campaigns/{sent.id}/resend-unknown", 200)
    await run_due(runtime)
    assert sorted(smtp_sink.recipients) == ["u2@example.com", "u3@example.com", "u4@example.com"]
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_sent"], campaign["emails_unknown"]) == ("sent", 4, 0)
    assert await sent.tallied() == {Metric.sent: 4, Metric.delivered: 1}


async def test_proof_takes_the_batch_before_its_message_as_a_resend_does(
    launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    """In one order neither can hold what the other waits for."""
    sent = await launch(4)
    await lose(sent, 0, 1)
    await run_due(runtime)
    mailing = await sent.mailing()
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    engine = runtime.db.engine.sync_engine
    listens_for(engine, "before_cursor_execute")(note)
    try:
        async with runtime.db.unit_of_work() as session:
            assert await returns.apply_feedback(session, mailing.id, 1, Feedback.delivered)
    finally:
        remove(engine, "before_cursor_execute", note)
    batch, message = (
        next(place for place, statement in enumerate(said) if words in statement)
        for words in ("FROM batches", "UPDATE messages")
    )
    assert batch < message


async def test_a_late_word_of_the_first_closing_does_not_end_the_second_sending(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(4)
    await lose(sent, 0, 1)
    await run_due(runtime)
    await live_client.data("POST", f"/campaigns/{sent.id}/resend-unknown", 200)
    async with runtime.db.unit_of_work() as session:
        await campaigns.on_mailing_closed(session, (await sent.mailing()).id)
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["status"] == "sending"


async def test_a_cancelled_campaign_sends_nothing_again(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(4)
    await lose(sent, 0, 1)
    await live_client.data("POST", f"/campaigns/{sent.id}/cancel", 200)
    await run_due(runtime)
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["emails_unknown"] == 1
    await live_client.expect_error("POST", f"/campaigns/{sent.id}/resend-unknown", 409, "cannot_resend")
