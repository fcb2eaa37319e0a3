"""Pausing, resuming and cancelling while mails are on the wire."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.delivery import batches, halting, ledger, sending, steering
from newsletter.delivery.models import Batch, BatchStatus, Mailing, MailingStatus, Outcome
from newsletter.delivery.sending import Parts
from newsletter.kit import clock
from newsletter.kit.db import db_in
from newsletter.kit.jobs import Again
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import Rings
from tests.delivery.conftest import BLOCK, Launch
from tests.jobs import make_due, run_due, waiting
from tests.smtp_sink import Sink


def parts(runtime: Runtime) -> Parts:
    return Parts(runtime.db, runtime.letters, runtime.settings.delivery, runtime.provider_for, lambda: False)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
async def test_a_halt_holds_before_the_next_message_of_a_block_on_the_wire(
    verb: str, launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(10)
    one_block = runtime.settings.delivery.model_copy(update={"block_size": 10})
    slow = Parts(runtime.db, runtime.letters, one_block, runtime.provider_for, lambda: False)
    smtp_sink.delay = 2.5 * halting.LOOK_EVERY
    running = asyncio.create_task(sending.send_batch(slow, (await sent.batches())[0].id))
    await asyncio.to_thread(smtp_sink.wait_for, 1)
    await live_client.data("POST", f"/campaigns/{sent.id}/{verb}", 200)
    await running
    begun = len(smtp_sink.recipients)
    assert begun < 10
    outcomes = Counter((await sent.outcomes()).values())
    left = Outcome.pending if verb == "pause" else Outcome.skipped
    assert outcomes == {Outcome.sent: begun, left: 10 - begun}


async def test_pause_resume_and_cancel_hold_for_every_worker_that_sends_the_campaign(
    launch: Launch,
    runtime: Runtime,
    smtp_sink: Sink,
    live_client: Client,
    rings: Rings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of them begins nothing after its next look, and looks come more often than once a second."""
    sent = await launch(80)
    workers = (runtime, Runtime(runtime.settings, rings))
    ids = [batch.id for batch in await sent.batches()]
    looked: set[object] = set()

    async def asked_for(session: AsyncSession, mailing_id: UUID) -> halting.Halt | None:
        found = await asked_for_really(session, mailing_id)
        if found is not None:
            looked.add(asyncio.current_task())
        return found

    asked_for_really = halting.asked_for
    monkeypatch.setattr(halting, "asked_for", asked_for)
    assert halting.LOOK_EVERY < 1

    async def halt_in_full_flight(verb: str) -> None:
        """While both workers have two blocks each on the wire."""
        looked.clear()
        smtp_sink.is_held = True
        halves = (ids[0::2], ids[1::2])
        async with asyncio.TaskGroup() as group:
            for worker, half in zip(workers, halves, strict=True):
                sending_ = parts(worker)
                for batch_id in half:
                    group.create_task(sending.send_batch(sending_, batch_id))
            while Counter((await sent.outcomes()).values())[Outcome.sending] < 2 * 2 * BLOCK:
                await asyncio.sleep(0.02)
            await live_client.data("POST", f"/campaigns/{sent.id}/{verb}", 200)
            while len(looked) < len(ids):
                await asyncio.sleep(0.02)
            begun = smtp_sink.arrived
            smtp_sink.is_held = False
        assert len(smtp_sink.recipients) == smtp_sink.arrived == begun

    await halt_in_full_flight("pause")
    paused = len(smtp_sink.recipients)
    assert Counter((await sent.outcomes()).values()) == {Outcome.sent: paused, Outcome.pending: 80 - paused}
    rings.clear()
    await live_client.data("POST", f"/campaigns/{sent.id}/resume", 200)
    # Nobody waits for a sweeper: the workers are rung for at once, for every batch.
    assert [ring.name for ring in rings].count("delivery.send_batch") == len(ids)
    await halt_in_full_flight("cancel")
    reached = len(smtp_sink.recipients)
    assert reached > paused
    await run_due(runtime)
    assert set(Counter(smtp_sink.recipients).values()) == {1}
    assert Counter((await sent.outcomes()).values()) == {Outcome.sent: reached, Outcome.skipped: 80 - reached}
    mailing = await sent.mailing()
    assert (mailing.status, mailing.sent, mailing.skipped) == (MailingStatus.closed, reached, 80 - reached)
    await workers[1].aclose()


async def test_a_paused_campaign_rests_until_it_is_resumed_and_then_reaches_everybody_once(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(25)
    path = f"/campaigns/{sent.id}"
    paused = await live_client.data("POST", f"{path}/pause", 200)
    assert (paused["status"], paused["status_reason"]["code"]) == ("paused", "paused")
    await run_due(runtime)
    assert smtp_sink.recipients == []
    assert await waiting(runtime, "delivery.send_batch") == 0
    assert [batch.status for batch in await sent.batches()] == [BatchStatus.waiting] * 3
    resumed = await live_client.data("POST", f"{path}/resume", 200)
    assert (resumed["status"], resumed["status_reason"]) == ("sending", None)
    assert await waiting(runtime, "delivery.send_batch") == 3
    await run_due(runtime)
    assert Counter(smtp_sink.recipients) == {f"u{number}@example.com": 1 for number in range(1, 26)}
    assert (await live_client.data("GET", path))["status"] == "sent"


async def test_a_resume_while_a_batch_still_comes_to_rest_leaves_none_behind(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live: Project
) -> None:
    sent = await launch(6)
    mailing = await sent.mailing()
    async with runtime.db.unit_of_work() as session:
        assert await steering.pause(session, live, mailing.id)
    batch = (await sent.batches())[0]
    claimed = await batches.claim(runtime.db, batch.id, 30, 3, 10)
    assert claimed is not None
    async with runtime.db.unit_of_work() as session:
        assert await steering.resume(session, live, mailing.id, runtime.settings.delivery)
    letter = await runtime.letters.of(mailing.id)
    again = await sending._BatchRun(parts(runtime), claimed, letter, time.monotonic()).work()
    assert again == Again(0)
    assert await sending.send_batch(parts(runtime), batch.id) is None
    assert set((await sent.outcomes()).values()) == {Outcome.sent}


async def test_a_pause_stops_the_clock_of_what_waits_for_another_try(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live: Project
) -> None:
    smtp_sink.refuse("u2@example.com", "451 4.3.0 later please", times=1)
    sent = await launch(3)
    await run_due(runtime)
    mailing = await sent.mailing()
    async with runtime.db.unit_of_work() as session:
        assert await steering.pause(session, live, mailing.id)
    # The pause lasts longer than the campaign may.
    day = timedelta(hours=25)
    async with runtime.db.unit_of_work() as session:
        moved = {"paused_at": clock.now() - day, "expires_at": mailing.expires_at - day}
        await session.execute(update(Mailing).values(moved))
    await sent.let_time_pass()
    await make_due(runtime)
    await run_due(runtime)
    assert (await sent.outcomes())["u2"] is Outcome.deferred
    async with runtime.db.unit_of_work() as session:
        assert await steering.resume(session, live, mailing.id, runtime.settings.delivery)
    assert abs((await sent.mailing()).expires_at - mailing.expires_at) < timedelta(minutes=1)
    await run_due(runtime)
    assert (await sent.outcomes())["u2"] is Outcome.sent


async def test_a_cancelled_campaign_does_not_wait_for_its_deferred_messages(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u2@example.com", "451 4.3.0 later please")
    sent = await launch(3)
    await run_due(runtime)
    await live_client.data("POST", f"/campaigns/{sent.id}/cancel", 200)
    await run_due(runtime)
    campaign = await live_client.data("GET", f"/campaigns/{sent.id}")
    assert (campaign["status"], campaign["emails_sent"], campaign["emails_skipped"]) == ("cancelled", 2, 1)
    assert (await sent.mailing()).status is MailingStatus.closed


async def test_a_paused_campaign_can_be_cancelled(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    sent = await launch(12)
    for verb in ("pause", "cancel"):
        await live_client.data("POST", f"/campaigns/{sent.id}/{verb}", 200)
        await run_due(runtime)
    assert smtp_sink.recipients == []
    assert set((await sent.outcomes()).values()) == {Outcome.skipped}
    assert (await sent.mailing()).status is MailingStatus.closed


async def test_a_crash_during_a_pause_is_settled_by_the_resume(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live: Project
) -> None:
    sent = await launch(4)
    mailing, batch = await sent.mailing(), (await sent.batches())[0]
    claimed = await batches.claim(runtime.db, batch.id, 30, 3, 10)
    assert claimed is not None
    async with runtime.db.unit_of_work() as session:
        await ledger.open_block(session, claimed.books, [1])
        assert await steering.pause(session, live, mailing.id)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Batch).values(lease_until=db_in(-1)))
    await run_due(runtime)
    [message] = [row for row in await sent.messages() if row.outcome is not Outcome.pending]
    assert (message.seq, message.outcome) == (1, Outcome.unknown)
    async with runtime.db.unit_of_work() as session:
        assert await steering.resume(session, live, mailing.id, runtime.settings.delivery)
    await run_due(runtime)
    assert len(smtp_sink.recipients) == 3
    assert (await sent.mailing()).status is MailingStatus.closed
