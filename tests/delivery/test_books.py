"""One message, exactly once in the books: claims, fences, crashes, balance."""

import asyncio

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from newsletter.delivery import batches, ledger, returns, sending, service, urgency
from newsletter.delivery.ledger import AFTER, FEEDBACK_AFTER, Decision, LostBatch
from newsletter.delivery.models import (
    Batch,
    BatchStatus,
    Feedback,
    Mailing,
    MailingStatus,
    Message,
    Outcome,
    UnknownPolicy,
)
from newsletter.delivery.sending import Parts
from newsletter.kit import db as kit_db
from newsletter.kit.db import Database
from newsletter.runtime import Runtime
from newsletter.tallies.models import Metric
from tests.client import Client
from tests.delivery.conftest import Launch, Sent
from tests.jobs import make_due, run_due, waiting
from tests.smtp_sink import Sink

LEASE, CRASHES, CRASHES_ALONE = 30.0, 3, 10


async def claim(sent: Sent, index: int = 0) -> batches.Claim:
    batch = (await sent.batches())[index]
    claimed = await batches.claim(sent.runtime.db, batch.id, LEASE, CRASHES, CRASHES_ALONE)
    assert claimed is not None
    return claimed


async def crash_while_sending(sent: Sent, seqs: list[int]) -> None:
    """What a killed worker leaves behind: a lease, and messages whose DATA may have begun."""
    claimed = await claim(sent)
    async with sent.runtime.db.unit_of_work() as session:
        await ledger.open_block(session, claimed.books, seqs)
    await sent.let_time_pass()


def test_final_outcomes_stay_final() -> None:
    for final in (Outcome.sent, Outcome.failed, Outcome.suppressed, Outcome.skipped):
        assert AFTER[final] == frozenset()
    assert set(AFTER) == set(Outcome)
    assert FEEDBACK_AFTER[Feedback.complained] == frozenset()


async def test_a_batch_is_claimed_by_one_of_many(launch: Launch) -> None:
    sent = await launch(5)
    batch = (await sent.batches())[0]
    claims = await asyncio.gather(
        *(batches.claim(sent.runtime.db, batch.id, LEASE, CRASHES, CRASHES_ALONE) for _ in range(8))
    )
    assert sum(claimed is not None for claimed in claims) == 1


async def test_a_worker_that_lost_its_lease_writes_nothing(launch: Launch) -> None:
    sent = await launch(5)
    slow = await claim(sent)
    await sent.let_time_pass()
    quick = await claim(sent)
    assert quick.books.token == slow.books.token + 1

    async def write_late() -> None:
        async with sent.runtime.db.unit_of_work() as session:
            await ledger.fence(session, slow.books)
            await ledger.write(session, slow.books, [Decision(1, Outcome.skipped)])

    with pytest.raises(LostBatch):
        await write_late()
    assert set((await sent.outcomes()).values()) == {Outcome.pending}


async def test_a_worker_that_lost_its_lease_ends_no_batch(launch: Launch) -> None:
    sent = await launch(5)
    slow = await claim(sent)
    await sent.let_time_pass()
    await claim(sent)
    with pytest.raises(LostBatch):
        async with sent.runtime.db.unit_of_work() as session:
            await batches.finish(session, slow.books)
    assert (await sent.batches())[0].status is BatchStatus.leased


async def test_just_after_a_start_of_the_database_nobody_takes_over_what_ran_out_meanwhile(
    launch: Launch, runtime: Runtime, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime.db.is_sqlite:
        pytest.skip("SQLite is never away for one process and back for another")
    sent = await launch(5)
    held = await claim(sent)
    await sent.let_time_pass()
    # "Just" is long here: the suite's PostgreSQL may have been up for an hour.
    monkeypatch.setattr(kit_db, "SETTLE_SECONDS", 1e9)
    other = Database(database_url)
    # The tests share what was made of statements, and this number is part of one.
    monkeypatch.setattr(other.engine.sync_engine, "_compiled_cache", None)
    try:
        assert await batches.claim(other, held.books.batch_id, LEASE, CRASHES, CRASHES_ALONE) is None
    finally:
        await other.close()
    assert await batches.renew(runtime.db, held.books), "it is still its owner's"


async def test_what_a_dead_worker_was_sending_is_unknown_and_never_sent_again(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(8)
    await crash_while_sending(sent, [1, 2, 3])
    await run_due(runtime)
    outcomes = await sent.outcomes()
    assert [name for name, outcome in outcomes.items() if outcome is Outcome.unknown] == ["u1", "u2", "u3"]
    assert len(smtp_sink.recipients) == 5
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_sent"], campaign["emails_unknown"]) == ("sent", 5, 3)
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (8, 0)


async def test_a_mailing_that_may_resend_does_so_once(
    launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    sent = await launch(3)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Mailing).values(policy=UnknownPolicy.resend_once))
    await crash_while_sending(sent, [1])
    await run_due(runtime)
    assert sorted(smtp_sink.recipients) == ["u1@example.com", "u2@example.com", "u3@example.com"]
    assert [message.attempts for message in await sent.messages()] == [2, 1, 1]


async def test_late_feedback_settles_an_unknown_message(
    launch: Launch, runtime: Runtime, live_client: Client
) -> None:
    sent = await launch(3)
    await crash_while_sending(sent, [1])
    await run_due(runtime)
    mailing = await sent.mailing()
    async with runtime.db.unit_of_work() as session:
        assert await returns.apply_feedback(session, mailing.id, 1, Feedback.delivered)
        assert not await returns.apply_feedback(session, mailing.id, 1, Feedback.delivered)
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["emails_sent"], campaign["emails_unknown"]) == (3, 0)
    async with runtime.db.read() as session:
        summed = await ledger.totals(session, mailing.id)
    assert (summed[Outcome.sent], summed[Outcome.unknown]) == (3, 0)
    assert await sent.tallied() == {Metric.sent: 3, Metric.delivered: 1}


async def test_a_bounce_after_a_delivery_counts_and_not_the_other_way_round(
    launch: Launch, runtime: Runtime
) -> None:
    sent = await launch(1)
    await run_due(runtime)
    mailing = await sent.mailing()
    async with runtime.db.unit_of_work() as session:
        assert await returns.apply_feedback(session, mailing.id, 1, Feedback.delivered)
        assert await returns.apply_feedback(session, mailing.id, 1, Feedback.bounced)
        assert not await returns.apply_feedback(session, mailing.id, 1, Feedback.delivered)
    assert [(row.outcome, row.feedback) for row in await sent.messages()] == [
        (Outcome.sent, Feedback.bounced)
    ]
    assert await sent.tallied() == {Metric.sent: 1, Metric.delivered: 1, Metric.bounced: 1}


async def test_writing_a_decision_twice_counts_once(launch: Launch) -> None:
    sent = await launch(4)
    claimed = await claim(sent)
    for _ in range(2):
        async with sent.runtime.db.unit_of_work() as session:
            await ledger.write(
                session, claimed.books, [Decision(1, Outcome.skipped), Decision(2, Outcome.skipped)]
            )
    [batch] = await sent.batches()
    assert (batch.skipped, batch.sent) == (2, 0)


async def test_a_batch_that_keeps_crashing_is_halved_until_the_poison_is_alone(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(8)

    async def crash_all_that_hold(poison: int) -> None:
        for batch in await sent.batches():
            if batch.status is not BatchStatus.done and batch.first_seq <= poison <= batch.last_seq:
                await batches.claim(runtime.db, batch.id, LEASE, CRASHES, CRASHES_ALONE)
        await sent.let_time_pass()

    for _ in range(40):
        await crash_all_that_hold(5)
        if (await sent.messages())[4].outcome is Outcome.failed:
            break
    await make_due(runtime)
    await run_due(runtime)
    outcomes = await sent.outcomes()
    assert outcomes.pop("u5") is Outcome.failed
    assert set(outcomes.values()) == {Outcome.sent}
    assert len(smtp_sink.recipients) == 7
    assert (await live_client.data("GET", f"/campaigns/{sent.id}"))["emails_failed"] == 1


async def test_halves_are_sent_by_the_job_of_the_whole(launch: Launch, runtime: Runtime) -> None:
    sent = await launch(8)
    [batch] = await sent.batches()
    for _ in range(CRASHES):
        assert await batches.claim(runtime.db, batch.id, LEASE, CRASHES, CRASHES_ALONE)
        await sent.let_time_pass()
    settings = runtime.settings.delivery
    parts = Parts(
        *(runtime.db, runtime.letters, settings, runtime.provider_for, lambda: False), job=urgency.SEND_BULK
    )
    await sending.send_batch(parts, batch.id)
    assert len(await sent.batches()) == 2
    assert await waiting(runtime, urgency.SEND_BULK) == 2


async def test_a_message_alone_outlives_a_process_that_is_restarted_again_and_again(
    launch: Launch, runtime: Runtime
) -> None:
    sent = await launch(1)
    [batch] = await sent.batches()
    for _ in range(CRASHES_ALONE - 1):
        assert await batches.claim(runtime.db, batch.id, LEASE, CRASHES, CRASHES_ALONE)
        await sent.let_time_pass()
    await make_due(runtime)
    await run_due(runtime)
    assert list((await sent.outcomes()).values()) == [Outcome.sent]


async def test_books_that_do_not_balance_are_never_closed(launch: Launch, runtime: Runtime) -> None:
    sent = await launch(3)
    mailing = await sent.mailing()
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Batch).values(status=BatchStatus.done, sent=3))

    async def close() -> None:
        async with runtime.db.unit_of_work() as session:
            await service.close_if_done(session, mailing.id)

    with pytest.raises(service.BooksDoNotBalance):
        await close()
    assert (await sent.mailing()).status is MailingStatus.running


async def test_the_last_batches_may_end_at_the_same_moment(launch: Launch, runtime: Runtime) -> None:
    sent = await launch(40)
    claims = [await claim(sent, index) for index in range(len(await sent.batches()))]
    for each in claims:
        async with runtime.db.unit_of_work() as session:
            skipped = [Decision(seq, Outcome.skipped) for seq in range(each.first_seq, each.last_seq + 1)]
            await ledger.write(session, each.books, skipped)
    together = asyncio.Barrier(len(claims))

    async def end(claimed: batches.Claim) -> None:
        async with runtime.db.unit_of_work() as session:
            await ledger.fence(session, claimed.books)
            if not runtime.db.is_sqlite:  # There, the second waits for the first from here on.
                await together.wait()
            await batches.finish(session, claimed.books)

    await asyncio.gather(*(end(each) for each in claims))
    assert (await sent.mailing()).status is MailingStatus.closed


async def test_a_second_run_of_a_finished_batch_changes_nothing(
    launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    sent = await launch(4)
    await run_due(runtime)
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, runtime.provider_for, lambda: False)
    for batch in await sent.batches():
        assert await sending.send_batch(parts, batch.id) is None
    assert len(smtp_sink.recipients) == 4


async def test_a_process_that_is_told_to_stop_gives_its_batch_back(
    launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    sent = await launch(8)
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, runtime.provider_for, lambda: True)
    again = await sending.send_batch(parts, (await sent.batches())[0].id)
    assert again is not None
    assert {row.outcome for row in await sent.messages()} == {Outcome.pending}
    assert {row.attempts for row in await sent.messages()} == {0}
    assert smtp_sink.recipients == []
    assert [batch.status for batch in await sent.batches()] == [BatchStatus.waiting]


async def test_one_address_is_one_message_of_a_mailing(launch: Launch, runtime: Runtime) -> None:
    sent = await launch(2)
    mailing = await sent.mailing()
    duplicate = Message(
        mailing_id=mailing.id,
        seq=99,
        address="u1@example.com",
        address_key="u1@example.com",
        outcome=Outcome.pending,
    )

    async def add() -> None:
        async with runtime.db.unit_of_work() as session:
            session.add(duplicate)

    with pytest.raises(IntegrityError):
        await add()
