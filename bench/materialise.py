"""How fast a launch turns a list into recipients, and how fast these become rows of messages."""

import asyncio
import tempfile
import time
from pathlib import Path

import asyncpg
import httpx
from sqlalchemy import select

from bench.content import CAMPAIGN
from bench.service import Service, answer, fill_list, service
from bench.sinks import smtp_sink
from bench.table import Goal, Measured, Row, row
from newsletter.delivery import rolls
from newsletter.delivery.models import Batch
from newsletter.kit import ids
from newsletter.kit.db import Database


def materialise_rows(recipients: int) -> list[Row]:
    """Both from one launch: what its call does, and what workers do later, here on one connection."""
    written: list[Measured] = []

    def measure() -> Measured:
        frozen, both = _materialise(recipients)
        written.append(both)
        return frozen

    goal = Goal(f"Materialise {recipients:,} recipients on Postgres: frozen", 250_000, 500_000, unit="rows/s")
    first = row(goal, measure)
    second = Goal("… and each with a row of its own, which workers write batch by batch", unit="rows/s")
    return [first, row(second, written.pop) if written else Row(second, first.result)]


def _materialise(recipients: int) -> tuple[Measured, Measured]:
    """The launch's own time, over HTTP, while no worker runs; then that of what all batches write."""
    with (
        tempfile.TemporaryDirectory() as folder,
        smtp_sink() as sink,
        service(Path(folder), sink.port, distributed=True, workers=0) as running,
        running.client() as client,
    ):
        list_id = fill_list(client, 1)
        multiply(running, list_id, recipients)
        body = {**CAMPAIGN, "list_id": list_id}
        campaign = answer(client.post("/campaigns", json=body))
        started = time.perf_counter()
        answer(client.post(f"/campaigns/{campaign['id']}/send", json={}, timeout=httpx.Timeout(600)))
        elapsed = time.perf_counter() - started
        frozen = int(asyncio.run(_sql(running, "SELECT sum(cardinality(address_keys)) FROM mailing_rolls")))
        started = time.perf_counter()
        asyncio.run(_write_out(running))
        both = elapsed + time.perf_counter() - started
        written = int(asyncio.run(_sql(running, "SELECT count(*) FROM messages")))
    assert frozen == written == recipients, (frozen, written)
    return (
        Measured(f"{elapsed:.1f} s", "`POST /campaigns/{id}/send` without a worker", recipients / elapsed),
        Measured(f"{both:.1f} s", "the same, and one connection that writes out", recipients / both),
    )


async def _write_out(running: Service) -> None:
    """What the first claim of each batch does with the rolls, one after the other."""
    db = Database(running.database_url)
    try:
        async with db.read() as session:
            ranges = (await session.execute(select(Batch.mailing_id, Batch.first_seq, Batch.last_seq))).all()
        for mailing_id, first_seq, last_seq in ranges:
            async with db.unit_of_work() as session:
                await rolls.write_out(session, mailing_id, first_seq, last_seq)
    finally:
        await db.close()


def multiply(running: Service, list_id: str, count: int) -> None:
    """Copies the list's one subscriber until there are so many, which takes a minute less than the
    API, and lets the database see what it has, as it would have by the time such a list was imported."""
    columns = asyncio.run(
        _sql(
            running,
            "SELECT string_agg(quote_ident(column_name), ',' ORDER BY ordinal_position)"
            " FROM information_schema.columns WHERE table_name = 'subscribers'",
        )
    ).split(",")
    own = {
        "id": "gen_random_uuid()",
        "email": "'copy' || n || '@example.com'",
        "address_key": "'copy' || n || '@example.com'",
    }
    values = ", ".join(own.get(name, name) for name in columns)
    copy = (
        f"INSERT INTO subscribers ({', '.join(columns)})"
        f" SELECT {values} FROM subscribers, generate_series(1, {count - 1}) AS n"
        f" WHERE list_id = '{ids.private('lst', list_id)}'"
    )
    for statement in (copy, "VACUUM ANALYZE subscribers"):
        asyncio.run(_sql(running, statement))


async def _sql(running: Service, statement: str) -> str:
    """Runs one statement; the first value of what it answers."""
    connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    try:
        return str(await connection.fetchval(statement, timeout=600))
    finally:
        await connection.close()
