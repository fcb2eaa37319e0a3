"""What is noted in memory and written to the database in blocks, a moment later.

Who notes something waits for nothing. While the database is away blocks go to a file (`kit.spool`), from
where they are written when it is back, by this process or the next one. A process that is killed loses
what was noted since its last write.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar

import structlog

from newsletter.kit.db import JSONObject, is_outage
from newsletter.kit.spool import Spool

Noted = TypeVar("Noted")
Row = TypeVar("Row")

log = structlog.get_logger(__name__)

WRITE_SECONDS: Final = 10.0
"""What the database gets for one block before it counts as away."""
REPLAY_SECONDS: Final = 5.0
"""Between two looks whether the spool can be written to the database."""
SAY_EVERY: Final = 60.0


class Backlog(ABC, Generic[Noted, Row]):
    """The buffer of one process and one event loop, and the task that empties it."""

    def __init__(self, what: str, spool: Spool, *, every: float, block: int, most: int) -> None:
        """``what`` it is, for the log. It is written every so many seconds, ``block`` rows in a transaction;
        beyond ``most`` in memory it is dropped."""
        self._what, self._spool = what, spool
        self._every, self._block, self._most = every, block, most
        self._buffer: list[Noted] = []
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Who flushes may be another than the task: each waits for what the other has begun.
        self._writing, self._spooling = asyncio.Lock(), asyncio.Lock()
        self._replay_at = 0.0
        self._lost, self._said_at = 0, -SAY_EVERY

    @abstractmethod
    def rows(self, block: Sequence[Noted]) -> Sequence[Row]:
        """What is kept of them, with the ids by which a row that was written already is known."""

    @abstractmethod
    async def write(self, rows: Sequence[Row]) -> None:
        """One transaction."""

    async def write_again(self, rows: Sequence[Row]) -> None:
        """The same for rows of the spool, any of which may have been written."""
        await self.write(rows)

    @abstractmethod
    def packed(self, row: Row) -> JSONObject:
        """For the spool."""

    @abstractmethod
    def unpacked(self, packed: Any) -> Row: ...

    def settled(self, buffer: Sequence[Noted]) -> int:
        """How many of the buffer may be written now."""
        return len(buffer)

    def start(self) -> None:
        """Begins to write; also what an earlier process left in the spool."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def note(self, noted: Noted) -> None:
        """Keeps it in memory. A buffer that is full drops it, and the log says so."""
        if len(self._buffer) >= self._most:
            self._drop(1)
            return
        self._buffer.append(noted)
        if self._task is None:
            self.start()

    async def flush(self) -> None:
        """What was noted before is in the database or in the spool when this returns. A caller that is
        cancelled takes nothing along that it had begun to write."""
        await asyncio.shield(self._flush(len))

    async def replay(self) -> None:
        """Writes what is in the spool to the database. Raises what is wrong with the database."""
        # A block that came into the file behind its last line was read would go with it.
        async with self._spooling, aclosing(self._spool.blocks(self._block)) as blocks:
            async for block in blocks:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self.write_again([self.unpacked(packed) for packed in block])

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
                async with asyncio.timeout(self._every):
                    await self._closing.wait()
            except TimeoutError:
                pass  # Time to write what there is.
            # A buffer that fills up waits for nothing.
            is_filling = len(self._buffer) > self._most // 2
            await self._flush(len if is_filling else self.settled)
            await self._replay_if_due()

    async def _flush(self, how_many: Callable[[Sequence[Noted]], int]) -> None:
        async with self._writing:
            count = how_many(self._buffer)
            due, self._buffer = self._buffer[:count], self._buffer[count:]
            for start in range(0, len(due), self._block):
                await self._keep(self.rows(due[start : start + self._block]))

    async def _keep(self, rows: Sequence[Row]) -> None:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self.write(rows)
        except Exception as error:
            if not is_outage(error):
                log.error("could not be written, and is kept in the spool", what=self._what, exc_info=error)
            await self._spool_rows([self.packed(row) for row in rows])

    async def _spool_rows(self, rows: Sequence[JSONObject]) -> None:
        try:
            async with self._spooling:
                is_kept = await self._spool.append(rows)
        except OSError as error:
            log.error("the spool cannot be written", what=self._what, error=repr(error))
            is_kept = False
        if not is_kept:
            self._drop(len(rows))

    async def _replay_if_due(self) -> None:
        now = time.monotonic()
        if now < self._replay_at or self._closing.is_set():
            return
        self._replay_at = now + REPLAY_SECONDS
        try:
            await self.replay()
        except Exception as error:
            if not is_outage(error):
                log.error("the spool could not be replayed", what=self._what, exc_info=error)

    def _drop(self, count: int) -> None:
        self._lost += count
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY:
            log.error("dropped: there is no room to keep them", what=self._what, count=self._lost)
            self._lost, self._said_at = 0, now
