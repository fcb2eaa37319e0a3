"""Sends one batch: prepare, open, deliver, write, in blocks, two of them in flight.

One transaction writes the outcomes of block k and sets block k+2 to ``sending``; only then
may its DATA begin. So while block k+1 is on the wire, the books of k are written and k+2 is
merged. All batches of a process share its two lanes, so a killed process leaves at most two
blocks ``unknown``. Suppressions and the mailing's status are read again in that transaction.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.audience import queries as audience
from newsletter.audience import service as audience_service
from newsletter.audience.queries import MergeRow
from newsletter.delivery import batches, halting, ledger
from newsletter.delivery.batches import Claim
from newsletter.delivery.halting import Halt
from newsletter.delivery.lanes import Lanes
from newsletter.delivery.ledger import Decision
from newsletter.delivery.letter import Letter
from newsletter.delivery.links import Links, MessageRef
from newsletter.delivery.models import Mailing, Message, Outcome, UnknownPolicy
from newsletter.kit import clock
from newsletter.kit.address import ascii_domain_of, domain_of
from newsletter.kit.db import Database, db_now, insist
from newsletter.kit.jobs import Again, keep_alive
from newsletter.providers.base import (
    Envelope,
    MailStream,
    Permanent,
    Provider,
    Receipt,
    Refusal,
    Result,
    ServerDown,
    Temporary,
    Throttled,
)
from newsletter.settings import DeliverySettings
from newsletter.suppressions import queries as suppressions

log = structlog.get_logger(__name__)

PATIENCE = 600.0
"""Seconds to wait for a database that is away. Results in hand are the only record of what the
server took; whether they may still be written is for the fence to say, not for the clock."""


ProviderFor = Callable[[MailStream], Provider]
"""Picks the sending server. It is asked once for each claim of a batch, and must not wait."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What sending needs; ``is_stopping`` becomes true when the process was asked to end."""

    db: Database
    links: Links
    settings: DeliverySettings
    provider_for: ProviderFor
    is_stopping: Callable[[], bool]
    lanes: Lanes = field(default_factory=Lanes)


@dataclass(frozen=True, slots=True)
class Recipient:
    seq: int
    subscriber_id: UUID | None
    address: str
    address_key: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Block:
    """Recipients whose mails are written, but not begun."""

    recipients: dict[int, Recipient]
    envelopes: dict[int, Envelope]
    skipped: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A block on the wire, and what is known of it so far."""

    task: asyncio.Task[None]
    decisions: list[Decision]


async def send_batch(parts: Parts, batch_id: UUID) -> Again | None:
    """Sends what is due of the batch. Returns when to come again, or None when it is done.

    Safe to run twice and from two workers: the second finds the batch taken, or done.
    """
    settings = parts.settings
    asked_at = time.monotonic()
    claimed = await batches.claim(parts.db, batch_id, settings.lease, settings.max_crashes)
    if claimed is None:
        left = await batches.seconds_leased(parts.db, batch_id)
        return None if left is None else Again(left)
    structlog.contextvars.bind_contextvars(
        project_id=str(claimed.mailing.project_id),
        mailing_id=str(claimed.mailing.id),
        source_id=str(claimed.mailing.source_id),
    )
    run = _BatchRun(parts, claimed, asked_at)
    async with keep_alive(settings.lease / 3, run.renew), halting.watching(run.look):
        return await run.work()


def stream_of(mailing: Mailing) -> MailStream:
    domain = ascii_domain_of(mailing.sender["from_email"])
    return MailStream(mailing.project_id, mailing.is_test, mailing.purpose, mailing.list_id, domain)


class _BatchRun:
    def __init__(self, parts: Parts, claimed: Claim, asked_at: float) -> None:
        self._parts, self._claimed = parts, claimed
        self._mailing, self._books = claimed.mailing, claimed.books
        self._letter = Letter(claimed.mailing, parts.links)
        self._provider = parts.provider_for(stream_of(claimed.mailing))
        self._after = claimed.first_seq - 1
        self._ours_until = asked_at + parts.settings.lease
        self._halt = halting.BY_STATUS.get(claimed.mailing.status)
        self._has_sent = False
        self._on_the_wire: deque[Delivery] = deque()
        self._lanes_held = 0

    async def renew(self) -> bool:
        asked_at = time.monotonic()
        is_ours = await batches.renew(self._parts.db, self._books)
        if is_ours:
            self._ours_until = asked_at + self._books.lease
        return is_ours

    async def look(self) -> bool:
        """Whether somebody has asked for a halt, which then holds before the next message."""
        async with self._parts.db.read() as session:
            self._halt = self._halt or await halting.asked_for(session, self._mailing.id)
        return self._halt is not None

    def _must_stop(self) -> bool:
        """Read before each message: a process that was frozen, or whose database is away, begins
        nothing that another may have taken over."""
        return (
            self._halt in halting.BY_STATUS.values()
            or self._parts.is_stopping()
            or time.monotonic() >= self._ours_until
        )

    async def work(self) -> Again | None:
        try:
            return await self._take_turns()
        except BaseException:
            await self._save()
            raise

    async def _take_turns(self) -> Again | None:
        """Turns until nothing is left. A lane is held from before a block is opened until its
        outcomes are on disk; only a run that holds none waits for one, so none waits in a circle.
        """
        lanes, block = self._parts.lanes, None
        while True:
            if block is None and self._halt is None:
                block = await self._prepare()
            if block is None and not self._on_the_wire:
                return await self._end()
            done = None
            if block is not None and (not self._on_the_wire or lanes.are_free):
                await lanes.take()
                self._lanes_held += 1
                may_open = True
            else:
                done = self._on_the_wire[0]
                await done.task
                may_open = not lanes.are_wanted
            opened = await self._turn(done.decisions if done else (), block if may_open else None)
            if done is not None:
                self._on_the_wire.popleft()
            if may_open:
                block = None
            if opened is not None:
                self._begin(opened)
            else:
                self._lanes_held -= 1
                lanes.give_back()

    def _begin(self, block: Block) -> None:
        decisions: list[Decision] = []
        task = asyncio.create_task(self._deliver(block, decisions))
        self._on_the_wire.append(Delivery(task, decisions))

    async def _save(self) -> None:
        """On the way out of an error, or of a process that must end now: writes what is known, if
        it can be written at once. What was on the wire stays ``sending`` in the books."""
        for delivery in self._on_the_wire:
            delivery.task.cancel()
        await asyncio.gather(*(delivery.task for delivery in self._on_the_wire), return_exceptions=True)
        for _ in range(self._lanes_held):
            self._parts.lanes.give_back()
        known = [decision for delivery in self._on_the_wire for decision in delivery.decisions]
        if known:
            try:
                await self._record(known, None)
            except (ledger.LostBatch, DBAPIError, OSError, PoolTimeout) as error:
                log.warning("outcomes were lost", messages=len(known), error=repr(error))

    async def _prepare(self) -> Block | None:
        """Reads the next block and writes its mails; nothing is promised to the books yet, so
        a crash in here costs no message its outcome."""
        statement = (
            select(Message.seq, Message.subscriber_id, Message.address, Message.address_key, Message.attempts)
            .where(
                batches.in_range(self._claimed),
                Message.seq > self._after,
                Message.outcome.in_([Outcome.pending, Outcome.deferred]),
                Message.next_attempt_at.is_(None) | (Message.next_attempt_at <= db_now()),
            )
            .order_by(Message.seq)
            .limit(self._parts.settings.block_size)
        )

        async def read() -> tuple[list[Recipient], dict[UUID, MergeRow]]:
            async with self._parts.db.read() as session:
                recipients = [Recipient(*row) for row in await session.execute(statement)]
                people = await audience.merge_data(
                    session,
                    self._mailing.project_id,
                    [each.subscriber_id for each in recipients if each.subscriber_id],
                )
                return recipients, people

        recipients, people = await insist(read, seconds=PATIENCE)
        if not recipients:
            return None
        self._after = recipients[-1].seq
        return await asyncio.to_thread(self._write, recipients, people)

    def _write(self, recipients: Sequence[Recipient], people: dict[UUID, MergeRow]) -> Block:
        envelopes, skipped = {}, []
        for each in recipients:
            person = people.get(each.subscriber_id) if each.subscriber_id else None
            if "@" not in each.address:
                skipped.append(Decision(each.seq, Outcome.skipped, "the person was erased"))
                continue
            if each.subscriber_id and (person is None or not person.is_active):
                skipped.append(Decision(each.seq, Outcome.skipped, "no longer subscribed"))
                continue
            ref = MessageRef(self._mailing.id, each.seq, each.subscriber_id)
            envelopes[each.seq] = self._letter.write(ref, each.address, person, attempt=each.attempts + 1)
        return Block({each.seq: each for each in recipients}, envelopes, tuple(skipped))

    async def _turn(self, results: Sequence[Decision], block: Block | None) -> Block | None:
        """The one write of each round. Returns what of the block may be sent now."""
        return await insist(lambda: self._record(results, block), seconds=PATIENCE)

    async def _record(self, results: Sequence[Decision], block: Block | None) -> Block | None:
        async with self._parts.db.unit_of_work() as session:
            await ledger.fence(session, self._books)
            await ledger.write(session, self._books, results)
            await self._suppress_refused(session, results)
            return await self._open(session, block) if block else None

    async def _open(self, session: AsyncSession, block: Block) -> Block | None:
        self._halt = self._halt or await self._read_halt(session)
        if self._halt is not None:
            return None
        keys = [each.address_key for each in block.recipients.values()]
        suppressed = await suppressions.suppressed_among(
            session,
            self._mailing.project_id,
            self._mailing.list_id,
            domain_of(self._mailing.sender["from_email"]),
            keys,
        )
        left = await audience.left_since(
            session, [each.subscriber_id for each in block.recipients.values() if each.subscriber_id]
        )
        decisions = list(block.skipped)
        for seq in block.envelopes:
            each = block.recipients[seq]
            if each.address_key in suppressed:
                decisions.append(Decision(seq, Outcome.suppressed, "the address is suppressed"))
            elif each.subscriber_id in left:
                decisions.append(Decision(seq, Outcome.skipped, "no longer subscribed"))
        await ledger.write(session, self._books, decisions)
        decided = {decision.seq for decision in decisions}
        opened = await ledger.open_block(
            session, self._books, [seq for seq in block.envelopes if seq not in decided]
        )
        if not opened:
            return None
        return Block(block.recipients, {seq: block.envelopes[seq] for seq in sorted(opened)}, ())

    async def _read_halt(self, session: AsyncSession) -> Halt | None:
        asked = await halting.asked_for(session, self._mailing.id)
        if asked is not None:
            return asked
        if self._mailing.expires_at <= clock.now():
            return Halt.expired
        return Halt.stopping if self._parts.is_stopping() else None

    async def _deliver(self, block: Block, decisions: list[Decision]) -> None:
        seqs = list(block.envelopes)
        envelopes = list(block.envelopes.values())
        async for index, result in self._provider.send_many(envelopes, self._must_stop):
            decisions.append(self._decide(block.recipients[seqs[index]], result))

    def _decide(self, to: Recipient, result: Result) -> Decision:
        if isinstance(result, Receipt):
            self._has_sent = True
            return Decision(to.seq, Outcome.sent, attempt=to.attempts + 1, server_id=result.server_id)
        decision = self._answer_to(to, result)
        return replace(
            decision,
            attempt=to.attempts + 1,
            server_id=result.server_id,
            code=result.code,
            enhanced=result.enhanced,
        )

    def _answer_to(self, to: Recipient, result: Refusal) -> Decision:
        reason = result.text
        if isinstance(result, Throttled):
            return Decision(to.seq, Outcome.pending, reason, retry_after=result.retry_after)
        if isinstance(result, ServerDown):
            if self._halt is None and not self._parts.is_stopping():
                self._halt = Halt.outage
                log.warning("the sending server is away", reason=result.text)
            self._halt = self._halt or Halt.stopping
            return Decision(to.seq, Outcome.pending, reason)
        if isinstance(result, Permanent):
            return Decision(to.seq, Outcome.failed, reason, is_bad_address=result.is_bad_address)
        if isinstance(result, Temporary):
            return self._defer(to, reason)
        is_first = to.attempts == 0
        if self._mailing.policy is UnknownPolicy.resend_once and is_first:
            return self._defer(to, reason)
        return Decision(to.seq, Outcome.unknown, reason)

    def _defer(self, to: Recipient, reason: str) -> Decision:
        """Tries again by the schedule, or fails now when no further try would come in time."""
        minutes = self._parts.settings.retry_minutes
        wait = 60.0 * minutes[min(to.attempts, len(minutes) - 1)]
        left = (self._mailing.expires_at - clock.now()).total_seconds()
        if to.attempts >= len(minutes) or wait > left:
            return Decision(to.seq, Outcome.failed, f"expired: {reason}"[:500])
        return Decision(to.seq, Outcome.deferred, reason, retry_after=wait)

    async def _suppress_refused(self, session: AsyncSession, results: Sequence[Decision]) -> None:
        """An address that its own server calls bad is never mailed again (RFC 3463 §3.2)."""
        refused = [result.seq for result in results if result.is_bad_address]
        if not refused:
            return
        project = await accounts.project_by_id(session, self._mailing.project_id)
        keys = select(Message.address_key).where(
            Message.mailing_id == self._mailing.id, Message.seq.in_(refused)
        )
        for address_key in (await session.scalars(keys)).all():
            if project is not None:
                await audience_service.mark_bounced(
                    session, project, address_key, source="refused while sending"
                )

    async def _end(self) -> Again | None:
        """Leaves the batch as the next claim should find it."""

        async def write() -> Again | None:
            async with self._parts.db.unit_of_work() as session:
                await ledger.fence(session, self._books)
                return await self._close(session)

        return await insist(write, seconds=PATIENCE)

    async def _close(self, session: AsyncSession) -> Again | None:
        if self._halt is Halt.paused:
            # Before the question of expiry: a pause stops that clock.
            still = await halting.is_paused(session, self._mailing.id)
            await batches.release(session, self._books, due_in=None if still else 0)
            return None if still else Again(0)
        if self._halt is Halt.cancelled:
            await self._give_up(session, Outcome.skipped, "cancelled")
        elif self._mailing.expires_at <= clock.now():
            await self._give_up(session, Outcome.failed, "expired")
        elif self._halt is Halt.outage:
            waits = self._parts.settings.outage_seconds
            outages = 0 if self._has_sent else self._claimed.outages
            wait = waits[min(outages, len(waits) - 1)]
            await batches.release(session, self._books, due_in=wait, outages=outages + 1)
            return Again(wait)
        elif self._halt is not None:
            await batches.release(session, self._books, due_in=0)
            return Again(0)
        next_in = await batches.seconds_to_next(session, self._claimed)
        if next_in is None:
            await batches.finish(session, self._books)
            return None
        await batches.release(session, self._books, due_in=next_in)
        return Again(next_in)

    async def _give_up(self, session: AsyncSession, outcome: Outcome, reason: str) -> None:
        statement = select(Message.seq).where(
            batches.in_range(self._claimed), Message.outcome.in_([Outcome.pending, Outcome.deferred])
        )
        seqs = (await session.scalars(statement)).all()
        await ledger.write(session, self._books, [Decision(seq, outcome, reason) for seq in seqs])
