"""What a unit of work promises of the disk, and what a look-up leaves behind."""

import asyncio

import pytest
from sqlalchemy import text

from newsletter.kit.db import Database


async def test_all_but_the_early_ones_wait_for_the_disk(db: Database) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite syncs each commit")
    shown = text("SHOW synchronous_commit")
    async with db.unit_of_work() as session:
        usual = await session.scalar(shown)
    async with db.early_unit_of_work() as session:
        assert await session.scalar(shown) == "off"
    async with db.unit_of_work() as session:
        assert await session.scalar(shown) == usual


async def _set(db: Database, setting: str) -> None:
    async with db.unit_of_work() as session:
        name = await session.scalar(text("SELECT current_database()"))
        await session.execute(text(f'ALTER DATABASE "{name}" {setting}'))


async def test_the_disk_is_waited_for_up_to_the_last_commit(db: Database, database_url: str) -> None:
    """The suite's server does not wait for its disk, so this test's database is told to."""
    if db.is_sqlite:
        await db.on_disk()
        return
    await _set(db, "SET synchronous_commit = on")
    ours = Database(database_url)
    try:
        async with ours.early_unit_of_work() as session:
            await session.execute(text("CREATE TABLE written (id int)"))
            end = await session.scalar(text("SELECT CAST(pg_current_wal_insert_lsn() AS text)"))

        await asyncio.gather(*(ours.on_disk() for _ in range(5)))

        async with ours.look_up() as connection:
            flushed = text("SELECT pg_current_wal_flush_lsn() >= CAST(CAST(:lsn AS text) AS pg_lsn)")
            assert (await connection.execute(flushed, {"lsn": end})).scalar_one()
    finally:
        await ours.close()
        await _set(db, "RESET synchronous_commit")
        async with db.unit_of_work() as session:
            await session.execute(text("DROP TABLE IF EXISTS written"))


async def test_a_look_up_leaves_no_transaction_open(db: Database) -> None:
    for _ in range(3):
        async with db.look_up() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    async with db.unit_of_work() as session:
        assert await session.scalar(text("SELECT 1")) == 1
