"""A statement that takes too long is ended."""

import asyncio

import pytest
from sqlalchemy import text

from newsletter.kit.db import Database
from newsletter.kit.errors import Unavailable
from newsletter.kit.patience import at_most


async def test_a_time_that_ends_between_two_statements_ends_the_next_one(db: Database) -> None:
    endless = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        if db.is_sqlite
        else "SELECT pg_sleep(600)"
    )

    async def ask() -> None:
        async with db.read() as session, at_most(session, 0.01, Unavailable()):
            await session.execute(text("SELECT 1"))
            await asyncio.sleep(0.05)
            await session.execute(endless)

    with pytest.raises(Unavailable):
        await ask()
    async with db.read() as session:
        assert (await session.execute(text("SELECT 1"))).scalar_one() == 1
