"""The books: which outcome may follow which, and how outcomes are written and counted.

    pending | deferred ──► sending ──► sent | failed | deferred | unknown
        │                     └──► pending: the server is away, or it was stopped or withdrawn in time
        └──► suppressed | skipped | failed (expired, poison)

``sent failed suppressed skipped`` are final; ``unknown`` becomes ``sent`` when feedback
proves that the server took it, or ``pending`` when the customer asks for a resend. What was
``deferred`` and is taken back before it was begun is due as ``pending``.
Feedback is a column of its own and never overwrites an outcome, so that

    recipients = sent + failed + suppressed + skipped + unknown

holds when nothing is pending. Each function changes only rows whose outcome allows it and
counts the rows it changed: writing the same decision twice counts once.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Float, bindparam, case, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.models import (
    Batch,
    Feedback,
    Mailing,
    Message,
    MessageAttempt,
    Outcome,
)
from newsletter.kit.db import db_in, db_now, insert
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Metric

AFTER: Mapping[Outcome, frozenset[Outcome]] = MappingProxyType(
    {
        Outcome.pending: frozenset({Outcome.sending, Outcome.failed, Outcome.suppressed, Outcome.skipped}),
        Outcome.sending: frozenset(
            {Outcome.pending, Outcome.sent, Outcome.failed, Outcome.deferred, Outcome.unknown}
        ),
        Outcome.deferred: frozenset(
            {Outcome.sending, Outcome.failed, Outcome.suppressed, Outcome.skipped, Outcome.pending}
        ),
        Outcome.unknown: frozenset({Outcome.sent, Outcome.pending}),
        Outcome.sent: frozenset(),
        Outcome.failed: frozenset(),
        Outcome.suppressed: frozenset(),
        Outcome.skipped: frozenset(),
    }
)
"""Which outcomes may follow each."""

FEEDBACK_AFTER: Mapping[Feedback | None, frozenset[Feedback]] = MappingProxyType(
    {
        None: frozenset(Feedback),
        Feedback.delivered: frozenset({Feedback.bounced, Feedback.complained}),
        Feedback.bounced: frozenset({Feedback.complained}),
        Feedback.complained: frozenset(),
    }
)
"""Late and repeated feedback: a bounce may follow a delivery, never the other way round."""

OPEN = frozenset({Outcome.pending, Outcome.sending, Outcome.deferred})
"""Not decided yet."""
COUNTED = (Outcome.sent, Outcome.failed, Outcome.suppressed, Outcome.skipped, Outcome.unknown)
SPENT = frozenset({Outcome.sent, Outcome.unknown})
"""What uses up a mail of the plan; every other decided message gives its mail back."""
REFUSED = frozenset({Outcome.deferred, Outcome.failed, Outcome.unknown})
"""How a try may end that is worth a row of its own."""


UNSEEN: Mapping[str, Any] = MappingProxyType({"synchronize_session": False})
"""For the statements of each round: no session that makes them holds objects of these tables that
anybody reads afterwards, and looking for them took SQLAlchemy as long as the statement."""


def numbered(mailing_id: UUID, seqs: Collection[int]) -> tuple[ColumnElement[bool], ...]:
    """The messages of a mailing that have one of these numbers, which are near each other.

    By the range of the key that they lie in; the numbers themselves are asked for in a form that fits no
    index. As a look-up for each of 64 it cost a planner more than the whole of a mailing of which it knew
    nothing, and the whole was read for each block (ADR 35, ADR 44).
    """
    return (
        Message.mailing_id == mailing_id,
        Message.seq.between(min(seqs, default=0), max(seqs, default=0)),
        Message.seq.in_(seqs).is_(true()),
    )


def before(outcome: Outcome) -> list[Outcome]:
    """The outcomes that this one may follow."""
    return [earlier for earlier, later in AFTER.items() if outcome in later]


def quoted(outcomes: Collection[Outcome]) -> str:
    """As a list for a statement written by hand."""
    return ", ".join(f"'{outcome}'" for outcome in sorted(outcomes))


class Decision(NamedTuple):
    """What became of one message. ``retry_after`` (seconds) goes with ``deferred`` and ``pending``,
    ``is_bad_address`` with ``failed``: the recipient's server knows no such address.

    ``attempt`` is the number of the try that this decides, None where nothing was tried.
    """

    seq: int
    outcome: Outcome
    reason: str | None = None
    retry_after: float | None = None
    is_bad_address: bool = False
    attempt: int | None = None
    server_id: UUID | None = None
    code: int | None = None
    enhanced: str | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """Whose counters a batch's decisions are written to."""

    project_id: UUID
    mailing_id: UUID
    batch_id: UUID
    token: int
    lease: float
    """Seconds that each write keeps the batch for its worker."""
    quota_owner_id: UUID
    quota_period: str


class LostBatch(Exception):
    """The batch has another owner by now; nothing may be written."""


_FENCE = (
    update(Batch)
    .where(Batch.id == bindparam("batch_id"), Batch.token == bindparam("held"))
    .values(renewed_at=db_now(), lease_until=db_in(bindparam("lease", type_=Float)))
    .returning(Batch.id)
    .execution_options(**UNSEEN)
)
"""Made once, as are the others of each batch: see `newsletter.kit.jobs`."""


async def fence(session: AsyncSession, books: Books) -> None:
    """The first statement of every write of a worker. Raises `LostBatch` when its lease went
    to another, and holds the batch's row so that nobody can take it before the commit. A lease
    that ran out while the database was away is still ours when nobody else took it."""
    values = {"batch_id": books.batch_id, "held": books.token, "lease": books.lease}
    if (await session.execute(_FENCE, values)).first() is None:
        raise LostBatch(str(books.batch_id))


async def write(session: AsyncSession, books: Books, decisions: Iterable[Decision]) -> list[Decision]:
    """Writes decisions of one batch, counts what they really changed and settles their quota.
    Returns those that changed anything."""
    decisions = list(decisions)
    changed: Counter[tuple[Outcome, UUID | None]] = Counter()
    written: set[int] = set()
    for one, seqs in grouped(decisions):
        outcome = one.outcome
        statement = (
            update(Message)
            .where(
                *numbered(books.mailing_id, seqs),
                Message.outcome.in_(before(outcome)),
            )
            .values(
                outcome=outcome,
                reason=one.reason,
                next_attempt_at=None if one.retry_after is None else db_in(one.retry_after),
                decided_at=None if outcome in OPEN else db_now(),
                server_id=one.server_id,
            )
            .returning(Message.seq)
            .execution_options(**UNSEEN)
        )
        if outcome is Outcome.pending:
            # Back from ``sending`` untried: the attempt did not happen.
            untried = case((Message.outcome == Outcome.sending, 1), else_=0)
            statement = statement.values(attempts=Message.attempts - untried)
        found = (await session.execute(statement)).scalars().all()
        changed[outcome, one.server_id] += len(found)
        written.update(found)
    effective = [each for each in decisions if each.seq in written]
    await _note_refused(session, books, effective)
    await _count(session, books, changed, bad=sum(each.is_bad_address for each in effective))
    return effective


async def _note_refused(session: AsyncSession, books: Books, decisions: Sequence[Decision]) -> None:
    rows = [
        {
            "mailing_id": books.mailing_id,
            "seq": each.seq,
            "attempt": each.attempt,
            "at": db_now(),
            "server_id": each.server_id,
            "outcome": each.outcome,
            "code": each.code,
            "enhanced": each.enhanced,
            "reason": each.reason,
        }
        for each in decisions
        if each.attempt is not None and each.outcome in REFUSED
    ]
    if rows:
        await session.execute(insert(session, MessageAttempt).values(rows).on_conflict_do_nothing())


async def decide_rest(
    session: AsyncSession, books: Books, first_seq: int, last_seq: int, outcome: Outcome, reason: str
) -> list[int]:
    """One decision for all of a range that nobody began: it expired, or was cancelled. Returns
    the numbers of those that it decided. One that was tried before keeps the server that deferred it, and
    is counted as that server's."""
    statement = (
        update(Message)
        .where(
            Message.mailing_id == books.mailing_id,
            Message.seq.between(first_seq, last_seq),
            Message.outcome.in_([Outcome.pending, Outcome.deferred]),
        )
        .values(outcome=outcome, reason=reason, next_attempt_at=None, decided_at=db_now())
        .returning(Message.seq, Message.server_id)
        .execution_options(**UNSEEN)
    )
    found = (await session.execute(statement)).all()
    await _count(session, books, Counter((outcome, server_id) for _, server_id in found))
    return [seq for seq, _ in found]


async def open_block(session: AsyncSession, books: Books, seqs: Sequence[int]) -> set[int]:
    """Sets messages to ``sending``, to be committed before their DATA begins.

    Accepts rows that are ``sending`` already: at the claim there were none, so they come
    from a commit of this very worker whose answer was lost.
    """
    statement = (
        update(Message)
        .where(
            *numbered(books.mailing_id, seqs),
            Message.outcome.in_([*before(Outcome.sending), Outcome.sending]),
        )
        .values(
            outcome=Outcome.sending,
            attempts=Message.attempts + case((Message.outcome == Outcome.sending, 0), else_=1),
            next_attempt_at=None,
        )
        .returning(Message.seq)
        .execution_options(**UNSEEN)
    )
    return set((await session.execute(statement)).scalars())


async def totals(session: AsyncSession, mailing_id: UUID) -> dict[Outcome, int]:
    """The batches' counters added up: exact, and cheap while a mailing runs."""
    columns = [func.coalesce(func.sum(getattr(Batch, outcome.value)), 0) for outcome in COUNTED]
    row = (await session.execute(select(*columns).where(Batch.mailing_id == mailing_id))).one()
    return {outcome: int(number) for outcome, number in zip(COUNTED, row, strict=True)}


async def recount(session: AsyncSession, mailing_id: UUID) -> dict[Outcome, int]:
    """The messages themselves, counted: what the counters are checked against."""
    statement = select(Message.outcome, func.count()).where(Message.mailing_id == mailing_id)
    rows = await session.execute(statement.group_by(Message.outcome))
    found = {row[0]: int(row[1]) for row in rows}
    return {outcome: found.get(outcome, 0) for outcome in Outcome}


async def _count(
    session: AsyncSession, books: Books, changed: Counter[tuple[Outcome, UUID | None]], bad: int = 0
) -> None:
    """``changed``: how many messages got which outcome, by sending server."""
    decided: Counter[Outcome] = Counter()
    for (outcome, server_id), number in changed.items():
        if outcome in COUNTED:
            decided[outcome] += number
            counted = {Metric(outcome.value): number}
            await tallies.add_now(session, books.project_id, books.mailing_id, server_id, counted)
    total = decided.total()
    if not total:
        return
    # A decided message is progress: earlier crashes of the batch were not its fault.
    numbers = {outcome.value: number for outcome, number in decided.items() if number}
    values = plus(Batch, numbers | {"bounced": bad}) | {"crashes": 0}
    counted_in = update(Batch).where(Batch.id == books.batch_id).values(values)
    await session.execute(counted_in.execution_options(**UNSEEN))
    spent = sum(decided[outcome] for outcome in SPENT)
    await plans.settle(
        session,
        books.quota_owner_id,
        Resource.mails,
        books.quota_period,
        used=spent,
        released=total - spent,
    )


def plus(table: type[Batch] | type[Mailing], numbers: Mapping[str, int]) -> dict[str, object]:
    return {name: getattr(table, name) + number for name, number in numbers.items()}


def grouped(decisions: Iterable[Decision]) -> list[tuple[Decision, list[int]]]:
    """Decisions that differ in nothing but the message, once, with all their messages."""
    groups: dict[tuple[object, ...], tuple[Decision, list[int]]] = {}
    for each in decisions:
        groups.setdefault(each[1:], (each, []))[1].append(each.seq)
    return list(groups.values())
