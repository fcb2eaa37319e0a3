"""Statements that are made once and asked a hundred times a second.

To make a statement of many columns anew took 1 to 3 ms of this process's time, and to take it through
a session another 0.4; on PostgreSQL what was made once goes straight to the driver, in 70 µs (minima on a
busy machine). SQLite is given the same statement through the session.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import asyncpg
from sqlalchemy import (
    JSON,
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Dialect,
    Float,
    Select,
    any_,
    bindparam,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate

from newsletter.kit.bulk import one_by_one
from newsletter.kit.db import DIRECT, Database, db_now, is_postgresql
from newsletter.kit.direct import Direct, translated

Statement: TypeAlias = "Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]"
Change: TypeAlias = "ReturningUpdate[*tuple[Any, ...]] | ReturningDelete[*tuple[Any, ...]]"
Column: TypeAlias = "ColumnElement[Any] | InstrumentedAttribute[Any]"
Beside = Callable[[Any], ColumnElement[bool]]
"""Given a table, a condition on it."""


class Among(Protocol):
    """How the database at hand says that a column is one of the values of a parameter, which is a list:
    ``among(column, "name")``."""

    def __call__(self, column: Column, name: str) -> ColumnElement[bool]: ...

    def pairs(
        self, columns: tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]], name: str
    ) -> ColumnElement[bool]:
        """`newsletter.kit.bulk.among_pairs`; the parameter's values are those of `pairs`."""

    def each(self, column: InstrumentedAttribute[Any], name: str, beside: Beside) -> ColumnElement[bool]:
        """`newsletter.kit.bulk.each_of`."""


def pairs(name: str, values: Collection[tuple[object, object]]) -> dict[str, object]:
    """The parameter of `Among.pairs`, in the forms that either database wants."""
    both = list(values)
    return {name: both, **{f"{name}_{place}": [pair[place] for pair in both] for place in (0, 1)}}


_Processor = Callable[[Any], Any]
_FLOAT8 = 701


class Prepared:
    """A ``SELECT`` with named parameters.

    It is made when it is first wanted, with `Among` for what the database at hand calls a list.
    """

    def __init__(self, make: Callable[[Among], Statement]) -> None:
        self._make = make
        self._plain: Statement | None = None
        self._direct: _Direct | None = None

    async def rows(self, session: AsyncSession, **values: object) -> Sequence[Sequence[Any]]:
        """All rows, in the session's transaction and after its changes. Errors are those of a session."""
        if not is_postgresql(session):
            if self._plain is None:
                self._plain = self._make(_In())
            return (await session.execute(self._plain, values)).all()
        if self._direct is None:
            self._direct = _Direct(self._make(_Any()), session.get_bind().dialect)
        text, sent = self._direct.text, self._direct.sent(values)
        short: Direct | None = session.info.get(DIRECT)
        if short is not None:
            # A session of `Database.read`, which has no transaction, and so needs no connection of the
            # engine: to take one and to give it back is 250 µs more.
            return self._direct.read(await short.rows(text, *sent), has_json=True)
        if session.new or session.dirty or session.deleted:
            await session.flush()
        connection = (await session.connection()).sync_connection
        assert connection is not None
        try:
            found = await connection.connection.driver_connection.fetch(text, *sent)  # type: ignore[union-attr]
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise translated(error) from error
        return self._direct.read(found, has_json=False)


class Alone:
    """An ``UPDATE`` or ``DELETE`` with named parameters, which is a transaction of its own.

    On PostgreSQL that is one round trip. A unit of work makes three of it, and each wakes another process.
    """

    def __init__(self, change: Change) -> None:
        self._change = change.execution_options(synchronize_session=False)
        self._direct: _Direct | None = None

    async def rows(self, db: Database, **values: object) -> Sequence[Sequence[Any]]:
        """What it returns of the rows that it changed, after its commit. Errors are those of a session, or
        `OSError`; after one, it may have been committed or not."""
        if db.direct is None:
            async with db.unit_of_work() as session:
                return (await session.execute(self._change, values)).all()
        if self._direct is None:
            self._direct = _Direct(self._change, db.engine.dialect)
        sent = self._direct.sent(values)
        return self._direct.read(await db.direct.rows(self._direct.text, *sent), has_json=True)


class _Direct:
    """The text for the driver, and what stands between its values and ours."""

    def __init__(self, statement: "Statement | Change", dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        self._places: list[tuple[str, _Processor | None]] = []
        self._given: dict[str, object] = {}
        for name in compiled.positiontup or ():
            parameter = compiled.binds[name]
            process = parameter.type.dialect_impl(dialect).bind_processor(dialect)
            self._places.append((name, process))
            if not parameter.required:
                self._given[name] = parameter.value
        kinds = [column.type.dialect_impl(dialect) for column in statement.exported_columns]
        processed = [
            # Of numbers the dialect wants to know how the server calls their type; floats are all we have.
            (place, kind, kind.result_processor(dialect, _FLOAT8 if isinstance(kind, Float) else None))
            for place, kind in enumerate(kinds)
        ]
        self._read = [(place, process) for place, _, process in processed if process is not None]
        # Connections of `Direct` read JSON themselves.
        self._read_with_json = [
            (place, process)
            for place, kind, process in processed
            if process is not None and not isinstance(kind, JSON)
        ]

    def sent(self, values: Mapping[str, object]) -> list[object]:
        known = {**self._given, **values}
        return [known[name] if process is None else process(known[name]) for name, process in self._places]

    def read(self, records: Sequence[asyncpg.Record], *, has_json: bool) -> list[list[Any]]:
        found = [list(record) for record in records]
        for place, process in self._read_with_json if has_json else self._read:
            for row in found:
                row[place] = process(row[place])
        return found


class _In:
    def __call__(self, column: Column, name: str) -> ColumnElement[bool]:
        return column.in_(bindparam(name, expanding=True))

    def pairs(
        self, columns: tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]], name: str
    ) -> ColumnElement[bool]:
        return tuple_(*columns).in_(bindparam(name, expanding=True))

    def each(self, column: InstrumentedAttribute[Any], name: str, beside: Beside) -> ColumnElement[bool]:
        return self(column, name) & beside(column.class_)


class _Any:
    def __call__(self, column: Column, name: str) -> ColumnElement[bool]:
        return column == any_(_array(column, name))

    def pairs(
        self, columns: tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]], name: str
    ) -> ColumnElement[bool]:
        return one_by_one(
            columns, [_array(each, f"{name}_{place}") for place, each in enumerate(columns)], None
        )

    def each(self, column: InstrumentedAttribute[Any], name: str, beside: Beside) -> ColumnElement[bool]:
        return one_by_one([column], [_array(column, name)], beside)


def _array(column: Column, name: str) -> BindParameter[Any]:
    return bindparam(name, type_=ARRAY(column.type))


_NOW = Prepared(lambda _: select(db_now()))


async def now(session: AsyncSession) -> datetime:
    """The time of the database, for what workers will compare with it: this machine's may be wrong."""
    at: datetime = (await _NOW.rows(session))[0][0]
    return at
