"""What makes up for everything that may get lost: rings, leases, reservations, closings.

Every worker process runs one. Each pass is safe beside another's; it reads first, so a pass
that finds nothing takes no write lock.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from newsletter.analytics import scoring
from newsletter.automations import starting
from newsletter.copywriting import service as copywriting
from newsletter.delivery import batches
from newsletter.delivery import queries as delivery
from newsletter.domains import verifying
from newsletter.events import parts
from newsletter.feedback import mailbox
from newsletter.kit import heartbeat, idempotency, jobs, ringing
from newsletter.privacy import retention
from newsletter.routing import throttle
from newsletter.runtime import Runtime
from newsletter.tallies import service as tallies

log = structlog.get_logger(__name__)

HEARTBEAT = "sweeper"
TICK_SECONDS = 0.5
END_SECONDS = 0.5
"""What a chore that is under way gets to end: one that is cancelled in its transaction leaves a connection
to be closed, and a line in the log that looks like an error. Less than `workers.main.CLOSE_SECONDS`, after
which nobody waits for it."""
SAY_EVERY = 30.0
"""Seconds between two log lines about a chore that keeps failing."""


@dataclass(slots=True)
class Chore:
    """Something to do every so many seconds."""

    name: str
    every: float
    run: Callable[[], Awaitable[None]]
    due_at: float = 0.0
    said_at: float | None = None
    """When its failure was last logged; None while it goes well."""


class Sweeper:
    """A loop over chores; an error in one is logged and leaves the others alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._chores = [
            Chore("ring due jobs", 0.5, self._ring),
            Chore("beat", 5, self._beat),
            Chore("fold counts", 2, self._fold),
            Chore("let runs go on", 2, self._automate),
            Chore("close forgotten mailings", 15, self._close),
            Chore("release lapsed generations", 30, self._release),
            Chore("prune idempotency keys", 600, self._prune),
            Chore("forget limits of domains", 600, self._forget),
            Chore("keep the event log in parts", 3600, self._divide),
            Chore("end what is old", 60, self._end_old),
            Chore("look at domains", 600, self._verify),
            Chore("score the health of projects", 60, self._score),
            Chore("look into the mailbox", runtime.settings.imap.poll_seconds / 2, self._look),
        ]

    async def start(self) -> None:
        self._task = asyncio.create_task(self._loop())

    async def stop(self) -> None:
        if self._task is not None:
            self._ending.set()
            await asyncio.wait([self._task], timeout=END_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _loop(self) -> None:
        while not self._ending.is_set():
            for chore in self._chores:
                if time.monotonic() >= chore.due_at and not self._ending.is_set():
                    await self._do(chore)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), TICK_SECONDS)

    async def _do(self, chore: Chore) -> None:
        chore.due_at = time.monotonic() + chore.every
        try:
            await chore.run()
        except Exception as error:
            now = time.monotonic()
            if chore.said_at is None or now - chore.said_at >= SAY_EVERY:
                chore.said_at = now
                log.error("a chore failed; it will be tried again", chore=chore.name, error=repr(error))
        else:
            chore.said_at = None

    async def _ring(self) -> None:
        await ringing.ring_due(self._runtime.db, self._runtime.bell)

    async def _beat(self) -> None:
        async with self._runtime.db.unit_of_work() as session:
            await heartbeat.beat(session, HEARTBEAT)

    async def _automate(self) -> None:
        await starting.enqueue_due(self._runtime.db)

    async def _close(self) -> None:
        await batches.close_forgotten(self._runtime.db)

    async def _fold(self) -> None:
        await tallies.fold(self._runtime.db, delivery.abouts)

    async def _release(self) -> None:
        async with self._runtime.db.unit_of_work() as session:
            await copywriting.release_lapsed(session)

    async def _prune(self) -> None:
        async with self._runtime.db.unit_of_work() as session:
            await idempotency.prune(session)

    async def _forget(self) -> None:
        async with self._runtime.db.unit_of_work() as session:
            await throttle.forget(session)

    async def _divide(self) -> None:
        async with self._runtime.db.unit_of_work() as session:
            await parts.prepare(session)

    async def _end_old(self) -> None:
        await retention.prune(self._runtime.db, self._runtime.settings)

    async def _verify(self) -> None:
        await verifying.enqueue_due(self._runtime.db, self._runtime.settings.dns)

    async def _score(self) -> None:
        await scoring.enqueue_due(self._runtime.db)

    async def _look(self) -> None:
        settings = self._runtime.settings.imap
        if settings.url is None:
            return
        async with self._runtime.db.unit_of_work() as session:
            if await mailbox.claim(session, settings):
                await jobs.enqueue(session, "feedback.read_mailbox", {}, key="feedback.read_mailbox")
