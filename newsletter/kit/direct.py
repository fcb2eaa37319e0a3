"""Single statements straight to asyncpg, each a transaction of its own.

For the few statements that run a hundred times a second. Through a session, one statement is
four round trips (a ping, ``BEGIN``, itself, ``COMMIT``) and the construction of objects around
them; here it is one, prepared once per connection. SQLite has no such way: each user of this
has a portable twin beside it, and a test that both leave the same.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

_OF_SQLALCHEMY = ("prepared_statement_cache_size", "prepared_statement_name_func")
"""Options of an URL that asyncpg itself does not know."""


class Direct:
    """Connections beside the engine's pool: as many as there are statements at one moment."""

    def __init__(self, engine: AsyncEngine) -> None:
        _, options = engine.dialect.create_connect_args(engine.url)
        self._options: dict[str, Any] = {
            name: value for name, value in options.items() if name not in _OF_SQLALCHEMY
        }
        if not int(options.get("prepared_statement_cache_size", 1)):
            # Set for a pooler between us and the server, which keeps no prepared statements.
            self._options["statement_cache_size"] = 0
        self._idle: list[asyncpg.Connection] = []

    async def row(self, statement: str, *values: object) -> Sequence[Any]:
        """The first row of what the statement returns, after its commit.

        Raises `DBAPIError`, as a session would, or `OSError`. A statement that is cancelled, or
        whose connection breaks, may have been committed or not.
        """
        connection = await self._take()
        try:
            found = await connection.fetchrow(statement, *values)
        except BaseException as error:
            # Whatever state it is in, nobody needs to find out.
            connection.terminate()
            if isinstance(error, (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError)):
                # What was kept beside it is likely to be dead as well: a restart, or a cut cable.
                self._drop()
            if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)):
                raise _translated(error) from error
            raise
        self._idle.append(connection)
        if found is None:
            raise LookupError("the statement returned no row")
        return tuple(found)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in idle), return_exceptions=True)

    def _drop(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    async def _take(self) -> "asyncpg.Connection":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await asyncpg.connect(**self._options)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _translated(error) from error


def _translated(error: Exception) -> DBAPIError:
    is_gone = isinstance(error, (asyncpg.InterfaceError, asyncpg.PostgresConnectionError))
    return DBAPIError(None, None, error, hide_parameters=True, connection_invalidated=is_gone)
