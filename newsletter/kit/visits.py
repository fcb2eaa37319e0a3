"""Transactions of SQLite that are one visit to its thread, begin and commit included.

For the few that run dozens of times a second. Through a session, a transaction of ten statements is
twelve visits (`newsletter.kit.one_visit`), and SQLAlchemy takes longer for each of its statements than
SQLite. Each user of this has its twin in a session beside it, and a test that both leave the same.
"""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from newsletter.kit.one_visit import OneVisit, connect

T = TypeVar("T")


class Visits:
    """A connection beside the engine's pool. One is enough, as SQLite has one writer at a time: ``turn``
    is what they queue for in this process. ``set_up`` is called with each new connection."""

    def __init__(
        self,
        engine: AsyncEngine,
        turn: Callable[[], AbstractAsyncContextManager[None]],
        set_up: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._arguments, self._options = engine.dialect.create_connect_args(engine.url)
        self._turn, self._set_up = turn, set_up
        self._connection: OneVisit | None = None

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns, once what it wrote is on disk; its error rolls back.

        It runs in a thread, beside the caller's. A caller that is cancelled meanwhile does not know
        whether it was committed. Errors of SQLite are those of a session.
        """
        async with self._turn():
            try:
                if self._connection is None:
                    self._connection = await self._opened()
                return await self._connection.visit(_transaction, work)
            except sqlite3.Error as error:
                raise DBAPIError(None, None, error, hide_parameters=True) from error

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _opened(self) -> OneVisit:
        connection = connect(*self._arguments, isolation_level=None, **self._options)
        await connection
        try:
            await connection.visit(self._set_up)
        except BaseException:
            await connection.close()  # And with it its thread: whoever insists comes again and again.
            raise
        return connection


def _transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    if connection.in_transaction:
        # Of the one before, whose own ROLLBACK failed: a pool would have given such a connection up.
        connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has SQLite roll back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return done
