"""Counts what goes through a server, exactly over all workers, and gives no more than its limits.

One row for each server: who holds its lock is alone. A reservation takes the units of a whole
block, or of half a second where there is a rate; what was not used goes back. A worker that dies
with a reservation in hand takes it along: until the end of the hour, day and month the server
then gets up to one block less, never more.

The rate is a bucket of one second: in any stretch of t seconds, at most rate × (t + 1) mails begin.
Each reservation moves ``rate_free_at`` on by what its mails take at the rate, so those of all
workers follow each other, and none may be used later than a second after its time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.db import db_now, insert
from newsletter.routing.choice import Limits
from newsletter.routing.models import ServerMeter

CHUNK_SECONDS = 0.5
"""What a reservation takes of a rate: shorter shares more evenly among workers, longer writes less."""
BUCKET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Periods:
    """The hour, day and month that units were taken in, in UTC."""

    hour: str
    day: str
    month: str

    @classmethod
    def of(cls, at: datetime) -> "Periods":
        text = at.astimezone(UTC).strftime("%Y-%m-%dT%H")
        return cls(text, text[:10], text[:7])


@dataclass(frozen=True, slots=True)
class Used:
    hour: int = 0
    day: int = 0
    month: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """``count`` mails may begin ``delay`` seconds from now, within ``valid`` seconds from then.
    Where it is 0, it is worth asking again after ``retry_after`` seconds, and ``reason`` says why."""

    count: int
    periods: Periods
    delay: float = 0.0
    valid: float | None = None
    retry_after: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Full:
    """The limit that leaves no room, and for how many seconds."""

    reason: str
    seconds: float


async def reserve(
    session: AsyncSession, server_id: UUID, limits: Limits, wanted: int, *, patience: float
) -> Grant:
    """Takes as many of ``wanted`` as there is room for, if they may begin within ``patience`` seconds."""
    row, now = await _locked(session, server_id)
    periods = Periods.of(now)
    used = _used(row, periods)
    found = full(used, limits, now)
    if found is not None:
        return Grant(0, periods, retry_after=found.seconds, reason=found.reason)
    count = min(wanted, *_room(used, limits, now)) if _room(used, limits, now) else wanted
    delay, valid, free_at = 0.0, None, row.rate_free_at
    if limits.per_second is not None:
        begins = max(now, row.rate_free_at or now)
        delay = (begins - now).total_seconds()
        if delay > patience:
            return Grant(0, periods, retry_after=delay, reason="the rate per second is given away")
        count = min(count, max(1, int(limits.per_second * CHUNK_SECONDS)))
        free_at = begins + timedelta(seconds=count / limits.per_second)
        valid = BUCKET_SECONDS
    await session.execute(
        update(ServerMeter)
        .where(ServerMeter.server_id == server_id)
        .values(
            hour=periods.hour,
            hour_used=used.hour + count,
            day=periods.day,
            day_used=used.day + count,
            month=periods.month,
            month_used=used.month + count,
            rate_free_at=free_at,
        )
    )
    return Grant(count, periods, delay, valid)


async def give_back(session: AsyncSession, server_id: UUID, periods: Periods, count: int) -> None:
    """Frees units that no mail used. Those of a period that is over count no more anyway."""
    if count:
        hour, day, month = ServerMeter.hour_used, ServerMeter.day_used, ServerMeter.month_used
        await session.execute(
            update(ServerMeter)
            .where(ServerMeter.server_id == server_id)
            .values(
                hour_used=case((ServerMeter.hour == periods.hour, hour - count), else_=hour),
                day_used=case((ServerMeter.day == periods.day, day - count), else_=day),
                month_used=case((ServerMeter.month == periods.month, month - count), else_=month),
            )
        )


async def note(session: AsyncSession, server_id: UUID, *, sent: int, deferred: int, failed: int) -> None:
    """Adds to the totals, which metrics show; they limit nothing."""
    fresh = {"hour": "", "hour_used": 0, "day": "", "day_used": 0, "month": "", "month_used": 0}
    added = {"sent": sent, "deferred": deferred, "failed": failed}
    statement = insert(session, ServerMeter).values(server_id=server_id, **fresh, **added)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[ServerMeter.server_id],
            set_={name: getattr(ServerMeter, name) + number for name, number in added.items()},
        )
    )


async def used(session: AsyncSession, server_ids: Iterable[UUID]) -> dict[UUID, Used]:
    """What each server was given in the running periods; those without a row were given nothing."""
    statement = select(ServerMeter, db_now()).where(ServerMeter.server_id.in_(list(server_ids)))
    rows = (await session.execute(statement)).all()
    return {row.server_id: _used(row, Periods.of(now)) for row, now in rows}


async def totals(session: AsyncSession) -> Sequence[ServerMeter]:
    """What went through each server in all."""
    return (await session.scalars(select(ServerMeter))).all()


def full(used: Used, limits: Limits, now: datetime) -> Full | None:
    """The limit that lasts longest of those that are used up; None where there is room."""
    now = now.astimezone(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow = midnight + timedelta(days=1)
    next_month = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    ramp = limits.warm_up.limit(now.date()) if limits.warm_up else None
    checks = (
        (limits.per_month, used.month, next_month, "the quota of the month is used up"),
        (limits.per_day, used.day, tomorrow, "the quota of the day is used up"),
        (ramp, used.day, tomorrow, "the warm-up's mails of the day are used up"),
        (limits.per_hour, used.hour, hour, "the quota of the hour is used up"),
    )
    for limit, number, until, reason in checks:
        if limit is not None and number >= limit:
            return Full(reason, (until - now).total_seconds())
    return None


def _room(used: Used, limits: Limits, now: datetime) -> list[int]:
    ramp = limits.warm_up.limit(now.astimezone(UTC).date()) if limits.warm_up else None
    pairs = (
        (limits.per_hour, used.hour),
        (limits.per_day, used.day),
        (ramp, used.day),
        (limits.per_month, used.month),
    )
    return [limit - number for limit, number in pairs if limit is not None]


def _used(row: ServerMeter, periods: Periods) -> Used:
    return Used(
        row.hour_used if row.hour == periods.hour else 0,
        row.day_used if row.day == periods.day else 0,
        row.month_used if row.month == periods.month else 0,
    )


async def _locked(session: AsyncSession, server_id: UUID) -> tuple[ServerMeter, datetime]:
    """The row, locked until the transaction ends, and the time at which that was so: RETURNING
    reads the clock after the wait for the lock, which SELECT FOR UPDATE need not."""
    statement = (
        update(ServerMeter)
        .where(ServerMeter.server_id == server_id)
        .values(hour=ServerMeter.hour)
        .returning(ServerMeter, db_now())
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    found = (await session.execute(statement)).one_or_none()
    if found is None:
        fresh = {"hour": "", "hour_used": 0, "day": "", "day_used": 0, "month": "", "month_used": 0}
        made = insert(session, ServerMeter).values(server_id=server_id, **fresh, sent=0, deferred=0, failed=0)
        await session.execute(made.on_conflict_do_nothing())
        found = (await session.execute(statement)).one()
    return found[0], found[1]
