"""Transactions, where the two databases differ from what one would like them to be."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from newsletter.kit.db import Database
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
