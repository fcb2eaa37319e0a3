"""Many rows in one statement.

Postgres takes one parameter per column and unfolds them (``unnest``): the statement is the same for
any number of rows, so it is prepared once, and 1,000 rows cost 8 to 16 ms where a statement per row
costs 164 and ``executemany`` 20. SQLite has no arrays and needs none: its ``executemany`` stays
inside the process. Both write the same rows.

A column is sent as one text, which the server parts again: asyncpg asks each element of an array
what it is, which took half of the time of a batch. 1,000 rows of 12 columns as arrays took 9.0 ms of
this process's time and 2.8 of the server's; as texts 2.7 and 3.6; as JSON 0.8 and 11.8. What cannot be
sent so, as it holds the separator, goes as arrays.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    JSON,
    BindParameter,
    ColumnClause,
    ColumnElement,
    CursorResult,
    Dialect,
    String,
    Table,
    bindparam,
    func,
    insert,
    inspect,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy import column as sql_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from newsletter.kit.db import Base, is_postgresql

Rows = Sequence[Mapping[str, object]]

_SEPARATOR, _NULL = "\x1f", "\x1e"
"""Controls that no line of text holds, and that JSON escapes."""


class Unfoldable(Exception):
    """A text holds what stands between texts."""


def fold(values: Sequence[str | None]) -> str | None:
    """A column as one text, for `unfolded`; None for one of NULLs alone, which `unnest` fills up.

    Raises `Unfoldable`.
    """
    missing = values.count(None)
    if missing == len(values):
        return None
    # The first is empty and dropped again: a text of nothing would be no element in the place of one.
    column = _SEPARATOR.join(["", *(_NULL if value is None else value for value in values)])
    if column.count(_SEPARATOR) != len(values) or column.count(_NULL) != missing:
        raise Unfoldable()
    return column


def unfolded(parameter: str, kind: str) -> str:
    """SQL for the array of type ``kind[]`` that `fold` made a text of."""
    return f"(string_to_array({parameter}::text, E'\\x1f', E'\\x1e'))[2:]::{kind}[]"


async def insert_rows(session: AsyncSession, table: type[Base], rows: Rows) -> None:
    """Writes rows; all have the same columns."""
    if not rows:
        return
    connection = await session.connection()
    plain = plain_table(table)
    if not is_postgresql(session):
        # SQLAlchemy's own executemany takes each value of each row by its name: 25 µs for a row of 18
        # columns, and 20 so.
        columns = tuple(rows[0])
        values = [_array(plain, name, connection.dialect, rows) for name in columns]
        listed = list(zip(*values, strict=True))
        await connection.exec_driver_sql(_sqlite_insert(plain, columns), listed)
        return
    await _execute(connection, _insert_statement, plain, rows)


async def insert_all(session: AsyncSession, tables: Sequence[tuple[type[Base], Rows]]) -> None:
    """`insert_rows` for several tables, in their order; on Postgres in one round trip. Rows may refer to
    each other: its foreign keys are checked when all are there."""
    filled = [(plain_table(table), rows) for table, rows in tables if rows]
    if not filled:
        return
    connection = await session.connection()
    if not is_postgresql(session):
        for table, rows in filled:
            await connection.execute(insert(table), rows)
        return
    parts, values = list[str](), list[object]()
    for table, rows in filled:
        spelled, sent = _spelled(connection.dialect, _insert_statement, table, rows, len(values) + 1)
        parts.append(spelled)
        values += sent
    *others, last = parts
    named = ", ".join(f"part{number} AS ({part})" for number, part in enumerate(others))
    await connection.exec_driver_sql(f"WITH {named} {last}" if named else last, tuple(values))


async def insert_missing(session: AsyncSession, table: type[Base], rows: Rows) -> set[UUID]:
    """Writes the rows that are not there yet, by their ``id`` or whatever else is unique, and returns the
    ids of those it wrote."""
    if not rows:
        return set()
    connection = await session.connection()
    plain = plain_table(table)
    if not is_postgresql(session):
        # Whoever writes has SQLite's one lock since their transaction began, so what is read here holds.
        known = select(plain.c.id).where(plain.c.id.in_([row["id"] for row in rows]))
        there = set((await connection.execute(known)).scalars())
        missing = [row for row in rows if row["id"] not in there]
        if missing:
            await connection.execute(sqlite.insert(plain).on_conflict_do_nothing(), missing)
        return set((await connection.execute(known)).scalars()) - there
    ending = " ON CONFLICT DO NOTHING RETURNING id"
    written = (await _execute(connection, _insert_statement, plain, rows, ending)).all()
    if len(written) == len(rows):  # As nearly always; to make our ids of the driver's is 2 µs for each.
        return {cast(UUID, row["id"]) for row in rows}
    return {UUID(int=found.int) for (found,) in written}


async def update_rows(session: AsyncSession, table: type[Base], rows: Rows) -> None:
    """Writes the columns of each row to the one with its ``id``; all have the same columns."""
    if not rows:
        return
    connection = await session.connection()
    columns = tuple(rows[0])
    if not is_postgresql(session):
        plain = plain_table(table)
        # A bind parameter may not have the name of a column that is set.
        by_id = update(plain).where(plain.c.id == bindparam("row_id"))
        by_id = by_id.values({name: bindparam(name) for name in columns if name != "id"})
        await connection.execute(
            by_id, [{("row_id" if name == "id" else name): row[name] for name in columns} for row in rows]
        )
        return
    await _execute(connection, _update_statement, plain_table(table), rows)


def among(
    session: AsyncSession | AsyncConnection,
    column: ColumnElement[Any] | InstrumentedAttribute[Any],
    values: Collection[object],
) -> ColumnElement[bool]:
    """``column IN (values)``; on Postgres with one parameter, so that any number of values is
    one prepared statement and no limit of parameters is met."""
    dialect = session.dialect if isinstance(session, AsyncConnection) else session.get_bind().dialect
    if dialect.name == "postgresql":
        return column == func.any(bindparam(None, list(values), type_=ARRAY(column.type)))
    return column.in_(values)


def among_pairs(
    session: AsyncSession,
    columns: tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]],
    pairs: Collection[tuple[object, object]],
) -> ColumnElement[bool]:
    """``(one, other) IN (pairs)``; on Postgres one look-up for each pair. Two `among` would read each
    value of the one with each of the other, which is the square where most differ."""
    if not is_postgresql(session):
        return tuple_(*columns).in_(list(pairs))
    listed = [[pair[place] for pair in pairs] for place in range(len(columns))]
    return one_by_one(columns, _bound(columns, listed), None)


def each_of(
    session: AsyncSession,
    column: InstrumentedAttribute[Any],
    values: Collection[object],
    beside: Callable[[Any], ColumnElement[bool]],
) -> ColumnElement[bool]:
    """``column IN (values)`` for rows of which ``beside`` is true as well, a condition on the table that it
    is given; on Postgres one look-up for each value, as a key.

    Where a row is changes with it: to lock rows that others may change meanwhile, find their ids with it.
    """
    if not is_postgresql(session):
        return column.in_(values) & beside(column.class_)
    return one_by_one([column], _bound([column], [list(values)]), beside)


def _bound(
    columns: Sequence[InstrumentedAttribute[Any]], listed: Sequence[list[object]]
) -> list[BindParameter[Any]]:
    return [
        bindparam(None, values, type_=ARRAY(each.type)) for each, values in zip(columns, listed, strict=True)
    ]


def one_by_one(
    columns: Sequence[InstrumentedAttribute[Any]],
    listed: Sequence[BindParameter[Any]],
    beside: Callable[[Any], ColumnElement[bool]] | None,
) -> ColumnElement[bool]:
    """What `each_of` and `among_pairs` are on Postgres: an array for each of the columns of a key. Finds the
    rows by their keys, which OFFSET keeps apart, and says where they are.

    As ``IN`` or as a join it was one of many ways for the planner, and without statistics it took others: all
    of a list was read, and each of its rows compared with a thousand addresses (ADR 44).
    """
    table = columns[0].class_
    inner = aliased(table)
    arrays = [func.unnest(values).label(f"key{place}") for place, values in enumerate(listed)]
    wanted = select(*arrays).subquery()
    one = select(_place_of(inner)).where(
        *(getattr(inner, each.key) == key for each, key in zip(columns, wanted.c, strict=True)),
        *([] if beside is None else [beside(inner)]),
    )
    found = one.offset(0).lateral()
    places = select(found.c.ctid).select_from(wanted.join(found, true()))
    return _place_of(table) == func.any(func.array(places.scalar_subquery()))


def _place_of(table: Any) -> ColumnClause[Any]:
    """Where Postgres keeps a row: the same for all of a statement."""
    return sql_column("ctid", _selectable=inspect(table).selectable)


def plain_table(table: type[Base]) -> Table:
    """The table without its class: statements on a class cost several times as much to prepare."""
    plain = table.__table__
    assert isinstance(plain, Table)
    return plain


async def _execute(
    connection: AsyncConnection, spell: "Spelling", table: Table, rows: Rows, ending: str = ""
) -> CursorResult[Any]:
    statement, values = _spelled(connection.dialect, spell, table, rows, 1)
    return await connection.exec_driver_sql(statement + ending, tuple(values))


Spelling = Callable[[Table, tuple[str, ...], Dialect, bool, int], str]


def _spelled(
    dialect: Dialect, spell: Spelling, table: Table, rows: Rows, first: int
) -> tuple[str, list[object]]:
    """The statement whose first parameter has the number ``first``, and its values."""
    columns = tuple(rows[0])
    values: list[object]
    try:
        values, is_folded = [_folded(table, name, dialect, rows) for name in columns], True
    except Unfoldable:
        values, is_folded = [_array(table, name, dialect, rows) for name in columns], False
    return spell(table, columns, dialect, is_folded, first), values


@cache
def _sqlite_insert(table: Table, columns: tuple[str, ...]) -> str:
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - names of our models.


@cache
def _insert_statement(
    table: Table, columns: tuple[str, ...], dialect: Dialect, is_folded: bool, first: int
) -> str:
    rows = _unfolded(table, columns, dialect, is_folded, first)
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM {rows}"  # noqa: S608 - names of our models.


@cache
def _update_statement(
    table: Table, columns: tuple[str, ...], dialect: Dialect, is_folded: bool, first: int
) -> str:
    changes = ", ".join(f"{name} = new.{name}" for name in columns if name != "id")
    rows = f"{_unfolded(table, columns, dialect, is_folded, first)} AS new ({', '.join(columns)})"
    return f"UPDATE {table.name} SET {changes} FROM {rows} WHERE {table.name}.id = new.id"  # noqa: S608 - as above.


def _unfolded(table: Table, columns: tuple[str, ...], dialect: Dialect, is_folded: bool, first: int) -> str:
    arrays = []
    for number, name in enumerate(columns, first):
        kind = table.c[name].type
        # A cast to varchar(n) would cut a text that is too long without a word; INSERT refuses it.
        written = "text" if isinstance(kind, String) else kind.compile(dialect)
        arrays.append(unfolded(f"${number}", written) if is_folded else f"CAST(${number} AS {written}[])")
    return f"unnest({', '.join(arrays)})"


def _array(table: Table, name: str, dialect: Dialect, rows: Rows) -> list[object]:
    to_driver = _processor(table, name, dialect)
    values = [row[name] for row in rows]
    return values if to_driver is None else _each(to_driver, values)


def _folded(table: Table, name: str, dialect: Dialect, rows: Rows) -> str | None:
    values = _array(table, name, dialect, rows)
    if not isinstance(table.c[name].type, (String, JSON)):
        values = _each(lambda value: None if value is None else _written(value), values)
    return fold(cast(list[str | None], values))


def _each(change: Callable[[object], object], values: list[object]) -> list[object]:
    """``change`` of each. Rows of one project share its id, which is changed once: the columns of a call in
    the audit log take 6 µs in the place of 10."""
    first = values[0]
    if all(value is first for value in values):
        return [change(first)] * len(values)
    return [change(value) for value in values]


def _written(value: object) -> str:
    """As Postgres reads it. Raises `Unfoldable` for what has no short spelling."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int):  # True and False are read as they are spelled.
        return str(value)
    raise Unfoldable()


@cache
def _processor(table: Table, name: str, dialect: Dialect) -> Callable[[object], object] | None:
    """What turns a value of the column into one of the driver; None where they are the same."""
    kind = table.c[name].type.dialect_impl(dialect)
    found: Callable[[object], object] | None = kind.bind_processor(dialect)
    return found
