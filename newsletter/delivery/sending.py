"""Sends one batch: read, write, open, deliver, record, in blocks, two of them in flight.

One transaction writes the outcomes of block k and sets block k+2 to ``sending``; only then
may its DATA begin (`newsletter.delivery.rounds`). So while block k+1 is on the wire, the books
of k are written and k+3 is merged. The batches of a process share its two lanes, so a killed
process leaves at most two blocks ``unknown``; single mails, which are sent again, have two
besides. Suppressions and the mailing's status are read again in that transaction, and while its
mails are on the wire every `halting.LOOK_EVERY` seconds: with a slow server a block takes minutes.

What a server's answer means for a message is in `newsletter.delivery.answers`, which outcome
may follow which in `newsletter.delivery.ledger`, who owns a batch in `newsletter.delivery.batches`.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import announcing, batches, brake, halting, ledger, reading, rounds, urgency
from newsletter.delivery.answers import Answers
from newsletter.delivery.batches import Claim
from newsletter.delivery.block import Block, Delivery, written
from newsletter.delivery.halting import Halt
from newsletter.delivery.lanes import Lane, Lanes
from newsletter.delivery.ledger import Decision, LostBatch
from newsletter.delivery.letter import Copy, Writer
from newsletter.delivery.letters import Letters
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import Mailing, Outcome
from newsletter.delivery.reading import Recipient
from newsletter.delivery.rounds import Gate, Round
from newsletter.kit.address import ascii_domain_of, domain_of
from newsletter.kit.crypto import Undecryptable
from newsletter.kit.db import Database, insist
from newsletter.kit.jobs import Again
from newsletter.kit.leases import keep_alive
from newsletter.providers.base import Envelope, MailStream, Provider, Receipt, ServerDown
from newsletter.settings import DeliverySettings

log = structlog.get_logger(__name__)

PATIENCE = 600.0
"""Seconds to wait for a database that is away. Results in hand are the only record of what the
server took; whether they may still be written is for the fence to say, not for the clock."""

SLICE = 8
"""Mails that are written in one go between two looks at the wire, in 0.2 ms. Written as a block, in a
thread, they kept the interpreter for 2 ms, and the server, which answers four in 1, had nothing to do."""

ProviderFor = Callable[[MailStream], Provider]
"""Picks the sending server. It is asked once for each claim of a batch, and must not wait."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What sending needs; ``is_stopping`` becomes true when the process was asked to end."""

    db: Database
    letters: Letters
    settings: DeliverySettings
    provider_for: ProviderFor
    is_stopping: Callable[[], bool]
    job: str = urgency.SEND_BATCH
    lanes: Lanes = field(default_factory=Lanes)
    """Of all batches that are sent with these parts; several jobs may share them."""


async def send_batch(parts: Parts, batch_id: UUID) -> Again | None:
    """Sends what is due of the batch. Returns when to come again, or None when it is done.

    Safe to run twice and from two workers: the second finds the batch taken, or done.
    """
    settings = parts.settings
    asked_at = time.monotonic()
    claimed = await batches.claim(
        parts.db, batch_id, settings.lease, settings.max_crashes, settings.max_crashes_alone, job=parts.job
    )
    if claimed is None:
        left = await batches.seconds_until_free(parts.db, batch_id)
        return None if left is None else Again(left)
    structlog.contextvars.bind_contextvars(
        project_id=str(claimed.mailing.project_id),
        mailing_id=str(claimed.mailing.id),
        source_id=str(claimed.mailing.source_id),
    )
    try:
        letter = await insist(lambda: parts.letters.of_batch(claimed), seconds=PATIENCE)
    except Undecryptable:
        # Unsigned, bulk mail is refused for good; so it waits, as for a server that is away.
        log.error("a key of the sending domain cannot be opened: is SECRET_KEYS_OLD complete?")
        letter = None
    run = _BatchRun(parts, claimed, letter, asked_at)
    async with keep_alive(settings.lease / 3, run.renew), halting.watching(run.look):
        return await run.work()


def stream_of(mailing: Mailing) -> MailStream:
    domain = ascii_domain_of(mailing.sender["from_email"])
    return MailStream(mailing.project_id, mailing.is_test, mailing.purpose, mailing.list_id, domain)


class _BatchRun:
    def __init__(self, parts: Parts, claimed: Claim, letter: Writer | None, asked_at: float) -> None:
        self._parts, self._claimed, self._letter = parts, claimed, letter
        self._mailing, self._books = claimed.mailing, claimed.books
        self._lanes = parts.lanes
        self._answers = Answers(claimed, parts.settings.retry_minutes)
        self._gate = Gate(
            self._mailing.project_id,
            self._mailing.list_id,
            domain_of(self._mailing.sender["from_email"]),
            parts.settings,
            claimed.listened,
            self._mailing.purpose,
        )
        self._provider = parts.provider_for(stream_of(claimed.mailing))
        self._due: deque[Recipient] = deque()
        self._read_up_to: int | None = claimed.first_seq - 1
        self._ours_until = asked_at + parts.settings.lease
        self._halt = halting.BY_STATUS.get(claimed.mailing.status)
        if letter is None:
            self._halt = self._halt or Halt.outage
        self._has_sent = False
        self._on_the_wire: deque[Delivery] = deque()
        self._lanes_held = 0
        self._next: asyncio.Task[Block | None] | None = None

    async def renew(self) -> bool:
        asked_at = time.monotonic()
        is_ours = await batches.renew(self._parts.db, self._books)
        if is_ours:
            self._ours_until = asked_at + self._books.lease
        return is_ours

    async def look(self) -> None:
        """Has what was asked for meanwhile hold before the next message: a halt of all, or that some
        of those on the wire get no mail.

        A round has just read all of this of the blocks that it opened. With a fast server these are
        all there are, and looking again took a tenth of the time of a worker.
        """
        news = time.monotonic() - halting.LOOK_EVERY / 2
        older = [delivery for delivery in self._on_the_wire if delivery.begun_at < news]
        if not older and self._on_the_wire:
            return
        left = [seq for delivery in older for seq in delivery.left]
        async with self._parts.db.read() as session:
            self._halt = await halting.asked_for(session, self._mailing.id) or self._halt
            judged = await rounds.judge(session, self._books, self._gate, left) if left else ()
        for delivery in older:
            delivery.withdrawn.update(each.seq for each in judged if each.seq in delivery.left)
        for delivery in tuple(self._on_the_wire):
            if delivery.is_slow:
                await self._write_ahead(delivery)

    async def _write_ahead(self, delivery: Delivery) -> None:
        """What is known so far of a block that takes long: its progress can be seen then, and it is not
        unknown if the process dies now."""
        decisions = delivery.unwritten
        if decisions:
            with contextlib.suppress(LostBatch):  # The next turn meets it, too.
                await rounds.write(self._parts.db, self._books, self._gate, decisions, ())
                delivery.written += len(decisions)

    def _must_stop(self) -> bool:
        """Read before each message: a process that was frozen, or whose database is away, begins
        nothing that another may have taken over."""
        return (
            (self._halt is not None and self._halt in halting.BY_STATUS.values())
            or self._parts.is_stopping()
            or time.monotonic() >= self._ours_until
        )

    async def work(self) -> Again | None:
        try:
            return await self._take_turns()
        except BaseException:
            await self._save()
            raise
        finally:
            if self._next is not None:  # After a halt: nobody waits for it.
                self._next.cancel()
                await asyncio.gather(self._next, return_exceptions=True)

    async def _take_turns(self) -> Again | None:
        """Turns until nothing is left. A lane is held from before a block is opened until its
        outcomes are on disk; only a run that holds none waits for one, so none waits in a circle.
        """
        lanes, block = self._lanes, None
        while True:
            if block is None and self._halt is None:
                block = await self._prepared()
            if block is None and not self._on_the_wire:
                return await self._end()
            done = None
            if block is not None and (not self._on_the_wire or lanes.are_free):
                lane = await lanes.take(self._mailing.id)
                self._lanes_held += 1
                may_open = True
            else:
                done = self._on_the_wire[0]
                await done.task
                lane = done.lane
                may_open = lanes.may_keep(lane)
            results = done.unwritten if done else ()
            opened = await self._turn(results, block if may_open else None)
            if done is not None:
                self._on_the_wire.popleft()
            if may_open:
                block = None
            if opened is not None:
                self._begin(lane, opened)
            else:
                self._lanes_held -= 1
                lanes.give_back()

    def _begin(self, lane: Lane, block: Block) -> None:
        delivery = Delivery(lane, block.recipients, block.envelopes)
        delivery.task = asyncio.create_task(self._deliver(delivery))
        self._on_the_wire.append(delivery)

    async def _save(self) -> None:
        """On the way out of an error, or of a process that must end now: writes what is known, if
        it can be written at once. What was on the wire stays ``sending`` in the books."""
        tasks: list[asyncio.Task[Any]] = [delivery.task for delivery in self._on_the_wire]
        if self._next is not None:
            tasks.append(self._next)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(self._lanes_held):
            self._lanes.give_back()
        known = [decision for delivery in self._on_the_wire for decision in delivery.unwritten]
        if known:
            try:
                await rounds.write(self._parts.db, self._books, self._gate, known, ())
            except (LostBatch, DBAPIError, OSError, PoolTimeout) as error:
                log.warning("outcomes were lost", messages=len(known), error=repr(error))

    async def _prepared(self) -> Block | None:
        """The next block; the one behind it is begun, so that it is made while this one is opened."""
        task, self._next = self._next or asyncio.create_task(self._prepare()), None
        block = await task
        if block is not None:
            self._next = asyncio.create_task(self._prepare())
        return block

    async def _prepare(self) -> Block | None:
        """Reads the next block and writes its mails; nothing is promised to the books yet, so
        a crash in here costs no message its outcome."""
        if not self._due and self._read_up_to is not None:
            claimed, after = self._claimed, self._read_up_to
            page = await insist(lambda: reading.due(self._parts.db, claimed, after), seconds=PATIENCE)
            self._due.extend(page)
            self._read_up_to = page[-1].seq if len(page) == reading.PAGE else None
        if not self._due or self._letter is None:
            return None
        size = min(self._parts.settings.block_size, len(self._due))
        recipients = [self._due.popleft() for _ in range(size)]
        return await self._write(self._letter, recipients)

    async def _write(self, letter: Writer, recipients: Sequence[Recipient]) -> Block:
        copies, skipped = {}, list[Decision]()
        for each in recipients:
            if not each.is_reachable:
                skipped.append(Decision(each.seq, Outcome.skipped, rounds.LEFT))
                continue
            ref = MessageRef(self._mailing.id, each.seq, each.subscriber_id)
            copies[each.seq] = Copy(ref, each.address, each.person, each.attempts + 1)
        if letter.is_quick:
            envelopes = dict[int, Envelope]()
            waiting = iter(copies.items())
            while some := dict(islice(waiting, SLICE)):
                envelopes |= written(letter, some, skipped)
                await asyncio.sleep(0)
        else:
            envelopes = await asyncio.to_thread(written, letter, copies, skipped)
        return Block({each.seq: each for each in recipients}, envelopes, skipped)

    async def _turn(self, results: Sequence[Decision], block: Block | None) -> Block | None:
        """The one write of each round. Returns what of the block may be sent now."""
        if self._halt is None:
            self._halt = self._reason_to_halt()
        decisions = [*results, *block.skipped] if block else results
        wanted = list(block.envelopes) if block and self._halt is None else ()
        tries = 0

        async def write() -> Round:
            nonlocal tries
            tries += 1
            return await rounds.write(self._parts.db, self._books, self._gate, decisions, wanted)

        written = await insist(write, seconds=PATIENCE)
        self._halt = self._halt or halting.BY_STATUS.get(written.status)
        if tries > 1:
            await self._take_back([seq for seq in wanted if seq not in written.opened])
        if block is None or not written.opened:
            return None
        envelopes = {seq: block.envelopes[seq] for seq in wanted if seq in written.opened}
        return Block(block.recipients, envelopes, [])

    async def _take_back(self, seqs: Sequence[int]) -> None:
        """What the first try may have opened before its answer was lost, and the last one did not: the
        mailing was paused in between, or the reader left. Nothing of it was begun; what was ``deferred``
        and due is due as ``pending`` now."""
        if seqs:
            untried = [Decision(seq, Outcome.pending, rounds.WITHDRAWN) for seq in seqs]
            db, books, gate = self._parts.db, self._books, self._gate
            await insist(lambda: rounds.write(db, books, gate, untried, ()), seconds=PATIENCE)

    def _reason_to_halt(self) -> Halt | None:
        if self._claimed.seconds_left <= 0:
            return Halt.expired
        return Halt.stopping if self._parts.is_stopping() else None

    async def _deliver(self, delivery: Delivery) -> None:
        """Who is withdrawn ends the call of the provider, and what it did not begin goes into the
        next, without them. So no provider need know of it, and a message costs no more."""
        left, decisions, withdrawn = delivery.left, delivery.decisions, delivery.withdrawn

        def must_stop() -> bool:
            return bool(withdrawn) or self._must_stop()

        while left:
            seqs, envelopes = list(left), list(left.values())
            async for index, result in self._provider.send_many(envelopes, must_stop):
                if withdrawn and isinstance(result, ServerDown):
                    continue
                seq = seqs[index]
                del left[seq]
                decisions.append(self._answers.decide(delivery.recipients[seq], result))
                if isinstance(result, Receipt):
                    self._has_sent = True
                elif isinstance(result, ServerDown) and self._halt is None:
                    self._halt = Halt.stopping if self._parts.is_stopping() else Halt.outage
                    log.warning("no message is begun any more", reason=result.text)
            # Untried, and due at once: what they end as is judged in one place, before a block is opened.
            untried = [seq for seq in withdrawn if left.pop(seq, None) is not None]
            decisions += [Decision(seq, Outcome.pending, rounds.WITHDRAWN) for seq in untried]
            withdrawn.clear()

    async def _end(self) -> Again | None:
        """Leaves the batch as the next claim should find it."""

        async def write() -> Again | None:
            async with self._parts.db.unit_of_work() as session:
                await ledger.fence(session, self._books)
                return await self._close(session)

        return await insist(write, seconds=PATIENCE)

    async def _close(self, session: AsyncSession) -> Again | None:
        claimed, books = self._claimed, self._books
        first, last = claimed.first_seq, claimed.last_seq
        next_in = await batches.seconds_to_next(session, claimed)
        if next_in is None:
            # Whatever was asked for came too late. A paused mailing ends with its last message as well.
            pass
        elif self._halt is Halt.paused:
            # Before the question of expiry: a pause stops that clock.
            still = await halting.is_paused(session, books.mailing_id)
            await batches.release(session, books, due_in=None if still else 0)
            return None if still else Again(0)
        elif self._halt is Halt.cancelled:
            await ledger.decide_rest(session, books, first, last, Outcome.skipped, "cancelled")
            next_in = None
        elif self._claimed.seconds_left <= 0:
            expired = await ledger.decide_rest(session, books, first, last, Outcome.failed, "expired")
            failed = [Decision(seq, Outcome.failed, "expired") for seq in expired]
            await announcing.announce_outcomes(session, claimed.listened, books.mailing_id, failed)
            next_in = None
        elif self._halt is Halt.outage:
            waits = self._parts.settings.outage_seconds
            outages = 0 if self._has_sent else claimed.outages
            wait = waits[min(outages, len(waits) - 1)]
            await batches.release(session, books, due_in=wait, outages=outages + 1)
            return Again(wait)
        elif self._halt is not None:
            await batches.release(session, books, due_in=0)
            return Again(0)
        # A share may rise above its limit with no bounce in the block: enough has been tried by now.
        await brake.apply(session, books.mailing_id, self._parts.settings)
        if next_in is None:
            await batches.finish(session, books)
            return None
        await batches.release(session, books, due_in=next_in)
        return Again(next_in)
