"""Single mails whose calls share a transaction and a mailing, while the process that takes them is killed:
each caller repeats its call with its key, and each mail is there once, with one answer.

In the embedded size who takes a mail also sends it. So what is on the wire when the process dies goes out
once more, and where that happens to it again, nobody knows what became of it.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import func, select, update

from newsletter.delivery.ledger import OPEN
from newsletter.delivery.models import Message
from newsletter.kit.db import db_in
from newsletter.kit.idempotency import IdempotencyKey, KeyState
from tests.conftest import SIZE
from tests.faults.campaign import judge, report, wait_for
from tests.faults.conftest import KILLS_ASIDE as KILLS
from tests.faults.conftest import TWO_BLOCKS, World
from tests.faults.processes import API
from tests.services import Postgres

CALLERS = 16
MOMENTS = (0.01, 0.4)
"""Seconds from the first call to the end of the process, at least and at most."""
SEED = 20261126

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300 + 60 * KILLS)]


@dataclass
class Callers:
    """Products that send one mail each with each call, under a key of its own."""

    world: World
    answers: dict[str, Any] = field(default_factory=dict)
    """What each key was answered, by the address of its mail."""
    begun: set[str] = field(default_factory=set)

    async def call(self, client: httpx.AsyncClient, address: str) -> httpx.Response:
        """Sends to ``address``; of each key every answer must be the same one."""
        self.begun.add(address)
        body = {
            "from": "news@acme.example.com",
            "to": address,
            "subject": "Order",
            "html": f"<p>{address}</p>",
        }
        answer = await client.post("/send", json=body, headers={"Idempotency-Key": f"order {address}"})
        assert answer.status_code == 202, answer.text
        assert self.answers.setdefault(address, answer.json()) == answer.json()
        return answer

    async def call_on(self, client: httpx.AsyncClient, caller: str) -> None:
        """One call after the other, until nobody answers any more."""
        with contextlib.suppress(httpx.TransportError):
            for number in range(1_000):
                await self.call(client, f"{caller}.{number}@example.com")

    async def repeat(self, client: httpx.AsyncClient) -> list[httpx.Response]:
        """What was begun and not answered, once more, all of it at one moment."""
        open_ = self.begun - self.answers.keys()
        return list(await asyncio.gather(*(self.call(client, address) for address in open_)))

    async def end(self, api: API, times: int) -> None:
        """Lets the mails go out; then the books, the sink and every answer must agree."""
        async with self.http(api) as client:
            again = await asyncio.gather(*(self.call(client, address) for address in self.begun))
        assert all(answer.headers["Idempotent-Replayed"] == "true" for answer in again)
        if SIZE == "distributed":
            await self.world.add_worker()
        await wait_for(self._is_over, 120, "all mails are decided")
        async with self.world.db.read() as session:
            rows = (await session.execute(select(Message.address, Message.outcome))).all()
        assert len(rows) == len(self.begun), "a mail for each call, and no other"
        verdict = judge({row.address: row.outcome for row in rows}, self.world.sink)
        report(verdict, times, [])
        assert verdict.sent + verdict.unknown == len(self.begun)
        assert (verdict.missing, verdict.unaccounted) == (0, 0)
        # Where who sends is not who was killed, there is nothing to send again.
        on_the_wire = times * TWO_BLOCKS if SIZE == "embedded" else 0
        assert verdict.duplicates <= on_the_wire
        assert verdict.unknown <= on_the_wire
        copies = Counter(mail.recipient for mail in self.world.sink.mails)
        assert max(copies.values()) <= 2

    async def _is_over(self) -> bool:
        return await self.count(Message.outcome.in_(OPEN)) == 0

    async def count(self, *conditions: Any) -> int:
        async with self.world.db.read() as session:
            counted = select(func.count()).select_from(Message).where(*conditions)
            return (await session.execute(counted)).scalar_one()

    @asynccontextmanager
    async def http(self, api: API) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"Authorization": f"Bearer {self.world.seeded.key}"}
        limits = httpx.Limits(max_connections=2 * CALLERS)
        base = f"{api.url}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers=headers, limits=limits, timeout=60) as client:
            yield client


async def end_claims(world: World) -> None:
    """In place of waiting for the lease of the calls that nobody carries out any more. (The one process of an
    embedded installation frees them when it starts.)"""
    async with world.db.unit_of_work() as session:
        await session.execute(update(IdempotencyKey).values(lease_until=db_in(-1)))


async def test_single_mails_of_one_moment_are_sent_once_though_their_process_is_killed(world: World) -> None:
    dice, callers = random.Random(SEED), Callers(world)
    api, _ = await world.start()
    for kill in range(KILLS):
        async with callers.http(api) as client:
            calls = [
                asyncio.create_task(callers.call_on(client, f"round{kill}.caller{number}"))
                for number in range(CALLERS)
            ]
            await asyncio.sleep(dice.uniform(*MOMENTS))
            api.kill()
            await asyncio.gather(*calls)
        if SIZE == "distributed":
            await end_claims(world)
        api.start()
        async with callers.http(api) as client:
            await callers.repeat(client)
    await callers.end(api, KILLS)


@asynccontextmanager
async def no_wait_for_the_disk_ends(postgres: Postgres) -> AsyncIterator[None]:
    """Commits that wait until they are on disk wait for a standby that is not there, as well. Their effect
    cannot be seen meanwhile; that of others can."""
    connection = await asyncpg.connect(postgres.create_database("waiting").replace("+asyncpg", ""))

    async def wait_for_standbys(names: str) -> None:
        await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await connection.execute("SELECT pg_reload_conf()")

    # This connection's own commits, and those before it, must not wait for what it ends.
    await connection.execute("SET synchronous_commit = local")
    await wait_for_standbys("nobody")
    try:
        yield
    finally:
        await wait_for_standbys("")
        await connection.close()


@pytest.mark.skipif(SIZE != "distributed", reason="needs a commit that waits (Postgres)")
async def test_single_mails_are_sent_once_though_their_process_dies_between_effect_and_answer(
    world: World, durable_postgres: Postgres
) -> None:
    callers = Callers(world)
    api, _ = await world.start()
    async with no_wait_for_the_disk_ends(durable_postgres), callers.http(api) as client:
        calls = [
            asyncio.create_task(callers.call(client, f"caller{number}@example.com"))
            for number in range(CALLERS)
        ]

        async def is_written() -> bool:
            # Which calls share the first transaction is chance; those of the next wait behind it.
            return await callers.count() > 0

        await wait_for(is_written, 60, "the effect of some calls")
        assert not callers.answers, "nobody is told before it is on disk"
        api.kill()
        assert all(
            isinstance(each, httpx.TransportError)
            for each in await asyncio.gather(*calls, return_exceptions=True)
        )
    async with world.db.read() as session:
        answered = select(func.count()).where(IdempotencyKey.state == KeyState.answered)
        messages = select(func.count()).select_from(Message)
        both = select(answered.scalar_subquery(), messages.scalar_subquery())
        stored, written = (await session.execute(both)).one()
    assert stored == written > 0, "an effect and its answer are one transaction"
    await end_claims(world)
    api.start()
    async with callers.http(api) as client:
        repeated = await callers.repeat(client)
    assert len(repeated) == CALLERS
    assert [answer.headers.get("Idempotent-Replayed") for answer in repeated].count("true") >= written
    assert await callers.count() == CALLERS
    await callers.end(api, 1)
