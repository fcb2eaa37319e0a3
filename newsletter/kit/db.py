"""The database: engine, transactions, column types, and the database's own clock.

One ``unit_of_work()`` per request or job step; nobody else commits. On SQLite it takes the
write lock at its first statement (``BEGIN IMMEDIATE``): with the driver's own deferred
transactions, 60 concurrent check-then-write transactions all "succeeded" and counted to 2.
"""

import asyncio
import errno
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import JSON, Boolean, DateTime, Dialect, Enum, LargeBinary, MetaData, String, Uuid, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from newsletter.kit import one_visit
from newsletter.kit.direct import Direct
from newsletter.kit.together import Together
from newsletter.kit.turnstile import Turnstile
from newsletter.kit.visits import Visits

JSONValue: TypeAlias = "bool | int | float | str | Sequence[JSONValue] | Mapping[str, JSONValue] | None"
JSONObject: TypeAlias = Mapping[str, JSONValue]

T = TypeVar("T")
log = structlog.get_logger(__name__)

INSIST_EVERY = 0.5
"""Seconds between two tries of `insist`."""
SAY_EVERY = 20
"""Tries of `insist` for one line in the log."""

SETTLE_SECONDS = 10.0
"""For so long after a start of the database no lease that ran out is taken over. Where it was away for
longer than a lease, all ran out, and those who hold them live: they come back within a second."""

SYNCHRONOUS = "FULL"
"""When a commit of SQLite returns: after the disk has it, as no mail may begin before the books say so."""

_OUTAGES = ("08", "40", "53", "57P", "58")
"""SQLSTATEs: connection, deadlock, disk or memory full, restart, a system call that failed."""
_SQLITE_OUTAGES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""What the machine does to SQLite. A table or column that is not there is an ``OperationalError``, too."""
_DEFERRED = "newsletter_deferred"
_NO_BEGIN = "newsletter_no_begin"
_USED_AT = "newsletter_used_at"
_IDLE_SECONDS = 30.0
_AFTER_COMMIT = "after_commit"
DIRECT = "direct"
"""Where a session that only reads has `Database.direct`."""


class Instant(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite keeps it as text that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: Instant(),
        UUID: Uuid(),
        bytes: LargeBinary(),
        dict[str, Any]: JSON().with_variant(JSONB(), "postgresql"),
        list[str]: JSON().with_variant(JSONB(), "postgresql"),
        list[dict[str, Any]]: JSON().with_variant(JSONB(), "postgresql"),
    }


def status_type(values: type[StrEnum], name: str) -> Enum:
    """A status as text with a CHECK: readable in SQL, closed to typos."""
    return Enum(
        values,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=20,
        values_callable=lambda kind: [member.value for member in kind],
    )


def text(length: int) -> String:
    return String(length)


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock at this moment; leases use it, so workers need not agree on time."""

    type = Instant()
    inherit_cache = True


class db_in(FunctionElement[datetime]):  # noqa: N801
    """The database's clock plus a number of seconds (negative: the past)."""

    type = Instant()
    inherit_cache = True


class db_has_settled(FunctionElement[bool]):  # noqa: N801
    """Whether the database has been up for `SETTLE_SECONDS`. SQLite has no start of its own, and no
    second process whose leases could be taken."""

    type = Boolean()
    inherit_cache = True


@compiles(db_now, "postgresql")
def _now_postgresql(element: db_now, compiler: SQLCompiler, **options: Any) -> str:
    return "clock_timestamp()"


@compiles(db_now, "sqlite")
def _now_sqlite(element: db_now, compiler: SQLCompiler, **options: Any) -> str:
    return SQLITE_NOW


SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
"""`db_now` as text, for a statement of SQLite written by hand. %f is seconds with milliseconds; padded to
the six digits that `Instant` stores."""


def sqlite_in(seconds: str) -> str:
    """`db_in` as text, for a statement of SQLite written by hand; NULL for NULL seconds."""
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


@compiles(db_has_settled, "postgresql")
def _settled_postgresql(element: db_has_settled, compiler: SQLCompiler, **options: Any) -> str:
    return f"pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => {SETTLE_SECONDS:f})"


@compiles(db_has_settled, "sqlite")
def _settled_sqlite(element: db_has_settled, compiler: SQLCompiler, **options: Any) -> str:
    return "1"


@compiles(db_in, "postgresql")
def _in_postgresql(element: db_in, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"clock_timestamp() + make_interval(secs => CAST({seconds} AS double precision))"


@compiles(db_in, "sqlite")
def _in_sqlite(element: db_in, compiler: SQLCompiler, **options: Any) -> str:
    return sqlite_in(compiler.process(element.clauses, **options))


def insert(session: AsyncSession, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """``INSERT`` with ``ON CONFLICT``, which both databases spell alike."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def is_postgresql(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "postgresql"


class Database:
    """An engine and its transactions. One object serves one event loop."""

    def __init__(self, url: str, *, pool_size: int = 20, info: Mapping[str, object] | None = None) -> None:
        """``info`` is what every session of a unit of work starts with (`kit.jobs` finds its bell there)."""
        self.is_sqlite = url.startswith("sqlite")
        options: dict[str, Any] = (
            {"connect_args": {"isolation_level": None, "async_creator_fn": one_visit.connect}}
            if self.is_sqlite
            # Above the number of statements we have, so that none is prepared twice.
            else {"connect_args": {"prepared_statement_cache_size": 500}}
        )
        self.engine = create_async_engine(
            url,
            # All are kept once they were opened. An overflow's are closed after each use, and to open
            # them anew took a fifth of the time of a process with 32 callers.
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=30,
            # Errors end up in logs; the values of a statement are people's addresses.
            hide_parameters=True,
            json_serializer=json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode,
            **options,
        )
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _pragmas)
            event.listen(self.engine.sync_engine, "begin", _begin)
        else:
            event.listen(self.engine.sync_engine, "checkout", _check)
        self.direct = None if self.is_sqlite else Direct(self.engine)
        """The short way for single statements, where there is one."""
        self.visits = Visits(self.engine, Turnstile.of(url).turn, _set_up) if self.is_sqlite else None
        """The short way for whole transactions, where there is one."""
        self._look_up = self.engine.execution_options(
            **({_NO_BEGIN: True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"})
        )
        self.info = dict(info or {})
        self._flush = Together(self._wait_for_disk, most=10_000)
        self._turn = Turnstile.of(url).turn if self.is_sqlite else nullcontext
        reader = self._look_up if not self.is_sqlite else self.engine.execution_options(**{_DEFERRED: True})
        self._write = async_sessionmaker(self.engine, expire_on_commit=False, autoflush=True, info=self.info)
        self._read = async_sessionmaker(
            reader, expire_on_commit=False, autoflush=False, info={DIRECT: self.direct}
        )

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[AsyncSession]:
        """A transaction that commits at the end of the block, or rolls back with its error.

        A failed commit raises here, so code after the block runs only when the data is on
        disk. Hooks of `after_commit` run then.
        """
        async with self._turn(), self._write() as session:
            async with session.begin():
                yield session
            for hook in session.info.pop(_AFTER_COMMIT, ()):
                hook()

    @asynccontextmanager
    async def early_unit_of_work(self) -> AsyncIterator[AsyncSession]:
        """As `unit_of_work`, but on Postgres its locks are free before its data is on disk: whoever
        waits for them need not wait for the disk as well. Nobody may be told of the data before
        `on_disk` has returned. (What the database itself tells others is safe: a commit that waits
        for the disk, as all the others do, takes every earlier one along.)
        """
        async with self.unit_of_work() as session:
            if not self.is_sqlite:
                connection = await session.connection()
                await connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield session

    async def on_disk(self) -> None:
        """Waits until every transaction that this process committed before is on disk. Calls of one
        moment share the wait. Raises what is wrong with the database: then nobody knows."""
        if not self.is_sqlite:
            await self._flush(None)

    async def _wait_for_disk(self, waiting: Sequence[None]) -> Sequence[None]:
        # A transaction that writes nothing but a mark into the log: its commit waits until the log
        # is on disk up to there, and on a standby where the operator asked for that.
        assert self.direct is not None  # SQLite's commits wait by themselves.
        await self.direct.rows("SELECT pg_logical_emit_message(true, 'newsletter', '')")
        return waiting

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session to read with; what was read stays readable afterwards.

        On SQLite a snapshot. On Postgres each statement sees what is committed when it begins, as in
        any of its transactions here, and so there is none: its begin and end were two of the three
        round trips of most calls that read. Nothing is to be written here: it may stay.
        """
        # Its end expunges what was read and gives the connection back. To roll back before that would
        # expire all of it, and took a tenth of the time of a call that reads.
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def look_up(self) -> AsyncIterator[AsyncConnection]:
        """A connection without a transaction, for one statement that reads: on Postgres one round
        trip in the place of three."""
        async with self._look_up.connect() as connection:
            yield connection

    async def close(self) -> None:
        if self.direct is not None:
            await self.direct.close()
        if self.visits is not None:
            await self.visits.close()
        await self.engine.dispose()


def after_commit(session: AsyncSession, hook: Callable[[], None]) -> None:
    """Runs ``hook`` once the session's unit of work is on disk; it must not fail or wait."""
    session.info.setdefault(_AFTER_COMMIT, []).append(hook)


async def insist(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Repeats a unit of work while the database cannot be reached, for ``seconds`` at most.

    The attempt must be safe to repeat after a commit whose answer was lost.
    """
    give_up = time.monotonic() + seconds
    tries = 0
    while True:
        try:
            return await attempt()
        except (DBAPIError, OSError, PoolTimeout) as error:
            if not is_outage(error) or time.monotonic() >= give_up:
                raise
            if tries % SAY_EVERY == 0:
                log.warning("the database is away; trying again", error=type(error).__name__)
            tries += 1
            await asyncio.sleep(INSIST_EVERY)


def is_outage(error: BaseException) -> bool:
    """Whether the database was away, full, locked or restarting, or gave this transaction up for
    another, rather than asked nonsense. Nothing was written; the same may succeed later."""
    if isinstance(error, DBAPIError):
        if isinstance(error.orig, sqlite3.Error):
            # The low byte is the code, the rest says more of it (SQLITE_IOERR_FSYNC …).
            return getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _SQLITE_OUTAGES
        return (
            error.connection_invalidated
            or isinstance(error, (OperationalError, InterfaceError))
            or (
                # asyncpg speaks of a restart (57P01…03) in an error that SQLAlchemy leaves unclassified.
                str(getattr(error.orig, "sqlstate", "") or "").startswith(_OUTAGES)
            )
        )
    return isinstance(error, (OSError, PoolTimeout))


def is_disk_full(error: BaseException) -> bool:
    """Whether there was no room to write, which somebody has to make."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    is_sqlite_full = "disk is full" in str(cause)
    return is_sqlite_full or getattr(cause, "sqlstate", None) == "53100" or _errno(cause) == errno.ENOSPC


def _errno(error: BaseException | None) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _pragmas(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    _set_up(connection)


def _set_up(connection: DBAPIConnection | sqlite3.Connection) -> None:
    cursor = connection.cursor()
    ways = ("journal_mode=WAL", f"synchronous={SYNCHRONOUS}", "busy_timeout=30000", "foreign_keys=ON")
    for pragma in ways:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    # SQLite's own lower() knows ASCII alone; a search for "élodie" must find "Élodie" as on Postgres.
    connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get(_NO_BEGIN, False):
        connection.exec_driver_sql("BEGIN" if options.get(_DEFERRED, False) else "BEGIN IMMEDIATE")


def _check(connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    """Has the pool replace a connection that is dead; it is asked for each use.

    The driver learns of a server that closed it (a restart, a kill) from the event loop, which
    costs nothing to ask. A firewall that forgot an idle connection says nothing, so one that was
    idle is pinged. Pinging at each use would be a round trip before every transaction.
    """
    now = time.monotonic()
    idle = now - record.info.get(_USED_AT, now)
    record.info[_USED_AT] = now
    if connection.driver_connection.is_closed():
        raise DisconnectionError()
    if idle > _IDLE_SECONDS:
        try:
            connection.ping()
        except Exception as error:
            raise DisconnectionError() from error
