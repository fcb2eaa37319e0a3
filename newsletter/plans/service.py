"""Reserves, settles and gives back units of a plan.

``reserve`` is one conditional UPDATE, so a limit holds under any concurrency: of 200 calls
on 100 units left, exactly 100 get one. What was reserved is later settled (used) or released.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Integer, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit import clock
from newsletter.kit.bulk import plain_table
from newsletter.kit.db import insert
from newsletter.plans.catalogue import Resource
from newsletter.plans.models import Counter

_COUNTERS = plain_table(Counter)


@dataclass(frozen=True, slots=True)
class Usage:
    """``used`` counts what is spent, ``reserved`` what running work may still spend."""

    used: int
    reserved: int
    limit: int | None
    period: str


def period_of(resource: Resource, at: datetime | None = None) -> str:
    """The period a unit taken now counts in; empty for what is held all the time."""
    return clock.month(at or clock.now()) if resource.is_monthly else ""


async def reserve(
    session: AsyncSession,
    owner_id: UUID,
    resource: Resource,
    units: int,
    limit: int | None,
    period: str | None = None,
) -> bool:
    """Takes ``units`` if they fit under ``limit`` (None: always); False leaves all as it was.

    Whoever settles later passes the ``period`` that it will settle in: a month may end in between.
    """
    return await _take(session, owner_id, resource, limit, period, reserved=units)


async def use(
    session: AsyncSession, owner_id: UUID, resource: Resource, units: int, limit: int | None
) -> bool:
    """Takes and settles in one step, for what is counted when it is made."""
    return await _take(session, owner_id, resource, limit, used=units)


async def hold(session: AsyncSession, owner_id: UUID, resource: Resource) -> int:
    """How many units are taken; the counter stands still until the transaction ends, so what is
    counted on this number holds."""
    period = period_of(resource)
    held = (
        update(_COUNTERS)
        .where(*_key(owner_id, resource, period))
        .values(used=Counter.used)
        .returning(Counter.used + Counter.reserved)
    )
    taken = (await session.execute(held)).scalar_one_or_none()
    if taken is None:
        await _ensure(session, owner_id, resource, period)
        taken = (await session.execute(held)).scalar_one()
    return int(taken)


def hold_sql(owner_id: UUID, resource: Resource) -> str:
    """The lock of `hold` as text without parameters, for what is held all the time. It finds no row
    where nothing was ever counted."""
    held = _held_sql(f"'{owner_id}'", resource)
    return f"SELECT FROM plan_counters {held} FOR NO KEY UPDATE"


def taken_sql(*, owner: str, resource: Resource) -> str:
    """What `hold` returns, as text, for a statement that comes after the lock."""
    return f"SELECT used + reserved FROM plan_counters {_held_sql(owner, resource)}"  # noqa: S608


def seize_sql(*, owner: str, resource: Resource) -> str:
    """The lock of `hold` as text, without waiting for it: ``taken``, as `hold` returns it, and whether it
    ``is_seen``, that is, nobody changed the counter since this statement looks at the database. No row
    where somebody else has the lock."""
    held = _held_sql(owner, resource)
    return (
        f"SELECT used + reserved AS taken, xmin = (SELECT xmin FROM plan_counters {held}) AS is_seen "  # noqa: S608
        f"FROM plan_counters {held} FOR NO KEY UPDATE SKIP LOCKED"
    )


def use_sql(*, units: str, owner: str, resource: Resource) -> str:
    """`use` as text, for who holds the counter and knows that there is room."""
    return f"UPDATE plan_counters SET used = used + {units} {_held_sql(owner, resource)}"  # noqa: S608


def _held_sql(owner: str, resource: Resource) -> str:
    assert not resource.is_monthly
    return f"WHERE owner_id = {owner} AND resource = '{resource.value}' AND period = ''"


async def settle(
    session: AsyncSession, owner_id: UUID, resource: Resource, period: str, *, used: int, released: int
) -> None:
    """Turns reserved units into used ones and gives the rest back."""
    if used or released:
        await session.execute(
            update(Counter)
            .where(*_key(owner_id, resource, period))
            .values(used=Counter.used + used, reserved=Counter.reserved - used - released)
        )


def settle_sql(*, used: str, decided: str, numbers: str, owner: str, resource: str, period: str) -> str:
    """`settle` as text, for a statement written by hand: ``used`` and ``decided`` (used or released)
    are expressions over the row ``numbers``, the others the names of parameters."""
    return (
        f"UPDATE plan_counters AS q SET used = q.used + {used}, reserved = q.reserved - ({decided}) "  # noqa: S608
        f"FROM {numbers} WHERE q.owner_id = {owner} AND q.resource = {resource} AND q.period = {period} "
        f"AND {decided} > 0"
    )


async def give_back(session: AsyncSession, owner_id: UUID, resource: Resource, units: int) -> None:
    """Frees used units of what is held all the time: a subscriber left."""
    if units:
        await session.execute(
            update(Counter).where(*_key(owner_id, resource)).values(used=Counter.used - units)
        )


async def usage(session: AsyncSession, owner_id: UUID, resource: Resource, limit: int | None) -> Usage:
    period = period_of(resource)
    row = (
        await session.execute(select(Counter.used, Counter.reserved).where(*_key(owner_id, resource, period)))
    ).one_or_none()
    return Usage(row.used if row else 0, row.reserved if row else 0, limit, period)


_NO_LIMIT = 2**62
_MORE = bindparam("more_used", type_=Integer), bindparam("more_reserved", type_=Integer)
# Made once: it is what each single mail waits for last.
_TAKE = (
    update(_COUNTERS)
    .where(
        _COUNTERS.c.owner_id == bindparam("owner"),
        _COUNTERS.c.resource == bindparam("kind"),
        _COUNTERS.c.period == bindparam("within"),
        _COUNTERS.c.used + _COUNTERS.c.reserved + _MORE[0] + _MORE[1] <= bindparam("most", type_=BigInteger),
    )
    .values(used=_COUNTERS.c.used + _MORE[0], reserved=_COUNTERS.c.reserved + _MORE[1])
    .returning(_COUNTERS.c.used)
)


async def _take(
    session: AsyncSession,
    owner_id: UUID,
    resource: Resource,
    limit: int | None,
    period: str | None = None,
    *,
    used: int = 0,
    reserved: int = 0,
) -> bool:
    period = period_of(resource) if period is None else period
    values = {
        "owner": owner_id,
        "kind": resource.value,
        "within": period,
        "more_used": used,
        "more_reserved": reserved,
        "most": _NO_LIMIT if limit is None else limit,
    }
    if (await session.execute(_TAKE, values)).first() is not None:
        return True
    # Full, or the first of its period: the row is made when it is missing, and asked again.
    await _ensure(session, owner_id, resource, period)
    return (await session.execute(_TAKE, values)).first() is not None


async def _ensure(session: AsyncSession, owner_id: UUID, resource: Resource, period: str) -> None:
    row = {
        "owner_id": owner_id,
        "resource": resource.value,
        "period": period,
        "used": 0,
        "reserved": 0,
    }
    await session.execute(insert(session, Counter).values(row).on_conflict_do_nothing())


def _key(owner_id: UUID, resource: Resource, period: str | None = None) -> tuple[ColumnElement[bool], ...]:
    return (
        Counter.owner_id == owner_id,
        Counter.resource == resource.value,
        Counter.period == (period_of(resource) if period is None else period),
    )
