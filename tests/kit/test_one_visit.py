"""SQLite's statements in one visit to its thread: as with the driver's own cursors."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from newsletter.kit.db import Database
from newsletter.kit.one_visit import OneVisit, connect


class Counted:
    """Stands before the queue of a connection's thread."""

    def __init__(self, connection: OneVisit) -> None:
        self.put = 0
        self._queue, connection._tx = connection._tx, self  # type: ignore[assignment]

    def put_nowait(self, work: tuple[object, object]) -> None:
        self.put += 1
        self._queue.put_nowait(work)  # type: ignore[arg-type]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}")
    async with db.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"))
    yield db.engine
    await db.close()


async def test_rows_counts_and_returned_rows_are_those_of_sqlite(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        many = await connection.execute(
            text("INSERT INTO people (name) VALUES (:name)"), [{"name": name} for name in "abc"]
        )
        assert many.rowcount == 3
        returned = await connection.execute(
            text("UPDATE people SET name = name || '!' WHERE id > 1 RETURNING id, name")
        )
        assert list(returned.keys()) == ["id", "name"]
        assert sorted(returned.all()) == [(2, "b!"), (3, "c!")]
        none = await connection.execute(text("DELETE FROM people WHERE id > 9"))
        assert none.rowcount == 0
        left = await connection.execute(text("SELECT name FROM people ORDER BY id"))
        assert [name for (name,) in left] == ["a", "b!", "c!"]


async def test_errors_are_those_of_the_driver(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("INSERT INTO people (name) VALUES ('a')"))
        with pytest.raises(IntegrityError):
            await connection.execute(text("INSERT INTO people (name) VALUES ('a')"))
        with pytest.raises(OperationalError):
            await connection.execute(text("SELECT nothing FROM people"))
        assert (await connection.execute(text("SELECT count(*) FROM people"))).scalar_one() == 1


async def test_a_statement_visits_the_thread_once(tmp_path: Path) -> None:
    connection = connect(tmp_path / "one.db")
    await connection
    queue = Counted(connection)
    cursor = connection.cursor()
    await cursor.execute("SELECT 1")
    rows = await cursor.fetchall()
    await cursor.close()
    assert rows == [(1,)]
    assert queue.put == 1
    await connection.close()


async def test_nothing_is_asked_of_a_connection_that_is_closed(tmp_path: Path) -> None:
    connection = connect(tmp_path / "one.db")
    await connection
    await connection.close()
    with pytest.raises(ValueError, match="no active connection"):
        await connection.cursor().execute("SELECT 1")
