"""Transactions, where the two databases differ from what one would like them to be."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from newsletter.kit.db import Database, is_outage
from tests.conftest import SIZE


@pytest.mark.skipif(SIZE != "embedded", reason="is about SQLite's lock of writers")
async def test_processes_that_read_and_then_write_lose_nothing(tmp_path: Path) -> None:
    """Two spellings of one path have no turnstile in common, as two processes have none."""
    one = Database(f"sqlite+aiosqlite:///{tmp_path}/counter.db")
    other = Database(f"sqlite+aiosqlite:///{tmp_path}/./counter.db")
    async with one.unit_of_work() as session:
        await session.execute(text("CREATE TABLE counter (number INTEGER)"))
        await session.execute(text("INSERT INTO counter VALUES (0)"))

    async def count(db: Database) -> None:
        async with db.unit_of_work() as session:
            number = (await session.execute(text("SELECT number FROM counter"))).scalar_one()
            await asyncio.sleep(0.02)
            await session.execute(text("UPDATE counter SET number = :number"), {"number": number + 1})

    await asyncio.gather(*(count(db) for db in (one, other) for _ in range(5)))
    async with one.read() as session:
        assert (await session.execute(text("SELECT number FROM counter"))).scalar_one() == 10
    await one.close()
    await other.close()


@pytest.mark.skipif(SIZE != "embedded", reason="is about the errors of SQLite")
async def test_only_what_the_machine_does_to_sqlite_is_an_outage(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    db = Database(f"sqlite+aiosqlite:///{path}")

    async def run(*statements: str) -> None:
        async with db.look_up() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    await run("CREATE TABLE some (text TEXT)")
    for nonsense in ("SELECT * FROM no_such_table", "SELECT no_such_column FROM some", "SELEKT"):
        with pytest.raises(OperationalError) as wrong:
            await run(nonsense)
        assert not is_outage(wrong.value)
    with pytest.raises(OperationalError) as full:
        await run("PRAGMA max_page_count = 10", "INSERT INTO some VALUES (zeroblob(10000000))")
    assert is_outage(full.value)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError) as locked:
            await run("PRAGMA busy_timeout = 0", "BEGIN IMMEDIATE")
    assert is_outage(locked.value)
    await db.close()
