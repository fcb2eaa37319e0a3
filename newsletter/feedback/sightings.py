"""Opens and clicks on their way into the event log, in blocks.

A reader never waits for the database: the request only appends to a buffer, which is written every
`EventSettings.flush_seconds`, without what came in the last `settle_seconds`. While the database
is away blocks go to a file (`newsletter.feedback.spool`), from where they are written when it is
back. What a sighting means, person or machine, is decided as it is written
(`newsletter.feedback.engagement`).
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import aclosing
from functools import lru_cache
from ipaddress import ip_address, ip_network
from math import inf
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from newsletter.delivery.links import MessageRef
from newsletter.feedback import engagement
from newsletter.feedback.classing import Request
from newsletter.feedback.engagement import Entry
from newsletter.feedback.spool import Spool
from newsletter.kit import ids
from newsletter.kit.db import Database, JSONObject, is_outage
from newsletter.settings import EventSettings

log = structlog.get_logger(__name__)

WRITE_SECONDS: Final = 10.0
"""What the database gets for one block before it counts as away."""
REPLAY_SECONDS: Final = 5.0
"""Between two looks whether the spool can be written to the database."""
SAY_EVERY: Final = 60.0
MAX_HEADER: Final = 500
"""Letters of a header that are kept."""


class Sighting(NamedTuple):
    """One request for a pixel or a tracked link, as it came: a tuple, which takes no time to make."""

    at: float
    """Seconds since 1970."""
    packed: bytes
    """The message, as `MessageRef.pack` writes it."""
    method: str
    url: str | None
    """Where a click leads; None for an open."""
    ip: str | None
    user_agent: bytes | None
    purpose: bytes | None
    """What a browser says of itself that fetches ahead (``Sec-Purpose: prefetch``)."""

    def entry(self, event_id: UUID) -> Entry:
        """What is kept of it. The address is cut here: nothing that names a line goes to a disk."""
        network = None if self.ip is None else network_of(self.ip)
        request = Request(self.method, _text(self.user_agent), _text(self.purpose), network)
        return Entry(event_id, self.at, _message(self.packed), self.url, request)


# Who opens a mail follows its links.
_message = lru_cache(maxsize=5_000)(MessageRef.unpack)


# Readers of one mailing use a few hundred programs.
@lru_cache(maxsize=5_000)
def _text(value: bytes | None) -> str | None:
    # PostgreSQL's text holds no NUL, and a header may.
    return None if value is None else value[:MAX_HEADER].decode("latin-1").replace("\0", "")


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str | None:
    """The network that an address is in, /24 or /48: enough to tell a proxy, too little to name
    a person. None for what is no address."""
    try:
        found = ip_address(address)
    except ValueError:
        return None
    if found.version == 6 and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(ip_network((found, 24 if found.version == 4 else 48), strict=False))


class Sightings:
    """The buffer of one process and one event loop, and the task that empties it."""

    def __init__(self, db: Database, settings: EventSettings, spool: Spool) -> None:
        self._db, self._settings, self._spool = db, settings, spool
        self._buffer: list[Sighting] = []
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._replay_at = 0.0
        self._lost, self._said_at = 0, -SAY_EVERY

    def start(self) -> None:
        """Begins to write; also what an earlier process left in the spool."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def note(self, sighting: Sighting) -> None:
        """Keeps it in memory. A buffer that is full drops it, and the log says so."""
        if len(self._buffer) >= self._settings.buffer:
            self._drop(1)
            return
        self._buffer.append(sighting)
        if self._task is None:
            self.start()

    async def flush(self, seen_before: float = inf) -> None:
        """Writes all that is in memory now, or was seen before this time, to the database or to the
        spool."""
        settled = bisect_left(self._buffer, seen_before, key=lambda sighting: sighting.at)
        due, self._buffer = self._buffer[:settled], self._buffer[settled:]
        for start in range(0, len(due), self._settings.block):
            block = due[start : start + self._settings.block]
            event_ids = ids.uuid7s(len(block))
            await self._keep([each.entry(event_id) for each, event_id in zip(block, event_ids, strict=True)])

    async def replay(self) -> None:
        """Writes what is in the spool to the database. Raises what is wrong with the database."""
        async with aclosing(self._spool.blocks(self._settings.block)) as blocks:
            async for block in blocks:
                await self._write([Entry.unpacked(packed) for packed in block])

    async def aclose(self) -> None:
        """What was noted is in the database or in the spool when this returns."""
        self._closing.set()
        if self._task is not None:
            await self._task
        await self.flush()
        await self._spool.aclose()

    async def _work(self) -> None:
        while not self._closing.is_set():
            try:
                async with asyncio.timeout(self._settings.flush_seconds):
                    await self._closing.wait()
            except TimeoutError:
                pass  # Time to write what there is.
            # What belongs together is judged together: who follows every link at once. A buffer
            # that fills up does not wait for that.
            is_filling = len(self._buffer) > self._settings.buffer // 2
            await self.flush(inf if is_filling else time.time() - self._settings.settle_seconds)
            await self._replay_if_due()

    async def _keep(self, block: Sequence[Entry]) -> None:
        try:
            await self._write(block)
        except Exception as error:
            if not is_outage(error):
                log.error("opens and clicks could not be written; they are kept in the spool", exc_info=error)
            await self._spool_block([entry.packed() for entry in block])

    async def _spool_block(self, block: Sequence[JSONObject]) -> None:
        try:
            is_kept = await self._spool.append(block)
        except OSError as error:
            log.error("the spool of opens and clicks cannot be written", error=repr(error))
            is_kept = False
        if not is_kept:
            self._drop(len(block))

    async def _write(self, block: Sequence[Entry]) -> None:
        async with asyncio.timeout(WRITE_SECONDS), self._db.unit_of_work() as session:
            await engagement.record(session, block, too_soon=self._settings.too_soon)

    async def _replay_if_due(self) -> None:
        now = time.monotonic()
        if now < self._replay_at or self._closing.is_set():
            return
        self._replay_at = now + REPLAY_SECONDS
        try:
            await self.replay()
        except Exception as error:
            if not is_outage(error):
                log.error("the spool of opens and clicks could not be replayed", exc_info=error)

    def _drop(self, count: int) -> None:
        self._lost += count
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY:
            log.error("opens and clicks were dropped: no room to keep them", count=self._lost)
            self._lost, self._said_at = 0, now
