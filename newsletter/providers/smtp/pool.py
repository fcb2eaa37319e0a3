"""Keeps signed-in connections for the next message."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from newsletter.providers.smtp.session import Session

IDLE_SECONDS = 20.0
"""A connection unused for so long is closed; servers close theirs after 30 s to 5 min."""


@dataclass(slots=True)
class _Idle:
    session: Session
    since: float


class Pool:
    """Connections are made when needed, the one used last is taken first."""

    def __init__(self, connect: Callable[[], Awaitable[Session]]) -> None:
        self._connect = connect
        self._idle: list[_Idle] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def take(self) -> Session:
        """A ready connection. Raises `ServerDown`."""
        while self._idle:
            session = self._idle.pop().session
            if session.is_ready:
                return session
            session.abort()
        return await self._connect()

    async def give_back(self, session: Session) -> None:
        """Keeps it for the next message where it can be kept; else it is closed."""
        await session.reset()
        if self._is_closed or not session.is_ready:
            session.abort()
        elif not session.carries:
            session.quit()
        else:
            self._idle.append(_Idle(session, time.monotonic()))
            self._watch()

    def drop_idle(self) -> None:
        self._drop_older_than(0)

    async def aclose(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sessions = [idle.session for idle in self._idle]
        self.drop_idle()
        await asyncio.gather(*(session.wait_closed() for session in sessions))

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._drop_older_than(IDLE_SECONDS)
        if self._idle:
            self._watch()

    def _drop_older_than(self, seconds: float) -> None:
        limit = time.monotonic() - seconds
        for idle in [idle for idle in self._idle if idle.since <= limit]:
            self._idle.remove(idle)
            idle.session.quit()
