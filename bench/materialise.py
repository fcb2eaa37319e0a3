"""How fast a launch turns a list into recipients: one statement, then batches and their jobs."""

import asyncio
import tempfile
import time
from pathlib import Path

import asyncpg
import httpx

from bench.content import BODY, SUBJECT
from bench.service import Service, answer, fill_list, service
from bench.sinks import smtp_sink
from bench.table import Goal, Measured, Row, row
from newsletter.kit import ids


def materialise_rows(recipients: int) -> list[Row]:
    return [
        row(
            Goal(f"Materialise {recipients:,} recipients on Postgres", 250_000, 500_000, unit="rows/s"),
            lambda: _materialise(recipients),
        )
    ]


def _materialise(recipients: int) -> Measured:
    """The launch's own time, over HTTP, while no worker runs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        smtp_sink() as sink,
        service(Path(folder), sink.port, distributed=True, workers=0) as running,
        running.client() as client,
    ):
        list_id = fill_list(client, 1)
        multiply(running, list_id, recipients)
        body = {"list_id": list_id, "subject": SUBJECT, "html": BODY}
        campaign = answer(client.post("/campaigns", json=body))
        started = time.perf_counter()
        answer(client.post(f"/campaigns/{campaign['id']}/send", json={}, timeout=httpx.Timeout(600)))
        elapsed = time.perf_counter() - started
        frozen = int(asyncio.run(_sql(running, "SELECT sum(cardinality(address_keys)) FROM mailing_rolls")))
    assert frozen == recipients, frozen
    return Measured(f"{elapsed:.1f} s", "`POST /campaigns/{id}/send` without a worker", recipients / elapsed)


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
