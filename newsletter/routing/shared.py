"""What all workers share about servers, in one short transaction for each step.

While the database is away nothing is promised: reservations, probes and doors are refused, and
what was learned is kept in this process alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.db import Database, db_now, is_outage
from newsletter.providers.base import Refusal
from newsletter.routing import breaker, meter, throttle
from newsletter.routing.choice import Limits
from newsletter.routing.meter import Grant, Periods
from newsletter.routing.outlet import Call, Outlet, Tally
from newsletter.routing.throttle import Door, Throttle
from newsletter.settings import RoutingSettings

T = TypeVar("T")
log = structlog.get_logger(__name__)

AWAY_SECONDS = 5.0
"""When to come again while the database is away."""


class Shared:
    """The books of routing."""

    def __init__(self, db: Database, settings: RoutingSettings) -> None:
        self._db, self._settings = db, settings

    async def reserve(self, server_id: UUID, limits: Limits, wanted: int, patience: float) -> Grant:
        away = Grant(0, Periods("", "", ""), retry_after=AWAY_SECONDS, reason="the database is away")
        return await self._write(
            lambda session: meter.reserve(session, server_id, limits, wanted, patience=patience), away
        )

    async def give_back(self, server_id: UUID, periods: Periods, count: int) -> None:
        if count:
            await self._write(lambda session: meter.give_back(session, server_id, periods, count), None)

    async def note(self, tallies: Mapping[UUID, Tally]) -> None:
        """Adds to the totals of servers, in the order of their ids, so that two processes that do the
        same cannot wait for each other in a circle."""

        async def add(session: AsyncSession) -> None:
            for server_id, one in sorted(tallies.items()):
                await meter.note(session, server_id, sent=one.sent, deferred=one.deferred, failed=one.failed)

        await self._write(add, None)

    async def settle(self, call: Call) -> None:
        """Notes for everybody what a call showed of its server and of domains."""
        if call.trouble is not None:
            await self.trip(call.outlet, call.trouble)
        limited = call.newly_limited()
        if limited:
            await self.limit(call.outlet, limited)

    async def trip(self, outlet: Outlet, failure: Refusal) -> None:
        """Opens the outlet's breaker for everybody."""

        async def opened(session: AsyncSession) -> None:
            state = await breaker.trip(session, outlet.server.id, self._settings.breaker_seconds, failure)
            now = (await session.execute(select(db_now()))).scalar_one()
            outlet.set_gate((state, now))

        await self._write(opened, None)
        outlet.failures.clear()

    async def take_probe(self, outlet: Outlet) -> bool:
        return await self._write(lambda session: breaker.take_probe(session, outlet.server.id), False)

    async def drop_probe(self, outlet: Outlet) -> None:
        await self._write(lambda session: breaker.drop_probe(session, outlet.server.id), None)

    async def close(self, outlet: Outlet) -> None:
        """The outlet's server works again."""
        await self._write(lambda session: breaker.close(session, outlet.server.id), None)
        outlet.set_gate(None)

    async def limit(self, outlet: Outlet, domains: Mapping[str, Throttle]) -> None:
        """Limits domains that had no limit."""

        async def write(session: AsyncSession) -> None:
            for domain, one in sorted(domains.items()):
                await throttle.begin(session, outlet.server.id, domain, one)

        await self._write(write, None)
        for domain, one in domains.items():
            outlet.limit(domain, one.blocked_for, one.reason)

    async def take_door(self, server_id: UUID, domain: str) -> Door | None:
        return await self._write(lambda session: throttle.take_door(session, server_id, domain), None)

    async def keep_door(self, door: Door) -> bool:
        return await self._write(lambda session: throttle.keep_door(session, door), False)

    async def leave_door(self, outlet: Outlet, door: Door, learned: Throttle) -> None:
        await self._write(lambda session: throttle.leave_door(session, door, learned), None)
        if learned.is_over:
            outlet.limited.pop(door.domain, None)
        else:
            outlet.limit(door.domain, learned.blocked_for, learned.reason)

    async def _write(self, step: Callable[[AsyncSession], Awaitable[T]], otherwise: T) -> T:
        try:
            async with self._db.unit_of_work() as session:
                return await step(session)
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("the database is away; routing goes by what it knows", error=type(error).__name__)
            return otherwise
