"""Who sends which batch: claims, leases, crashes, halves."""

import time
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Float, bindparam, case, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from newsletter.delivery import announcing, ledger, rolls, service, urgency
from newsletter.delivery.ledger import Books, Decision, LostBatch
from newsletter.delivery.models import (
    UNFINISHED,
    Batch,
    BatchStatus,
    Mailing,
    Message,
    Outcome,
    UnknownPolicy,
)
from newsletter.events import listening
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.db import Database, db_has_settled, db_in, db_now
from newsletter.kit.prepared import Prepared

log = structlog.get_logger(__name__)

ORPHANED = "the worker died while it was sending this"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send one batch, until the lease runs out."""

    mailing: Mailing
    books: Books
    first_seq: int
    last_seq: int
    outages: int
    gives_up_at: float
    """On the monotonic clock, by the time of the database: a worker's time of day may be wrong."""
    listened: frozenset[EventType]
    """The events of sending that somebody was told of when it was claimed: a batch is short."""

    @property
    def seconds_left(self) -> float:
        """Until messages that still wait for another try fail as expired."""
        return self.gives_up_at - time.monotonic()


_IS_FREE = or_(
    Batch.status == BatchStatus.waiting,
    (Batch.status == BatchStatus.leased) & (Batch.lease_until < db_now()) & db_has_settled(),
)
# Made once, as are the others of each batch below: see `newsletter.kit.jobs`.
_CLAIM = (
    update(Batch)
    .where(Batch.id == bindparam("batch_id"), _IS_FREE)
    .values(
        status=BatchStatus.leased,
        token=Batch.token + 1,
        lease_until=db_in(bindparam("lease", type_=Float)),
        renewed_at=db_now(),
        claimed_at=db_now(),
        decided_before=sum((getattr(Batch, each.value) for each in ledger.COUNTED), start=literal(0)),
        crashes=case((Batch.status == BatchStatus.leased, Batch.crashes + 1), else_=Batch.crashes),
    )
    .returning(Batch, db_now())
    .execution_options(synchronize_session=False)
)
# Without its content, of which `newsletter.delivery.letters` keeps what was made.
_MAILING = select(Mailing).where(Mailing.id == bindparam("mailing_id")).options(defer(Mailing.content))
_FINISH = (
    # With the fence of `ledger.fence` in it.
    update(Batch)
    .where(Batch.id == bindparam("batch_id"), Batch.token == bindparam("held"))
    .values(status=BatchStatus.done, lease_until=None, renewed_at=db_now())
    .returning(Batch.id)
    .execution_options(**ledger.UNSEEN)
)
_IN_RANGE = (Message.mailing_id == bindparam("mailing_id")) & Message.seq.between(
    bindparam("first"), bindparam("last")
)
_ORPHANS = Prepared(
    lambda _: select(Message.seq, Message.attempts).where(_IN_RANGE, Message.outcome == Outcome.sending)
)
_LEFT = Prepared(
    lambda _: select(func.min(Message.next_attempt_at), func.count(), db_now()).where(
        _IN_RANGE, or_(*(Message.outcome == outcome for outcome in sorted(ledger.OPEN)))
    )
)
_WAITING = Prepared(
    lambda _: (
        select(Batch.id)
        .where(Batch.mailing_id == bindparam("mailing_id"), Batch.status == BatchStatus.waiting)
        .limit(1)
    )
)


async def claim(
    db: Database,
    batch_id: UUID,
    lease: float,
    max_crashes: int,
    max_crashes_alone: int,
    *,
    job: str = urgency.SEND_BATCH,
) -> Claim | None:
    """Takes the batch if nobody owns it; None when there is nothing to take.

    Messages that the last owner left in ``sending`` become ``unknown``: it died with their
    DATA possibly on the wire. A batch that crashed ``max_crashes`` times without deciding a
    message is halved, and one of a single message fails as poison after ``max_crashes_alone``.
    ``job`` is who asks, and sends the halves.
    """
    async with db.unit_of_work() as session:
        claimed = (await session.execute(_CLAIM, {"batch_id": batch_id, "lease": lease})).one_or_none()
        if claimed is None:
            return None
        batch, now = claimed
        if batch.token == 1 and not db.is_sqlite:
            await rolls.write_out(session, batch.mailing_id, batch.first_seq, batch.last_seq)
        mailing = (await session.execute(_MAILING, {"mailing_id": batch.mailing_id})).scalar_one()
        books = Books(
            mailing.project_id,
            mailing.id,
            batch.id,
            batch.token,
            lease,
            mailing.quota_owner_id,
            mailing.quota_period,
        )
        listened = await listening.listened(session, mailing.project_id) & announcing.KINDS
        decided = await _settle_orphans(session, mailing, books, batch)
        is_alone = batch.first_seq == batch.last_seq
        if not decided and batch.crashes >= (max_crashes_alone if is_alone else max_crashes):
            decided = await _halve(session, job, books, batch)
            await announcing.announce_outcomes(session, listened, mailing.id, decided)
            return None
        await announcing.announce_outcomes(session, listened, mailing.id, decided)
        gives_up_at = time.monotonic() + (mailing.expires_at - now).total_seconds()
        return Claim(mailing, books, batch.first_seq, batch.last_seq, batch.outages, gives_up_at, listened)


async def seconds_until_free(db: Database, batch_id: UUID) -> float | None:
    """Seconds until the batch may be claimed; None where no job need come: it is done, gone, or
    parked until its mailing is resumed.

    For a job that found nothing to claim. Its owner may have given the batch back since: then
    it is free now, and this job, not the owner's that it took over from, is the one to come.
    """
    async with db.read() as session:
        statement = select(Batch.status, Batch.lease_until, Batch.due_at, db_now()).where(
            Batch.id == batch_id
        )
        found = (await session.execute(statement)).one_or_none()
    if found is None:
        return None
    status, lease_until, due_at, now = found
    free_at = {BatchStatus.leased: lease_until, BatchStatus.waiting: due_at}.get(status)
    return None if free_at is None else max(0.0, (free_at - now).total_seconds())


async def renew(db: Database, books: Books) -> bool:
    """Prolongs the lease; False when it went to another."""
    try:
        async with db.unit_of_work() as session:
            await ledger.fence(session, books)
    except LostBatch:
        return False
    return True


async def release(session: AsyncSession, books: Books, *, due_in: float | None, outages: int = 0) -> None:
    """Gives the batch back unfinished: a later claim of it is no crash. Its job comes again in
    ``due_in`` seconds; None: no job does before the mailing is resumed."""
    await ledger.fence(session, books)
    await session.execute(
        update(Batch)
        .where(Batch.id == books.batch_id)
        .values(
            status=BatchStatus.waiting,
            lease_until=None,
            due_at=None if due_in is None else db_in(due_in),
            outages=outages,
        )
    )


async def finish(session: AsyncSession, books: Books) -> None:
    """Ends the batch, and its mailing with the last one. Raises `LostBatch`."""
    mine = {"batch_id": books.batch_id, "held": books.token}
    if (await session.execute(_FINISH, mine)).first() is None:
        raise LostBatch(str(books.batch_id))
    # Whoever ends one of those that wait asks again. So the row of the mailing, which all its
    # workers would queue for, is locked by the last few alone. (Where that one ends before this
    # commit, the sweeper closes the mailing.)
    if not await _WAITING.rows(session, mailing_id=books.mailing_id):
        await service.close_if_done(session, books.mailing_id)


async def seconds_to_next(session: AsyncSession, claimed: Claim) -> float | None:
    """Seconds until a message of the batch is due, by the database's clock; None: all decided."""
    [(next_at, count, now)] = await _LEFT.rows(
        session, mailing_id=claimed.mailing.id, first=claimed.first_seq, last=claimed.last_seq
    )
    if not count:
        return None
    return max(0.0, (next_at - now).total_seconds()) if next_at is not None else 0.0


async def free_all(db: Database) -> None:
    """Ends every lease: for a start of the embedded mode, where no other process is at work."""
    async with db.unit_of_work() as session:
        await session.execute(
            update(Batch).where(Batch.status == BatchStatus.leased).values(lease_until=db_in(-1))
        )


async def close_forgotten(db: Database) -> int:
    """Closes mailings whose last batch ended without closing them; returns how many."""
    undone = select(Batch.id).where(Batch.mailing_id == Mailing.id, Batch.status != BatchStatus.done)
    open_ = select(Mailing.id).where(Mailing.status.in_(UNFINISHED), ~undone.exists()).limit(100)
    async with db.read() as session:
        found = (await session.scalars(open_)).all()
    closed = 0
    for mailing_id in found:
        async with db.unit_of_work() as session:
            closed += await service.close_if_done(session, mailing_id)
    return closed


async def _settle_orphans(
    session: AsyncSession, mailing: Mailing, books: Books, batch: Batch
) -> list[Decision]:
    left = await _ORPHANS.rows(session, mailing_id=mailing.id, first=batch.first_seq, last=batch.last_seq)
    decisions = [
        # A second try carries the same Message-ID; after it, nobody tries again.
        Decision(seq, Outcome.deferred, "resent after a crash", retry_after=0, attempt=attempts)
        if mailing.policy is UnknownPolicy.resend_once and attempts == 1
        else Decision(seq, Outcome.unknown, ORPHANED, attempt=attempts)
        for seq, attempts in left
    ]
    if not decisions:
        return []
    log.warning("found messages of a dead worker", mailing_id=str(mailing.id), messages=len(decisions))
    return await ledger.write(session, books, decisions)


async def _halve(session: AsyncSession, job: str, books: Books, batch: Batch) -> list[Decision]:
    """Poison: something in this batch kills its worker. Halves find it, and free the rest. Returns
    what was decided: that the one message of a batch is it."""
    middle = (batch.first_seq + batch.last_seq) // 2
    log.error("a batch keeps crashing", batch_id=str(batch.id), first=batch.first_seq, last=batch.last_seq)
    if batch.first_seq == batch.last_seq:
        poison = [Decision(batch.first_seq, Outcome.failed, "poison")]
        decided = await ledger.write(session, books, poison)
        await finish(session, books)
        return decided
    rest = Batch(
        id=ids.uuid7(),
        mailing_id=batch.mailing_id,
        first_seq=middle + 1,
        last_seq=batch.last_seq,
        status=BatchStatus.waiting,
        due_at=batch.due_at,
    )
    session.add(rest)
    await session.flush()
    await session.execute(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(last_seq=middle, status=BatchStatus.waiting, lease_until=None, crashes=0)
    )
    await urgency.enqueue(session, job, [batch.id, rest.id])
    return []
