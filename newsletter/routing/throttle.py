"""Sends a domain no more than it takes, by what its answers say (Postfix's 1/N rule).

A domain has no limit until it defers mail. From then on a row says how many mails may be on
their way to it at the same time through one server, ``concurrency``: a deferral takes 1/N from
it and an acceptance adds 1/N, where N is the concurrency itself, so that N answers of one kind
make one step. Back at the server's own number of connections, the row goes.

    deferral for the domain     concurrency - 1/N, never below 1
    acceptance                  concurrency + 1/N
    4.7.28, or 421 with 4.7.x   nothing for `block_seconds` (Gmail asks for 10 minutes), then one mail
                                at a time, two, three …; refused again, the same from the beginning

All workers together keep to it: who sends to a limited domain holds its door, a lease of which
there is one. The others go to the next server, or come back later. Times are the database's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit import ids
from newsletter.kit.db import db_in, db_now, insert
from newsletter.providers.base import Result, Temporary
from newsletter.routing.models import DestinationThrottle

log = structlog.get_logger(__name__)

HELD_SECONDS = 30.0
"""For how long a door is held without renewing it."""
FORGOTTEN_SECONDS = 6 * 3600.0
"""A limit that nobody met for so long says nothing any more."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """How much a domain takes. ``blocked_for`` is in seconds, from the answer that said so."""

    concurrency: float
    most: int
    """Where the limit ends."""
    blocked_for: float = 0.0
    reason: str = ""

    @property
    def at_once(self) -> int:
        return max(1, int(self.concurrency))

    @property
    def is_over(self) -> bool:
        return self.blocked_for == 0 and self.concurrency >= self.most

    def after(self, result: Result, *, block: float) -> "Throttle":
        """What the answer to one mail makes of it. Answers that say nothing of the domain change
        nothing, nor do those that were under way when it was blocked."""
        if self.blocked_for and not is_rate_limit(result):
            return self
        if is_rate_limit(result):
            return replace(self, concurrency=1.0, blocked_for=block, reason=str(result))
        if is_deferral(result):
            less = max(1.0, self.concurrency - 1 / self.concurrency)
            return replace(self, concurrency=less, reason=str(result))
        if isinstance(result, Exception):
            return self
        return replace(self, concurrency=min(float(self.most), self.concurrency + 1 / self.concurrency))


def is_rate_limit(result: Result) -> bool:
    """4.7.28 is Gmail's word for too much at once; 421 with 4.7.x is how the others say it."""
    if not isinstance(result, Temporary):
        return False
    status = result.enhanced or ""
    return status == "4.7.28" or (result.code == 421 and status.startswith("4.7."))


def is_deferral(result: Result) -> bool:
    """Whether a refusal speaks of the domain. 4.1.x and 4.2.x are about one mailbox (RFC 3463 §3.2
    and §3.3), a lost connection (no code) and HTTP's 408, 425, 429 and 5xx about the server."""
    if not isinstance(result, Temporary) or result.code is None or is_rate_limit(result):
        return is_rate_limit(result)
    return (result.code == 421 or 430 <= result.code < 460) and not (result.enhanced or "").startswith(
        ("4.1.", "4.2.")
    )


@dataclass(frozen=True, slots=True)
class Known:
    """A limited domain as the books have it."""

    concurrency: float
    blocked_until: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Door:
    """The right to send to a limited domain; ``holder`` proves it."""

    server_id: UUID
    domain: str
    concurrency: float
    holder: UUID


async def limited(
    session: AsyncSession, server_ids: Iterable[UUID], domain: str | None = None
) -> dict[UUID, dict[str, Known]]:
    """The limited domains of each server, or this one domain's limits."""
    statement = select(DestinationThrottle).where(
        DestinationThrottle.server_id.in_(list(server_ids)),
        DestinationThrottle.updated_at > db_in(-FORGOTTEN_SECONDS),
    )
    if domain is not None:
        statement = statement.where(DestinationThrottle.domain == domain)
    found: dict[UUID, dict[str, Known]] = {}
    for row in await session.scalars(statement):
        known = Known(row.concurrency, row.blocked_until, row.reason)
        found.setdefault(row.server_id, {})[row.domain] = known
    return found


async def counts(session: AsyncSession) -> dict[UUID, int]:
    """How many domains each server of the installation is limited for."""
    row = DestinationThrottle
    statement = select(row.server_id, func.count()).where(row.updated_at > db_in(-FORGOTTEN_SECONDS))
    found = (await session.execute(statement.group_by(row.server_id))).all()
    return {each[0]: each[1] for each in found}


async def begin(session: AsyncSession, server_id: UUID, domain: str, throttle: Throttle) -> None:
    """Notes that a domain without a limit deferred. Where another worker noted it in the meantime,
    the stricter of the two holds."""
    blocked = db_in(throttle.blocked_for) if throttle.blocked_for else None
    made = insert(session, DestinationThrottle).values(
        server_id=server_id,
        domain=domain,
        concurrency=throttle.concurrency,
        blocked_until=blocked,
        reason=throttle.reason[:500],
        updated_at=db_now(),
    )
    new = await session.execute(made.on_conflict_do_nothing().returning(DestinationThrottle.domain))
    if new.first() is None:
        values: dict[str, object] = {"updated_at": db_now(), "reason": throttle.reason[:500]}
        if blocked is not None:
            values |= {"blocked_until": blocked, "concurrency": 1.0}
        await session.execute(
            update(DestinationThrottle)
            .where(DestinationThrottle.server_id == server_id, DestinationThrottle.domain == domain)
            .values(values)
        )
    if throttle.blocked_for:
        log.warning("a domain is left alone", server_id=str(server_id), seconds=throttle.blocked_for)


async def take_door(session: AsyncSession, server_id: UUID, domain: str) -> Door | None:
    """None while the domain is blocked, or another worker holds its door."""
    row, holder = DestinationThrottle, ids.uuid7()
    statement = (
        update(row)
        .where(
            row.server_id == server_id,
            row.domain == domain,
            or_(row.blocked_until.is_(None), row.blocked_until <= db_now()),
            or_(row.held_until.is_(None), row.held_until <= db_now()),
        )
        .values(holder=holder, held_until=db_in(HELD_SECONDS), updated_at=db_now())
        .returning(row.concurrency)
    )
    concurrency = (await session.execute(statement)).scalar_one_or_none()
    return Door(server_id, domain, concurrency, holder) if concurrency is not None else None


async def keep_door(session: AsyncSession, door: Door) -> bool:
    """Holds it for longer; False when it went to another."""
    statement = (
        update(DestinationThrottle)
        .where(*_mine(door))
        .values(held_until=db_in(HELD_SECONDS))
        .returning(DestinationThrottle.holder)
    )
    return (await session.execute(statement)).first() is not None


async def leave_door(session: AsyncSession, door: Door, throttle: Throttle) -> None:
    """Writes what was learned, and lets the next one in. Who lost the door writes nothing."""
    if throttle.is_over:
        await session.execute(delete(DestinationThrottle).where(*_mine(door)))
        return
    await session.execute(
        update(DestinationThrottle)
        .where(*_mine(door))
        .values(
            concurrency=throttle.concurrency,
            blocked_until=db_in(throttle.blocked_for) if throttle.blocked_for else None,
            holder=None,
            held_until=None,
            reason=throttle.reason[:500],
            updated_at=db_now(),
        )
    )
    if throttle.blocked_for:
        log.warning("a domain is left alone", server_id=str(door.server_id), seconds=throttle.blocked_for)


async def forget(session: AsyncSession) -> None:
    """Drops limits that nobody met for `FORGOTTEN_SECONDS`."""
    old = DestinationThrottle.updated_at <= db_in(-FORGOTTEN_SECONDS)
    await session.execute(delete(DestinationThrottle).where(old))


def _mine(door: Door) -> tuple[ColumnElement[bool], ...]:
    return (
        DestinationThrottle.server_id == door.server_id,
        DestinationThrottle.domain == door.domain,
        DestinationThrottle.holder == door.holder,
    )
