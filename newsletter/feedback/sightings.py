"""Opens and clicks on their way into the event log, in blocks.

A reader never waits for the database: the request only appends to a buffer (`kit.backlog`), which is
written every `EventSettings.flush_seconds`, without what came in the last `settle_seconds`. What a
sighting means, person or machine, is decided as it is written (`newsletter.feedback.engagement`).
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from newsletter.delivery.links import MessageRef
from newsletter.feedback import engagement
from newsletter.feedback.classing import Request
from newsletter.feedback.engagement import Entry
from newsletter.kit import callers, ids
from newsletter.kit.backlog import Backlog
from newsletter.kit.db import Database, JSONObject
from newsletter.kit.spool import Spool
from newsletter.settings import EventSettings

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
    return callers.network_of(address, 24, 48)


class Sightings(Backlog[Sighting, Entry]):
    """Those of one process and one event loop."""

    def __init__(self, db: Database, settings: EventSettings, spool: Spool) -> None:
        super().__init__(
            "opens and clicks",
            spool,
            every=settings.flush_seconds,
            block=settings.block,
            most=settings.buffer,
        )
        self._db, self._settings = db, settings

    def settled(self, buffer: Sequence[Sighting]) -> int:
        """What belongs together is judged together: who follows every link at once."""
        seen_before = time.time() - self._settings.settle_seconds
        return bisect_left(buffer, seen_before, key=lambda sighting: sighting.at)

    def rows(self, block: Sequence[Sighting]) -> Sequence[Entry]:
        event_ids = ids.uuid7s(len(block))
        return [each.entry(event_id) for each, event_id in zip(block, event_ids, strict=True)]

    async def write(self, rows: Sequence[Entry]) -> None:
        async with self._db.unit_of_work() as session:
            await engagement.record(session, rows, too_soon=self._settings.too_soon)

    def packed(self, row: Entry) -> JSONObject:
        return row.packed()

    def unpacked(self, packed: Any) -> Entry:
        return Entry.unpacked(packed)
