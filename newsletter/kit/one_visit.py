"""SQLite by aiosqlite, with one visit to its thread for each statement where it makes four.

aiosqlite goes there to make a cursor, to execute, to fetch and to close, and each time two threads
wake that share one interpreter. SQLite itself takes less for a statement than one such visit. Side by
side with aiosqlite's own way, on a busy machine, a process sent 1.5 times the mails of a campaign a second.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import aiosqlite

T = TypeVar("T")
_Row = tuple[Any, ...]
_Done = tuple[Sequence[Any] | None, int, int | None, list[_Row]]
"""Description, row count, last row id, and the rows."""


class OneVisit(aiosqlite.Connection):
    """A connection whose cursors have fetched all rows once they have executed."""

    def cursor(self) -> "Cursor":  # type: ignore[override]  # Of a cursor, SQLAlchemy asks these few.
        return Cursor(self)

    async def visit(self, work: Callable[..., T], *arguments: object) -> T:
        """Runs ``work(connection, *arguments)`` in the thread of the connection."""
        done: T = await self._execute(work, self._conn, *arguments)  # type: ignore[no-untyped-call]
        return done


def connect(*arguments: Any, **options: Any) -> OneVisit:
    """What `sqlite3.connect` takes. For SQLAlchemy's ``async_creator_fn``; connects when awaited."""
    connection = OneVisit(lambda: sqlite3.connect(*arguments, **options), iter_chunk_size=64)
    # As SQLAlchemy has it: a process that ends does not wait for connections that nobody closed.
    connection._thread.daemon = True
    return connection


class Cursor:
    """The rows of one statement. All of them: nothing here reads a table that memory does not hold."""

    arraysize = 1

    def __init__(self, connection: OneVisit) -> None:
        self._connection = connection
        self._rows: list[_Row] = []
        self.description: Sequence[Any] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Iterable[Any] = ()) -> None:
        self._keep(await self._connection.visit(_execute, statement, parameters))

    async def executemany(self, statement: str, parameters: Iterable[Iterable[Any]]) -> None:
        self._keep(await self._connection.visit(_execute_many, statement, parameters))

    async def fetchall(self) -> list[_Row]:
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        self._rows = []

    def _keep(self, done: _Done) -> None:
        self.description, self.rowcount, self.lastrowid, self._rows = done


def _execute(connection: sqlite3.Connection, statement: str, parameters: Any) -> _Done:
    cursor = connection.execute(statement, parameters)
    rows = cursor.fetchall()  # Before the count, which SQLite knows at the end of RETURNING.
    return _done(cursor, rows)


def _execute_many(connection: sqlite3.Connection, statement: str, parameters: Any) -> _Done:
    return _done(connection.executemany(statement, parameters), [])


def _done(cursor: sqlite3.Cursor, rows: list[_Row]) -> _Done:
    """Ends the cursor in the thread that made it."""
    done = cursor.description, cursor.rowcount, cursor.lastrowid, rows
    cursor.close()
    return done
