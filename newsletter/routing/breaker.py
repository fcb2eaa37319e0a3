"""Leaves a server alone that fails, and lets one worker try whether it works again.

                 failures in a row
    closed ─────────────────────────► open ◄──────────────┐
      ▲                                │ its time is over │ the probe failed: open for longer
      │ the probe went through         ▼                  │
      └─────────────────────────── half-open ─────────────┘
                                       one mail, by one worker of all

Failures are a server that cannot be reached or signed in to, and answers that speak of the
server rather than of the mail (`is_trouble`); 421s count once for each domain. They are counted in
each process; that the breaker is open is a row, which all see within seconds. A prober that dies
holds the others up for `PROBE_SECONDS`. Times are the database's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import structlog
from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.db import db_in, db_now, insert
from newsletter.providers.base import Refusal, Result, ServerDown, Temporary
from newsletter.routing.models import ServerBreaker

log = structlog.get_logger(__name__)

PROBE_SECONDS = 60.0
"""What a probe may take before another worker tries."""


class State(StrEnum):
    closed = "closed"
    open = "open"
    half_open = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """``openings`` counts those in a row, which makes each one longer than the last."""

    openings: int = 0
    open_until: datetime | None = None
    probe_until: datetime | None = None
    reason: str = ""

    def state(self, now: datetime) -> State:
        if self.open_until is None:
            return State.closed
        return State.open if now < self.open_until else State.half_open

    def after_failures(self, now: datetime, waits: Sequence[float], reason: str) -> "Breaker":
        """Opens. What fails while it is open was begun before, and says nothing new."""
        if self.state(now) is State.open:
            return self
        wait = waits[min(self.openings, len(waits) - 1)]
        return Breaker(self.openings + 1, now + timedelta(seconds=wait), None, reason)

    def seconds_left(self, now: datetime) -> float:
        """Until it may be tried again; 0 when it may be."""
        if self.open_until is None:
            return 0.0
        busy = self.probe_until if self.state(now) is State.half_open else self.open_until
        return max(0.0, (busy - now).total_seconds()) if busy is not None else 0.0


CLOSED = Breaker()


def is_trouble(result: Result) -> bool:
    """Whether an answer speaks of the server rather than of the mail.

    421 without 4.7.x: it closes the connection on us (RFC 5321 §3.8). 408, 425, 429 and 5xx of an
    HTTP API: it is busy or broken; 552 alone is SMTP's, and about a mailbox.
    """
    if isinstance(result, ServerDown):
        return True
    if not isinstance(result, Temporary) or result.code is None:
        return False
    if result.code == 421:
        return not (result.enhanced or "").startswith("4.7.")
    return result.code in (408, 425, 429) or (result.code >= 500 and result.code != 552)


async def states(session: AsyncSession, server_ids: Iterable[UUID]) -> dict[UUID, Breaker]:
    """The breakers that are not closed."""
    statement = select(ServerBreaker).where(ServerBreaker.server_id.in_(list(server_ids)))
    return {row.server_id: _read(row) for row in await session.scalars(statement)}


async def open_all(session: AsyncSession) -> dict[UUID, Breaker]:
    """All breakers of the installation that are not closed."""
    return {row.server_id: _read(row) for row in await session.scalars(select(ServerBreaker))}


async def trip(session: AsyncSession, server_id: UUID, waits: Sequence[float], failure: Refusal) -> Breaker:
    """Opens the breaker, for longer each time."""
    made = insert(session, ServerBreaker).values(
        server_id=server_id, openings=0, reason="", updated_at=db_now()
    )
    await session.execute(made.on_conflict_do_nothing())
    touched = (
        update(ServerBreaker)
        .where(ServerBreaker.server_id == server_id)
        .values(updated_at=db_now())
        .returning(ServerBreaker, db_now())
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    row, now = (await session.execute(touched)).one()
    opened = _read(row).after_failures(now, waits, failure.text)
    await session.execute(
        update(ServerBreaker)
        .where(ServerBreaker.server_id == server_id)
        .values(
            openings=opened.openings,
            open_until=opened.open_until,
            probe_until=opened.probe_until,
            reason=opened.reason,
        )
    )
    log.warning("a sending server is left alone", server_id=str(server_id), openings=opened.openings)
    return opened


async def take_probe(session: AsyncSession, server_id: UUID) -> bool:
    """True for the one worker that may try a half-open server."""
    is_free = or_(ServerBreaker.probe_until.is_(None), ServerBreaker.probe_until <= db_now())
    statement = (
        update(ServerBreaker)
        .where(ServerBreaker.server_id == server_id, ServerBreaker.open_until <= db_now(), is_free)
        .values(probe_until=db_in(PROBE_SECONDS))
        .returning(ServerBreaker.server_id)
    )
    return (await session.execute(statement)).first() is not None


async def drop_probe(session: AsyncSession, server_id: UUID) -> None:
    """The probe was not made after all; the next worker may."""
    await session.execute(
        update(ServerBreaker).where(ServerBreaker.server_id == server_id).values(probe_until=None)
    )


async def close(session: AsyncSession, server_id: UUID) -> None:
    """The probe went through."""
    await session.execute(delete(ServerBreaker).where(ServerBreaker.server_id == server_id))
    log.info("a sending server works again", server_id=str(server_id))


def _read(row: ServerBreaker) -> Breaker:
    return Breaker(row.openings, row.open_until, row.probe_until, row.reason)
