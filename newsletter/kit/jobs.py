"""Background work that the database owns; the broker only wakes workers.

``enqueue`` writes a row in the caller's transaction. After the commit a bell carries the
row's id to a worker; a sweeper rings again for rows that are due or whose lease ran out.
Losing the broker with everything in it therefore costs delay and nothing else. (Measured:
Redis killed after 1,000 enqueues kept none of them; Dramatiq gives a dead worker's message
back after 145 to 1,539 s.)

A job may run twice: after a crash, or when a bell rings twice just as a lease ends. Its
handler must leave the same state then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, cast
from uuid import UUID

import structlog
from sqlalchemy import Float, Index, bindparam, delete, func, or_, select, update
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit import bulk, ids, prepared
from newsletter.kit.db import (
    Base,
    Database,
    after_commit,
    db_has_settled,
    db_in,
    db_now,
    insert,
    insist,
    is_outage,
    status_type,
    text,
)
from newsletter.kit.leases import keep_alive

log = structlog.get_logger(__name__)

RETRY_SECONDS = (1, 5, 15, 60, 120, 300, 600, 1800, 3600)
"""Waits after a handler's first, second, … error; after the last the job is dead."""
PATIENCE = 60.0
"""Seconds to wait for a database that is away when a job has ended; then its lease runs out."""
CLAIM_PATIENCE = 1.0
"""Seconds to try again to claim a job: a connection that was kept may turn out to be dead. Then the
sweeper rings again."""


def _part(name: str, where: str, *columns: str) -> Index:
    return Index(name, *columns, postgresql_where=sql(where), sqlite_where=sql(where))


class JobStatus(StrEnum):
    queued = "queued"
    running = "running"
    dead = "dead"


class Job(Base):
    """One piece of work; the row is deleted when it is done."""

    __tablename__ = "jobs"
    # Of a backlog of many thousands, whoever looks for what is to be rung for reads the first few of each
    # name (`kit.ringing`). By `run_at` alone it read all: 500 to 800 ms for 200,000, where this takes 1.3.
    __table_args__ = (
        _part("ix_jobs_unrung", "status = 'queued' AND rung_at IS NULL", "name", "run_at", "id"),
        _part("ix_jobs_rung", "status = 'queued' AND rung_at IS NOT NULL", "name", "run_at", "id"),
        _part("ix_jobs_running", "status = 'running'", "lease_until"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(text(100))
    payload: Mapped[dict[str, Any]]
    status: Mapped[JobStatus] = mapped_column(status_type(JobStatus, "status"))
    run_at: Mapped[datetime]
    rung_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    token: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(text(2000))
    unique_key: Mapped[str | None] = mapped_column(text(200), unique=True)
    """Two jobs with one key are one, until the first of them begins to run."""
    created_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Ring:
    """A wake-up call: which job, and on which queue its kind of work waits."""

    job_id: UUID
    name: str
    is_due: bool = False
    """Its time has come, or its worker died: it does not wait behind what was only now begun.
    (On one queue the batches of a dead worker would come after all others of a long campaign.)"""

    @property
    def queue(self) -> str:
        """Jobs are named ``slice.verb``, or ``slice.part.verb``; each slice and part has two queues."""
        return queues_of(self.name)[self.is_due]


def queues_of(name: str) -> tuple[str, str]:
    """Where jobs of this name wait: those enqueued just now, and those that are due."""
    place = name.rpartition(".")[0]
    return place, f"{place}.due"


class Bell(Protocol):
    """Wakes workers. Must not raise and must not wait: the sweeper makes up for a lost ring."""

    def __call__(self, rings: Sequence[Ring]) -> None: ...


@dataclass(frozen=True, slots=True)
class Again:
    """Returned by a handler that wants to run again; this does not count as a failure."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Handler:
    """What a job does with its payload, to which the job's own id is added as ``job_id``. ``max_errors``
    bounds how often it may raise before it is dead; None: it is tried for ever. That the database was
    away is no error of the job's.

    ``has_own_lease``: what it works on is leased to it besides, and renewed with each of its writes. So
    that lease outlives the job's when the database is away for longer, and it alone says whether the
    work may go on; whoever takes the job over finds nothing to do.
    """

    run: Callable[[Mapping[str, Any]], Awaitable[Again | None]]
    max_errors: int | None = len(RETRY_SECONDS)
    has_own_lease: bool = False


async def enqueue(
    session: AsyncSession,
    name: str,
    payload: Mapping[str, Any],
    *,
    run_at: datetime | None = None,
    key: str | None = None,
) -> None:
    """Writes a job in the caller's transaction, due now or at ``run_at``.

    With a ``key``, a second job is dropped while the first waits. Ids in the payload are
    written with ``str()``.
    """
    row = _row(name, payload, run_at, db_now()) | {"unique_key": key}
    statement = insert(session, Job).values(row).on_conflict_do_nothing().returning(Job.id)
    written = (await session.execute(statement)).scalar_one_or_none()
    if written is not None and run_at is None:
        _ring_after_commit(session, [Ring(written, name)])


def enqueue_sql(wanted: str) -> str:
    """`enqueue` as text, for a statement written by hand: due now, and without a key. The parameter is an
    array in JSON of ``[id, name, payload, …]``, or NULL. After the commit they are to be rung: `ring`."""
    return (
        "INSERT INTO jobs (id, name, payload, status, run_at, rung_at, created_at, token, attempts) "  # noqa: S608
        f"SELECT (j ->> 0)::uuid, j ->> 1, (j -> 2)::jsonb, '{JobStatus.queued}', clock_timestamp(), "
        f"clock_timestamp(), clock_timestamp(), 0, 0 FROM json_array_elements({wanted}::text::json) AS j"
    )


def ring(db: Database, rings: Sequence[Ring]) -> None:
    """For jobs that came into the database by `enqueue_sql`."""
    bell = cast(Bell | None, db.info.get("bell"))
    if bell is not None and rings:
        bell(rings)


async def enqueue_many(
    session: AsyncSession,
    name: str,
    payloads: Sequence[Mapping[str, Any]],
    *,
    run_at: datetime | None = None,
) -> None:
    """Writes many jobs of one kind, due now or at ``run_at``."""
    if not payloads:
        return
    # Asked once. In each row it made the launch of a million mails wait 0.8 s for the text of the statement.
    now = await prepared.now(session)
    await bulk.insert_rows(session, Job, rows(session, name, payloads, now, run_at=run_at))


def rows(
    session: AsyncSession,
    name: str,
    payloads: Sequence[Mapping[str, Any]],
    now: datetime,
    *,
    run_at: datetime | None = None,
) -> list[dict[str, Any]]:
    """What `enqueue_many` writes, for who writes it with rows of other tables in this transaction; ``now``
    is that of `prepared.now`."""
    made = [_row(name, payload, run_at, now) for payload in payloads]
    if run_at is None:
        _ring_after_commit(session, [Ring(row["id"], name) for row in made])
    return made


async def enqueue_each(session: AsyncSession, name: str, payloads: Mapping[str, Mapping[str, Any]]) -> None:
    """`enqueue` of many jobs of one kind, due now, each under the key that it is given by."""
    if not payloads:
        return
    now = await prepared.now(session)
    # In one order, so that of two who enqueue the same none waits for the other twice.
    wanted = [_row(name, payloads[key], None, now) | {"unique_key": key} for key in sorted(payloads)]
    written = await bulk.insert_missing(session, Job, wanted)
    _ring_after_commit(session, [Ring(row["id"], name) for row in wanted if row["id"] in written])


def _row(
    name: str, payload: Mapping[str, Any], run_at: datetime | None, now: datetime | db_now
) -> dict[str, Any]:
    return {
        "id": ids.uuid7(),
        "name": name,
        "payload": dict(payload),
        "status": JobStatus.queued,
        "run_at": now if run_at is None else run_at,
        # Due now means rung now: the sweeper need not ring for it at once again.
        "rung_at": now if run_at is None else None,
        "created_at": now,
        "token": 0,
        "attempts": 0,
    }


def _ring_after_commit(session: AsyncSession, rings: Sequence[Ring]) -> None:
    bell: Bell | None = session.info.get("bell")
    if bell is None or not rings:
        return
    waiting: list[Ring] = session.info.setdefault("rings", [])
    if not waiting:
        after_commit(session, lambda: bell(session.info.pop("rings")))
    waiting.extend(rings)


async def cancel(session: AsyncSession, key: str) -> None:
    """Removes a job that waits under ``key``; one that already runs is not stopped."""
    await session.execute(delete(Job).where(Job.unique_key == key, Job.status == JobStatus.queued))


async def run(db: Database, job_id: UUID, handlers: Mapping[str, Handler], lease: float) -> None:
    """Claims the job and runs its handler; returns at once when there is nothing to claim.

    An error is recorded and the job runs again after `RETRY_SECONDS`. A process that dies
    leaves its lease to run out. A handler whose lease was lost is cancelled, unless it has its own.
    """
    claimed = await _claim(db, job_id, lease)
    if claimed is None:
        return
    handler = handlers[claimed.name]

    async def renew() -> bool:
        return await _renew(db, claimed, lease) or handler.has_own_lease

    with structlog.contextvars.bound_contextvars(job=claimed.name, job_id=str(job_id)):
        try:
            async with keep_alive(lease / 3, renew):
                again = await handler.run({**claimed.payload, "job_id": str(job_id)})
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await _failed(db, claimed, handler, error)
        else:
            await _done(db, claimed, again)


DUE = (Job.status == JobStatus.queued) & (Job.run_at <= db_now())
ABANDONED = (Job.status == JobStatus.running) & (Job.lease_until < db_now()) & db_has_settled()

# Made once: a statement like these takes 0.8 ms to make and to find in the cache of compiled ones,
# more than the database takes for it, and all three are needed for each job.
_CLAIM = prepared.Alone(
    update(Job)
    .where(Job.id == bindparam("job_id"), or_(DUE, ABANDONED))
    .values(
        status=JobStatus.running,
        lease_until=db_in(bindparam("lease", type_=Float)),
        token=Job.token + 1,
        attempts=Job.attempts + 1,
        rung_at=None,
        unique_key=None,
    )
    .returning(Job.id, Job.name, Job.payload, Job.token, Job.attempts)
)
_QUEUED = {"status": JobStatus.queued, "lease_until": None, "rung_at": None}
_MINE = (Job.id == bindparam("job_id")) & (Job.token == bindparam("held"))
_RENEW = prepared.Alone(
    update(Job).where(_MINE).values(lease_until=db_in(bindparam("lease", type_=Float))).returning(Job.id)
)
_DELETE = prepared.Alone(delete(Job).where(_MINE).returning(Job.id))


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a job, until the lease runs out."""

    id: UUID
    name: str
    payload: Mapping[str, Any]
    token: int
    attempts: int


async def _claim(db: Database, job_id: UUID, lease: float) -> Claim | None:
    # After a commit whose answer was lost, the second try finds it taken, as whoever else comes does.
    rows = await insist(lambda: _CLAIM.rows(db, job_id=job_id, lease=lease), seconds=CLAIM_PATIENCE)
    return Claim(*rows[0]) if rows else None


async def _renew(db: Database, job: Claim, lease: float) -> bool:
    return bool(await _RENEW.rows(db, job_id=job.id, held=job.token, lease=lease))


async def _done(db: Database, job: Claim, again: Again | None) -> None:
    mine = {"job_id": job.id, "held": job.token}

    async def write() -> None:
        if again is None:
            await _DELETE.rows(db, **mine)
            return
        later = {**_QUEUED, "run_at": db_in(again.seconds), "attempts": 0}
        async with db.unit_of_work() as session:
            await session.execute(update(Job).where(_MINE).values(later), mine)

    await insist(write, seconds=PATIENCE)


async def _failed(db: Database, job: Claim, handler: Handler, error: Exception) -> None:
    counted = 0 if is_outage(error) else 1
    limit = handler.max_errors
    is_dead = counted == 1 and limit is not None and job.attempts > limit
    wait = RETRY_SECONDS[min(job.attempts, len(RETRY_SECONDS)) - 1]
    log.error("job failed", attempt=job.attempts, is_dead=is_dead, exc_info=error)

    async def write() -> None:
        async with db.unit_of_work() as session:
            await session.execute(
                update(Job)
                .where(Job.id == job.id, Job.token == job.token)
                .values(
                    status=JobStatus.dead if is_dead else JobStatus.queued,
                    run_at=db_in(wait),
                    rung_at=None,
                    lease_until=None,
                    attempts=job.attempts - 1 + counted,
                    error=f"{type(error).__name__}: {error}"[:2000],
                )
            )

    await insist(write, seconds=PATIENCE)


async def free_all(db: Database) -> None:
    """Ends every lease, and has what was rung for rung for again: for a start of the embedded mode, where no
    other process is at work and all rings died with the one before."""
    taken = (Job.status == JobStatus.running) | Job.rung_at.is_not(None)
    async with db.unit_of_work() as session:
        await session.execute(update(Job).where(Job.status != JobStatus.dead, taken).values(_QUEUED))


async def counts(session: AsyncSession) -> dict[str, int]:
    """Jobs by status, for the probes."""
    rows = await session.execute(select(Job.status, func.count()).group_by(Job.status))
    return {status.value: number for status, number in rows}
