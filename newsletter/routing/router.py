"""Hands a mailing a way out: one provider in front of all the servers that its mail may go through."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from newsletter.kit.crypto import Undecryptable, Vault
from newsletter.kit.db import Database, is_outage
from newsletter.providers.base import (
    Envelope,
    MailStream,
    Provider,
    Result,
    ServerDown,
    Throttled,
    never,
)
from newsletter.routing import roster, service
from newsletter.routing.choice import DEFAULT_SERVER, Server, Tier
from newsletter.routing.dispatch import Dispatch
from newsletter.routing.outlet import Call, Outlet
from newsletter.routing.roster import Roster
from newsletter.routing.shared import AWAY_SECONDS, Shared
from newsletter.routing.workshop import Workshop
from newsletter.settings import Settings

log = structlog.get_logger(__name__)

NO_SERVER_SECONDS = 60.0
"""When mail looks again whose project has no server any more."""


@dataclass(slots=True)
class _Known:
    """A project's roster, and when its reading began (monotonic)."""

    roster: Roster
    read_at: float


@dataclass(slots=True)
class _Reading:
    """One reading of a project's roster at a time; the others wait for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    known: _Known | None = None


class Router:
    """One object serves one event loop. Made providers are kept, and replaced when their server's
    configuration changes; the old one is closed once nothing is on its way through it."""

    def __init__(self, db: Database, vault: Vault, workshop: Workshop, settings: Settings) -> None:
        self._db, self._vault, self._workshop = db, vault, workshop
        self._settings = settings.routing
        self._connections = settings.smtp.connections
        self._has_default = settings.smtp.url is not None
        self._shared = Shared(db, settings.routing)
        self._readings: dict[UUID, _Reading] = {}
        self._outlets: dict[UUID, Outlet] = {}
        self._retired: list[Outlet] = []
        self._noted_at = time.monotonic()

    def for_stream(self, stream: MailStream) -> Provider:
        """Waits for nothing; servers are looked up with the first mail."""
        return _WayOut(self, stream)

    async def aclose(self) -> None:
        await self._note()
        outlets = [*self._outlets.values(), *self._retired]
        self._outlets.clear()
        self._retired.clear()
        await asyncio.gather(*(outlet.provider.aclose() for outlet in outlets))

    async def send(
        self, stream: MailStream, envelopes: Sequence[Envelope], should_stop: Callable[[], bool]
    ) -> AsyncGenerator[tuple[int, Result], None]:
        """See `Provider.send_many`."""
        tiers = await self._tiers(stream)
        if isinstance(tiers, Throttled):
            for index in range(len(envelopes)):
                yield index, tiers
            return
        # Held until the end: a server that is changed or deleted meanwhile still takes this block.
        outlets = {each.server.id: self._outlets[each.server.id] for tier in tiers for each in tier}
        for outlet in outlets.values():
            outlet.users += 1
        try:
            rest: Sequence[int] = range(len(envelopes))
            only = next(iter(outlets.values()))
            if len(outlets) == 1 and only.is_free:
                # The usual case is decided once for the block: it goes out as it is, and only what
                # an answer stopped in the middle goes through the rounds below.
                call = Call(only, envelopes, self._settings, should_stop)
                async with aclosing(call.results()) as results:
                    async for item in results:
                        yield item
                await self._shared.settle(call)
                rest = call.untried
            if rest:
                dispatch = Dispatch(envelopes, tiers, outlets, self._shared, self._settings, should_stop)
                async with aclosing(dispatch.run(rest)) as results:
                    async for item in results:
                        yield item
        finally:
            for outlet in outlets.values():
                outlet.users -= 1
        await self._note_sometimes()

    async def check(self, stream: MailStream) -> str:
        tiers = await self._tiers(stream)
        if isinstance(tiers, Throttled):
            raise ServerDown(tiers.text)
        return await self._outlets[tiers[0][0].server.id].provider.check()

    # What is known

    async def _tiers(self, stream: MailStream) -> tuple[Tier, ...] | Throttled:
        try:
            tiers = (await self._roster(stream.project_id)).tiers(stream)
        except Exception as error:
            if not is_outage(error):
                raise
            return Throttled("the database is away", retry_after=AWAY_SECONDS)
        return tiers or Throttled("the project has no sending server", retry_after=NO_SERVER_SECONDS)

    async def _roster(self, project_id: UUID) -> Roster:
        """At most ``refresh_seconds`` old, or as it was when the database went away."""
        reading = self._readings.setdefault(project_id, _Reading())
        async with reading.lock:
            known, now = reading.known, time.monotonic()
            if known is not None and now - known.read_at < self._settings.refresh_seconds:
                return known.roster
            try:
                async with self._db.read() as session:
                    found = await roster.read(session, project_id, has_default=self._has_default)
            except Exception as error:
                if known is None or not is_outage(error):
                    raise
                log.warning("the database is away; servers are as they were", error=type(error).__name__)
                return known.roster
            reading.known = _Known(found, now)
            self._take_over(found, known.roster if known else None, now)
            await self._close_retired()
            return found

    def _take_over(self, found: Roster, former: Roster | None, read_at: float) -> None:
        for server_id in former.rows.keys() - found.rows.keys() if former else ():
            if (gone := self._outlets.pop(server_id, None)) is not None:
                self._retired.append(gone)
        for server_id in (*found.rows, DEFAULT_SERVER):
            server = found.servers.get(server_id) or found.default
            if server is None:
                continue
            outlet = self._outlets.get(server_id)
            if outlet is None or outlet.server.version != server.version:
                if outlet is not None:
                    self._retired.append(outlet)
                outlet = self._outlets[server_id] = self._make(server, found)
            outlet.learn(
                found.breakers.get(server_id), found.throttles.get(server_id, {}), found.now, read_at
            )

    def _make(self, server: Server, found: Roster) -> Outlet:
        if server.id == DEFAULT_SERVER:
            return Outlet(server, self._workshop.default(), most=self._connections, settings=self._settings)
        row = found.rows[server.id]
        try:
            config = service.config_of(self._vault, row)
        except Undecryptable:
            log.error("a sending server's secrets cannot be read", server_id=str(server.id))
            provider: Provider = _Unreadable()
        else:
            provider = self._workshop.make(
                row.project_id,
                config,
                connections=row.max_connections,
                messages_per_connection=row.messages_per_connection,
            )
        return Outlet(server, provider, most=row.max_connections, settings=self._settings)

    async def _close_retired(self) -> None:
        idle = [outlet for outlet in self._retired if not outlet.users]
        self._retired = [outlet for outlet in self._retired if outlet.users]
        await asyncio.gather(*(outlet.provider.aclose() for outlet in idle))

    # Totals

    async def _note_sometimes(self) -> None:
        if time.monotonic() - self._noted_at >= self._settings.refresh_seconds:
            await self._note()

    async def _note(self) -> None:
        """Writes totals now and then: they are for reading, and a killed process may lose seconds
        of them."""
        self._noted_at = time.monotonic()
        tallies = {outlet.server.id: outlet.tally.take() for outlet in self._every() if outlet.tally.is_some}
        if tallies:
            await self._shared.note(tallies)

    def _every(self) -> list[Outlet]:
        return [*self._outlets.values(), *self._retired]


class _WayOut:
    """A `newsletter.providers.base.Provider` for the mail of one stream."""

    name = "router"

    def __init__(self, router: Router, stream: MailStream) -> None:
        self._router, self._stream = router, stream

    def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncGenerator[tuple[int, Result], None]:
        return self._router.send(self._stream, envelopes, should_stop)

    async def check(self) -> str:
        return await self._router.check(self._stream)

    async def aclose(self) -> None:
        """Nothing: the servers are the router's."""


class _Unreadable:
    """Stands for a server whose secrets no known key opens."""

    name = "unreadable"
    reason = "the server's secrets cannot be read: the secret key was changed or lost"

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncGenerator[tuple[int, Result], None]:
        for index in range(len(envelopes)):
            yield index, ServerDown(self.reason)

    async def check(self) -> str:
        raise ServerDown(self.reason)

    async def aclose(self) -> None: ...
