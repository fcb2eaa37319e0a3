"""Whole transactions of SQLite in one visit: as through a session."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from newsletter.kit.db import Database, is_outage
from newsletter.kit.visits import Visits


class Unhappy(Exception):
    pass


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}")
    async with db.unit_of_work() as session:
        await session.execute(text("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"))
    yield db
    await db.close()


def visits(db: Database) -> Visits:
    assert db.visits is not None
    return db.visits


async def names(db: Database) -> list[str]:
    async with db.read() as session:
        return list((await session.execute(text("SELECT name FROM people ORDER BY id"))).scalars())


def add(connection: sqlite3.Connection, name: str) -> int | None:
    return connection.execute("INSERT INTO people (name) VALUES (?)", [name]).lastrowid


async def test_what_it_wrote_is_there_and_what_it_returned_comes_back(db: Database) -> None:
    assert await visits(db).transaction(lambda connection: add(connection, "Ada")) == 1
    assert await visits(db).transaction(lambda connection: add(connection, "Bo")) == 2
    assert await names(db) == ["Ada", "Bo"]


async def test_an_error_of_its_own_takes_all_of_it_back(db: Database) -> None:
    def work(connection: sqlite3.Connection) -> None:
        add(connection, "Ada")
        raise Unhappy()

    with pytest.raises(Unhappy):
        await visits(db).transaction(work)
    assert await names(db) == []
    await visits(db).transaction(lambda connection: add(connection, "Bo"))
    assert await names(db) == ["Bo"]


async def test_an_error_of_sqlite_is_one_of_a_session_and_takes_all_of_it_back(db: Database) -> None:
    def work(connection: sqlite3.Connection) -> None:
        add(connection, "Ada")
        add(connection, "Ada")

    with pytest.raises(DBAPIError) as raised:
        await visits(db).transaction(work)
    assert isinstance(raised.value.orig, sqlite3.IntegrityError)
    assert not is_outage(raised.value)
    assert await names(db) == []


async def test_its_connection_is_set_up_as_all_are(db: Database) -> None:
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")

    def asked(connection: sqlite3.Connection) -> list[object]:
        return [connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]

    async with db.read() as session:
        usual = [(await session.execute(text(f"PRAGMA {pragma}"))).scalar_one() for pragma in pragmas]
    assert usual[2:] == [1, 30_000]
    assert await visits(db).transaction(asked) == usual


async def test_a_connection_that_cannot_be_set_up_leaves_no_thread_behind(db: Database) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    broken = Visits(db.engine, nullcontext, fail)
    before = set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(DBAPIError):
            await broken.transaction(lambda connection: add(connection, "Ada"))
    for thread in set(threading.enumerate()) - before:
        thread.join(10)  # It was told to end, and may still be at it.
        assert not thread.is_alive()


async def test_it_waits_for_its_turn_among_the_writers_of_the_process(db: Database) -> None:
    async with db.unit_of_work() as session:
        await session.execute(text("INSERT INTO people (name) VALUES ('Ada')"))
        waiting = asyncio.create_task(visits(db).transaction(lambda connection: add(connection, "Cy")))
        await asyncio.sleep(0)
        await session.execute(text("INSERT INTO people (name) VALUES ('Bo')"))
    assert await waiting == 3
    assert await names(db) == ["Ada", "Bo", "Cy"]


async def test_who_is_cancelled_holds_nobody_up_and_what_was_begun_is_ended(db: Database) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> int | None:
        has_begun.set()
        assert may_go_on.wait(60)
        return add(connection, "Ada")

    cancelled = asyncio.create_task(visits(db).transaction(work))
    assert await asyncio.to_thread(has_begun.wait, 60)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled

    # Its turn is over, though its thread is still at it: whoever comes next waits for that alone.
    following = asyncio.create_task(visits(db).transaction(lambda connection: add(connection, "Bo")))
    await asyncio.sleep(0)
    may_go_on.set()
    assert await following == 2
    async with db.unit_of_work() as session:
        await session.execute(text("INSERT INTO people (name) VALUES ('Cy')"))
    assert await names(db) == ["Ada", "Bo", "Cy"]


async def test_a_rollback_that_failed_is_made_up_for_by_the_next(db: Database) -> None:
    failing = ["ROLLBACK"]

    def fail_once(action: int, argument: str | None, *more: object) -> int:
        if action == sqlite3.SQLITE_TRANSACTION and argument in failing:
            failing.remove(argument)
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def work(connection: sqlite3.Connection) -> None:
        connection.set_authorizer(fail_once)
        add(connection, "Ada")
        raise Unhappy()

    with pytest.raises(DBAPIError):
        await visits(db).transaction(work)
    assert not failing
    assert await visits(db).transaction(lambda connection: add(connection, "Bo")) == 1
    assert await names(db) == ["Bo"]
