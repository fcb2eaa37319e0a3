"""Keeps a lease for as long as its work takes, and ends the work when the lease is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

BEAT_AGAIN = 1.0
"""Seconds until a renewal that failed is tried again, at most."""


@contextlib.asynccontextmanager
async def keep_alive(every: float, renew: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Renews a lease while the block runs; cancels the block once the lease is lost.

    A renewal that fails (the database is away) is tried again: the lease itself decides.
    """
    owner = asyncio.current_task()
    is_lost = False

    async def beat() -> None:
        nonlocal is_lost
        wait = every
        while True:
            await asyncio.sleep(wait)
            try:
                is_lost, wait = not await renew(), every
            except Exception as error:
                wait = min(every, BEAT_AGAIN)
                log.warning("a lease could not be renewed", error=repr(error))
            if is_lost and owner is not None:
                owner.cancel()
                return

    task = asyncio.create_task(beat())
    try:
        yield
    except asyncio.CancelledError:
        if is_lost:
            raise LeaseLost from None
        raise
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class LeaseLost(Exception):
    """Somebody else owns this work now; what was not written yet must not be written."""
