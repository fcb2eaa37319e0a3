"""A fair lock for the writers of one SQLite file in one process.

SQLite lets one transaction write at a time and has the others poll with growing sleeps: of
16 writers, the unlucky ones waited six seconds. Here they queue instead, whichever event
loop they belong to. Other processes still meet SQLite's own lock.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_turnstiles: dict[str, "Turnstile"] = {}
_registry = threading.Lock()


class Turnstile:
    """First come, first served, over any number of event loops."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._queue: deque[asyncio.Future[None]] = deque()

    @classmethod
    def of(cls, name: str) -> "Turnstile":
        """The one that everybody in this process shares for this name."""
        with _registry:
            return _turnstiles.setdefault(name, cls())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for its turn and has it until the block ends."""
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            with self._guard:
                was_waiting = waiting in self._queue
                if was_waiting:
                    self._queue.remove(waiting)
            if not was_waiting:
                # The turn was already on its way to us: pass it on.
                self._leave()
            raise

    def _leave(self) -> None:
        with self._guard:
            while self._queue:
                waiting = self._queue.popleft()
                loop = waiting.get_loop()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_grant, waiting)
                    return
            self._is_taken = False


def _grant(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
