"""Statements straight to asyncpg, past the engine and its sessions.

For the few that run a hundred times a second. Through a session, one statement is four round
trips (a ping, ``BEGIN``, itself, ``COMMIT``) and the construction of objects around them; here it
is one, prepared once per connection: 75 µs of this process's time for the look-up of a key, where
a session took 1,170 and a bare connection of the engine 630 (minima on a busy machine). SQLite has
no such way but `newsletter.kit.visits`: each user of this has a portable twin beside it, and a test that
both leave the same.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

_OF_SQLALCHEMY = ("prepared_statement_cache_size", "prepared_statement_name_func")
"""Options of an URL that asyncpg itself does not know."""
TRANSACTIONS = 10
"""Of one process at a time. They may wait for each other's locks, and must not take the connections
of all the others meanwhile; single statements are as many as there are at one moment."""


_BY_KEYS = "SET enable_seqscan = off"
"""For what knows the keys of its rows. A table that was small when its plan was made would be read from end
to end until its statistics say that it grew."""
_BEGIN = "BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off"


def spelled(statement: ClauseElement) -> str:
    """The text of a statement, with ``$1`` in the place of its parameter: one truth for both ways."""
    return str(statement.compile(dialect=PGDialect_asyncpg()))  # type: ignore[no-untyped-call]


def looked_up(table: str, column: str, value: str, *, columns: str, beside: str, most: int = 1) -> str:
    """SQL for ``columns`` of the rows, ``most`` of them, whose ``column`` is ``value`` and for which
    ``beside`` holds as well. They are read from an index that begins with ``column``.

    A new list has no statistics for up to a minute, a plan for all values lasts as long, and to it all
    indexes of an empty table are one: it took the list's, and read all of it for each address.
    An index that has the order and saves a sort is never one of several, and so the equation is
    written as a range. With 17 addresses and a list of 2,000 this takes 0.2 ms where that took 12.
    """
    return (
        f"SELECT {columns} FROM {table} WHERE {column} >= {value} AND {column} <= {value} AND {beside} "  # noqa: S608
        f"ORDER BY {column} LIMIT {most}"
    )


class Transaction:
    """What `Direct.transaction` is in the middle of."""

    def __init__(self, connection: asyncpg.Connection, begun: str) -> None:
        self._connection = connection
        self.begun = begun
        """What the server said of the first statement, such as ``SELECT 1`` for one row."""

    async def rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await self._connection.fetch(statement, *values)
        return found


class Direct:
    """Connections beside the engine's pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        _, options = engine.dialect.create_connect_args(engine.url)
        self._options: dict[str, Any] = {
            name: value for name, value in options.items() if name not in _OF_SQLALCHEMY
        }
        if not int(options.get("prepared_statement_cache_size", 1)):
            # Set for a pooler between us and the server, which keeps no prepared statements.
            self._options["statement_cache_size"] = 0
        self.keeps_settings = self._options.get("statement_cache_size") != 0
        """Whether what is set on a connection stays: not with a pooler that hands it on."""
        self._idle: list[asyncpg.Connection] = []
        self._idle_by_keys: list[asyncpg.Connection] = []
        self._transactions = asyncio.Semaphore(TRANSACTIONS)

    async def row(self, statement: str, *values: object) -> Sequence[Any]:
        """The first row of what the statement returns, after its commit. Errors as of `rows`."""
        found = await self.rows(statement, *values)
        if not found:
            raise LookupError("the statement returned no row")
        return tuple(found[0])

    async def rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """All rows of what the statement returns, after its commit.

        Raises `DBAPIError`, as a session would, or `OSError`. A statement that is cancelled, or
        whose connection breaks, may have been committed or not.
        """
        async with self._connection(self._idle) as connection:
            found: list[asyncpg.Record] = await connection.fetch(statement, *values)
            return found

    async def row_by_keys(self, statement: str, *values: object) -> Sequence[Any]:
        """As `row`, for a statement that knows the keys of its rows, as those of `transaction`: no table is
        read from end to end. Only where `keeps_settings`."""
        async with self._transactions, self._connection(self._idle_by_keys) as connection:
            return tuple(await connection.fetchrow(statement, *values))

    @asynccontextmanager
    async def transaction(self, first: str) -> AsyncIterator[Transaction]:
        """A transaction that commits at the end of the block, or is rolled back with its error.

        ``first`` is SQL without parameters that goes to the server with the ``BEGIN``, in one round
        trip. The commit is early, as that of `Database.early_unit_of_work`: nobody may be told of
        the data before `Database.on_disk` has returned. Errors as of `rows`.
        """
        async with self._transactions, self._connection(self._idle) as connection:
            begun = await connection.execute(f"{_BEGIN}; {first}")
            yield Transaction(connection, begun)
            await connection.execute("COMMIT")

    async def close(self) -> None:
        idle = [*self._idle, *self._idle_by_keys]
        self._idle.clear()
        self._idle_by_keys.clear()
        await asyncio.gather(*(connection.close() for connection in idle), return_exceptions=True)

    @asynccontextmanager
    async def _connection(self, idle: list[asyncpg.Connection]) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._take(idle)
        try:
            yield connection
        except BaseException as error:
            # Whatever state it is in, nobody needs to find out.
            connection.terminate()
            if isinstance(error, (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError)):
                # What was kept beside it is likely to be dead as well: a restart, or a cut cable.
                self._drop()
            if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)):
                raise translated(error) from error
            raise
        idle.append(connection)

    def _drop(self) -> None:
        for idle in (self._idle, self._idle_by_keys):
            while idle:
                idle.pop().terminate()

    async def _take(self, idle: list["asyncpg.Connection"]) -> "asyncpg.Connection":
        while idle:
            connection = idle.pop()
            if not connection.is_closed():
                return connection
        try:
            connection = await asyncpg.connect(**self._options)
            for kind in ("json", "jsonb"):
                await connection.set_type_codec(
                    kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
                )
            if idle is self._idle_by_keys:
                await connection.execute(_BY_KEYS)
            return connection
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise translated(error) from error


def translated(error: Exception) -> DBAPIError:
    """An error of the driver as one of a session."""
    is_gone = isinstance(error, (asyncpg.InterfaceError, asyncpg.PostgresConnectionError))
    return DBAPIError(None, None, error, hide_parameters=True, connection_invalidated=is_gone)
