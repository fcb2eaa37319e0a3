"""A statement that takes too long is ended, and such statements take turns."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest
from sqlalchemy import text

from newsletter.kit.db import Database
from newsletter.kit.errors import Unavailable
from newsletter.kit.patience import a_place, at_most


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


async def test_owners_have_places_of_their_own_and_all_of_them_so_many_together() -> None:
    greedy, modest, late = (UUID(int=number) for number in (1, 2, 3))
    inside: Counter[UUID] = Counter()
    leave = asyncio.Event()

    async def work(owner: UUID) -> None:
        async with a_place(owner, 2, 3, 60, Unavailable()):
            inside[owner] += 1
            await leave.wait()
            inside[owner] -= 1

    async with asyncio.TaskGroup() as group:
        for owner in (greedy, greedy, greedy, greedy, modest, late):
            group.create_task(work(owner))
        await asyncio.sleep(0.05)
        assert +inside == {greedy: 2, modest: 1}
        with pytest.raises(Unavailable):
            async with a_place(late, 2, 3, 0.01, Unavailable()):
                raise AssertionError("There are three inside.")
        leave.set()
    # Whoever gave up has left nothing taken.
    async with asyncio.timeout(5):
        for _ in range(4):
            await work(late)
