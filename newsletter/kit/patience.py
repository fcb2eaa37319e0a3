"""Ends a statement that takes too long, on either database, and has such statements take turns."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary, WeakValueDictionary

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.db import is_postgresql
from newsletter.kit.errors import NewsletterError

_AGAIN_AFTER = 0.1
"""Seconds between two interruptions: one that comes between two statements ends neither."""

_Places = WeakValueDictionary[UUID | None, asyncio.Semaphore]
_places: WeakKeyDictionary[asyncio.AbstractEventLoop, _Places] = WeakKeyDictionary()
"""Of each event loop, as each has a pool of connections of its own; those of None are everybody's."""


@asynccontextmanager
async def a_place(
    owner: UUID, most: int, most_of_all: int, seconds: float, too_slow: NewsletterError
) -> AsyncIterator[None]:
    """So many blocks of one owner at a time, and so many of all owners; others wait, and raise ``too_slow``
    after ``seconds``. Whoever waits must hold no connection yet: or else those who wait could have all of a
    pool."""
    places = _places.setdefault(asyncio.get_running_loop(), _Places())
    mine = places.setdefault(owner, asyncio.Semaphore(most))
    everybodys = places.setdefault(None, asyncio.Semaphore(most_of_all))
    async with AsyncExitStack() as held:
        try:
            async with asyncio.timeout(seconds):
                # In this order no owner has more than ``most`` in the line for the places of all.
                await held.enter_async_context(mine)
                await held.enter_async_context(everybodys)
        except TimeoutError as error:
            raise too_slow from error
        yield


@asynccontextmanager
async def at_most(session: AsyncSession, seconds: float, too_slow: NewsletterError) -> AsyncIterator[None]:
    """Raises ``too_slow`` when the block takes longer; a transaction is lost then. The database is told, too,
    so that it does not work on for nobody."""
    if not is_postgresql(session):
        async with _interrupted(session, seconds, too_slow):
            yield
        return
    # Not by its `statement_timeout`: who only reads has no transaction at whose end that would be gone again.
    # Asyncpg asks the server to cancel what its caller does not wait for any more.
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise too_slow from error


@asynccontextmanager
async def _interrupted(
    session: AsyncSession, seconds: float, too_slow: NewsletterError
) -> AsyncIterator[None]:
    connection = await (await session.connection()).get_raw_connection()
    bell = asyncio.create_task(_interrupt(connection.driver_connection, seconds))
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise too_slow from error
        raise
    finally:
        bell.cancel()


async def _interrupt(connection: Any, seconds: float) -> None:
    await asyncio.sleep(seconds)
    while True:
        # Another thread is inside of SQLite, which allows this one call from outside.
        await connection.interrupt()
        await asyncio.sleep(_AGAIN_AFTER)
