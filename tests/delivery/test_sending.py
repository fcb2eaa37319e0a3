"""A batch on its way: what each answer of the server does to the books."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from sqlalchemy import update

from newsletter.accounts.project import Project
from newsletter.audience.models import Status, Subscriber
from newsletter.delivery import batches, rounds, sending
from newsletter.delivery.ledger import Books, Decision
from newsletter.delivery.models import Outcome
from newsletter.delivery.rounds import Gate, Round
from newsletter.delivery.sending import Parts, _BatchRun
from newsletter.kit.db import Database
from newsletter.kit.jobs import Again
from newsletter.runtime import Runtime
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import project_scope
from tests.client import Client
from tests.delivery.conftest import Launch
from tests.jobs import make_due, run_due
from tests.smtp_sink import Sink


async def test_each_recipient_gets_one_personal_mail(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(25)
    await run_due(runtime)

    assert Counter(smtp_sink.recipients) == {f"u{n}@example.com": 1 for n in range(1, 26)}
    for received in smtp_sink.received:
        number = received.recipient.partition("@")[0].removeprefix("u")
        mail = received.parsed
        assert mail["To"] == received.recipient
        assert mail["Subject"] == f"Hi Name{number}"
        body = mail.get_body(("html",))
        assert body is not None
        assert f"Hello Name{number}<" in body.get_content()
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert mail["List-Unsubscribe"].startswith("<http://news.test/u/")
        assert all(mail[name] for name in ("List-Id", "Feedback-ID", "Date", "Message-ID"))
    assert len({received.message_id for received in smtp_sink.received}) == 25
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_sent"]) == ("sent", 25)


async def test_an_audience_is_cut_into_batches_without_gap_or_overlap(launch: Launch) -> None:
    sent = await launch(25)
    assert [(batch.first_seq, batch.last_seq) for batch in await sent.batches()] == [
        (1, 10),
        (11, 20),
        (21, 25),
    ]
    assert [message.seq for message in await sent.messages()] == list(range(1, 26))


async def test_an_empty_audience_is_sent_with_nothing(
    launch: Launch, runtime: Runtime, live_client: Client
) -> None:
    sent = await launch(0)
    await run_due(runtime)
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["recipient_count"]) == ("sent", 0)


async def test_a_permanent_refusal_fails_that_recipient_alone(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u2@example.com", "550 5.7.1 not wanted here")
    sent = await launch(5)
    await run_due(runtime)
    assert (await sent.outcomes())["u2"] is Outcome.failed
    assert (await sent.messages())[1].reason == "550 5.7.1 not wanted here"
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_sent"], campaign["emails_failed"]) == ("sent", 4, 1)
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (4, 0)


async def test_a_value_that_no_header_may_hold_fails_that_recipient_alone(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(4, more=["=?x?q?y?=@example.com"])
    await run_due(runtime)

    assert smtp_sink.recipients == [f"u{number}@example.com" for number in (1, 2, 3, 4)]
    [failed] = [message for message in await sent.messages() if message.outcome is Outcome.failed]
    assert (failed.address, failed.reason) == (
        "=?x?q?y?=@example.com",
        "cannot be written: To: not a valid address",
    )
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_sent"], campaign["emails_failed"]) == ("sent", 4, 1)


async def test_a_sender_and_readers_of_every_script_are_no_obstacle(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(1, more=["a@例え.example"], from_email="news@münchen.example")
    await run_due(runtime)

    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_sent"]) == ("sent", 2)
    for received in smtp_sink.received:
        assert received.sender == "news@xn--mnchen-3ya.example"
        assert received.parsed["From"] == "Acme <news@xn--mnchen-3ya.example>"
        assert received.message_id.endswith("@xn--mnchen-3ya.example>")


async def test_a_refused_address_is_suppressed_and_its_subscriber_bounces(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u3@example.com", "550 5.1.1 no such user")
    sent = await launch(5)
    await run_due(runtime)
    found = await live_client.request("GET", "/subscribers", params={"search": "u3@"})
    assert [row["status"] for row in found.json()["data"]] == ["bounced"]
    again = {"list_id": sent.list_id, "subject": "Again", "html": "<p>x</p>", "send": True}
    second = await live_client.data("POST", "/campaigns", 201, json=again)
    assert second["recipient_count"] == 4


async def test_a_temporary_refusal_is_tried_again_with_the_same_message_id(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u4@example.com", "451 4.3.0 later please", times=1)
    sent = await launch(5)
    await run_due(runtime)
    assert (await sent.outcomes())["u4"] is Outcome.deferred
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["status"] == "sending"

    await sent.let_time_pass()
    await make_due(runtime)
    await run_due(runtime)
    assert Counter(smtp_sink.recipients)["u4@example.com"] == 1
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["emails_sent"] == 5
    assert [message.attempts for message in await sent.messages()] == [1, 1, 1, 2, 1]


async def test_a_campaign_whose_every_recipient_fails_has_failed(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    for number in range(1, 4):
        smtp_sink.refuse(f"u{number}@example.com", "554 5.7.1 blocked")
    sent = await launch(3)
    await run_due(runtime)
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert campaign["status"] == "failed"
    assert campaign["status_reason"] == {"code": "all_failed", "message": "554 5.7.1 blocked"}


async def test_a_server_that_is_away_costs_no_message_an_attempt(
    launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    sent = await launch(25)
    smtp_sink.stop()
    await run_due(runtime)
    assert {message.outcome for message in await sent.messages()} == {Outcome.pending}
    assert {message.attempts for message in await sent.messages()} == {0}
    assert all(batch.outages for batch in await sent.batches())

    smtp_sink.start()
    await make_due(runtime)
    await run_due(runtime)
    assert set((await sent.outcomes()).values()) == {Outcome.sent}
    assert len(smtp_sink.recipients) == 25


async def test_who_unsubscribes_before_their_block_gets_nothing(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(5)
    response = await live_client.request("DELETE", "/subscribers/u5@example.com")
    assert response.status_code == 204
    await run_due(runtime)
    assert "u5@example.com" not in smtp_sink.recipients
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    decided = campaign["emails_suppressed"] + campaign["emails_skipped"]
    assert (campaign["recipient_count"], campaign["emails_sent"], decided) == (5, 4, 1)


async def test_who_leaves_while_their_block_waits_its_turn_gets_nothing(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live: Project
) -> None:
    """Blocks of three: while the first two are on the wire, the third is written already."""
    sent = await launch(10)
    smtp_sink.delay = 0.3
    running = asyncio.create_task(run_due(runtime))
    await asyncio.to_thread(smtp_sink.wait_for, 1)
    async with runtime.db.unit_of_work() as session:
        # Each alone, as other processes may write them; by the API one comes with the other.
        await suppressions.suppress(
            session,
            project_id=live.id,
            scope=project_scope(live.id),
            address_keys=["u8@example.com"],
            reason=Reason.hard_bounce,
            source="test",
        )
        gone = update(Subscriber).where(Subscriber.email == "u9@example.com")
        await session.execute(gone.values(status=Status.unsubscribed))
    await running
    assert not {"u8@example.com", "u9@example.com"} & set(smtp_sink.recipients)
    outcomes = await sent.outcomes()
    assert (outcomes["u8"], outcomes["u9"]) == (Outcome.suppressed, Outcome.skipped)
    assert len(smtp_sink.recipients) == 8


async def test_who_leaves_while_their_block_is_on_the_wire_gets_nothing_that_was_not_begun(
    launch: Launch,
    runtime: Runtime,
    smtp_sink: Sink,
    live: Project,
    live_client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One block, two connections, and a server that keeps both waiting."""
    left, looked = asyncio.Event(), asyncio.Event()
    look = _BatchRun.look

    async def noted(run: _BatchRun) -> None:
        sees_it = left.is_set()
        await look(run)
        if sees_it:
            looked.set()

    monkeypatch.setattr(_BatchRun, "look", noted)
    sent = await launch(10)
    smtp_sink.is_held = True
    one_block = runtime.settings.delivery.model_copy(update={"block_size": 10})
    parts = Parts(runtime.db, runtime.letters, one_block, runtime.provider_for, lambda: False)
    [batch] = await sent.batches()
    running = asyncio.create_task(sending.send_batch(parts, batch.id))
    async with asyncio.timeout(60):
        while set((await sent.outcomes()).values()) != {Outcome.sending}:
            await asyncio.sleep(0.01)
    assert (await live_client.request("DELETE", "/subscribers/u8@example.com")).status_code == 204
    async with runtime.db.unit_of_work() as session:
        await suppressions.suppress(
            session,
            project_id=live.id,
            scope=project_scope(live.id),
            address_keys=["u9@example.com"],
            reason=Reason.manual,
            source="test",
        )
    left.set()
    await looked.wait()
    smtp_sink.is_held = False
    again = await running

    others = sorted(f"u{number}@example.com" for number in (1, 2, 3, 4, 5, 6, 7, 10))
    assert smtp_sink.recipients == others
    # They are untried, and what becomes of them is judged where it is for everybody.
    assert again == Again(0)
    assert await sending.send_batch(parts, batch.id) is None
    assert smtp_sink.recipients == others
    untried = {each.address: each.outcome for each in await sent.messages() if not each.attempts}
    assert untried == {"u8@example.com": Outcome.skipped, "u9@example.com": Outcome.suppressed}
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (8, 0)


async def test_what_is_known_of_a_block_that_takes_long_stands_in_the_books_before_its_end(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(10)
    one_block = runtime.settings.delivery.model_copy(update={"block_size": 10})
    parts = Parts(runtime.db, runtime.letters, one_block, runtime.provider_for, lambda: False)
    smtp_sink.delay = 0.3
    running = asyncio.create_task(sending.send_batch(parts, (await sent.batches())[0].id))
    await asyncio.to_thread(smtp_sink.wait_for, 2)
    smtp_sink.is_held = True
    async with asyncio.timeout(60):
        while (shown := await live_client.data("GET", f"/campaigns/{sent.id}"))["emails_sent"] < 2:
            await asyncio.sleep(0.05)
    assert shown["emails_pending"] == 10 - shown["emails_sent"] > 0
    smtp_sink.is_held = False
    assert await running is None
    assert Counter(smtp_sink.recipients) == {f"u{number}@example.com": 1 for number in range(1, 11)}
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["emails_sent"], campaign["emails_pending"]) == (10, 0)


@pytest.mark.parametrize("why", ["pause", "unsubscribe"])
async def test_a_block_whose_opening_got_no_answer_and_is_not_to_be_sent_any_more_was_not_begun(
    why: str,
    launch: Launch,
    runtime: Runtime,
    smtp_sink: Sink,
    live_client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database is lost just after its commit. Before it is back, somebody has other wishes."""
    sent = await launch(9)
    write, calls = rounds.write, 0

    async def lost_once(
        db: Database, books: Books, gate: Gate, decisions: Sequence[Decision], wanted: Sequence[int]
    ) -> Round:
        nonlocal calls
        calls += 1
        written = await write(db, books, gate, decisions, wanted)
        if calls > 1:
            return written
        if why == "pause":
            await live_client.data("POST", f"/campaigns/{sent.id}/pause", 200)
        else:
            assert (await live_client.request("DELETE", "/subscribers/u2@example.com")).status_code == 204
        raise ConnectionResetError

    monkeypatch.setattr(rounds, "write", lost_once)
    await run_due(runtime)
    outcomes = await sent.outcomes()
    if why == "pause":
        assert set(outcomes.values()) == {Outcome.pending}
        assert {message.attempts for message in await sent.messages()} == {0}
        await live_client.data("POST", f"/campaigns/{sent.id}/resume", 200)
        await run_due(runtime)
        assert len(smtp_sink.recipients) == 9
    else:
        assert Counter(outcomes.values()) == {Outcome.sent: 8, Outcome.skipped: 1}
        assert "u2@example.com" not in smtp_sink.recipients
    assert set(Counter(smtp_sink.recipients).values()) == {1}


async def test_a_worker_that_cannot_renew_its_lease_begins_no_more_mail(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def fail(db: Database, books: Books) -> bool:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError

    sent = await launch(6)
    lease, now = 0.6, time.monotonic()
    monkeypatch.setattr(sending, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(batches, "renew", fail)
    smtp_sink.is_held = True
    short = runtime.settings.delivery.model_copy(update={"lease": lease})
    parts = Parts(runtime.db, runtime.letters, short, runtime.provider_for, lambda: False)
    running = asyncio.create_task(sending.send_batch(parts, (await sent.batches())[0].id))
    while not (smtp_sink.arrived and tries):
        await asyncio.sleep(0.01)
    now += lease
    smtp_sink.is_held = False
    again = await running
    assert again is not None
    begun = len(smtp_sink.recipients)
    assert 0 < begun < 6
    outcomes = Counter((await sent.outcomes()).values())
    assert outcomes == {Outcome.sent: begun, Outcome.pending: 6 - begun}
    monkeypatch.undo()
    await run_due(runtime)
    assert Counter(smtp_sink.recipients) == {f"u{number}@example.com": 1 for number in range(1, 7)}


async def test_a_cancelled_campaign_skips_what_it_has_not_begun(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(25)
    await live_client.data("POST", f"/campaigns/{sent.id}/cancel", 200)
    await run_due(runtime)
    assert smtp_sink.recipients == []
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_skipped"]) == ("cancelled", 25)
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (0, 0)


async def test_a_message_that_is_erased_before_it_goes_out_is_skipped(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(3)
    found = await live_client.request("GET", "/subscribers", params={"search": "u2@"})
    await live_client.data("POST", f"/subscribers/{found.json()['data'][0]['id']}/erase", 200)
    await run_due(runtime)
    assert sorted(smtp_sink.recipients) == ["u1@example.com", "u3@example.com"]
    assert not any("u2" in message.address for message in await sent.messages())
