"""The API beside Fastify: single upserts, batches, tracked links. Both sides take turns."""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from uuid import UUID

import asyncpg

from bench.api import BATCH_ROWS, shown
from bench.content import BODY
from bench.load import Figures, load, request
from bench.node import PEERS, node
from bench.sending import wait_until_sent
from bench.service import Service, answer, bare, fill_list, free_port, service, sink, wait_until_up
from bench.table import Goal, Measured, Row, row
from bench.wrk import FOLLOWS, reads, upserts, wrk
from newsletter.delivery.links import Links, MessageRef
from newsletter.kit import ids
from newsletter.kit.tokens import Signer

UPSERT_CONNECTIONS = 32
ROUTE_CONNECTIONS = 16
CLICKS_BEFORE = 3
"""Seconds: longer than a click waits for its block."""
BATCHES = 10
LINK = "https://shop.example.org/lamps?a=1&b=2"

_UNNEST = """
INSERT INTO subscribers (id, project_id, list_id, email, address_key, first_name, tags, custom_fields,
  status, subscribed_at, created_at, updated_at)
SELECT id, $2, $3, email, email, first_name, '[]', '{}', 'active', now(), now(), now()
FROM unnest($1::uuid[], $4::text[], $5::text[]) AS rows (id, email, first_name)
ON CONFLICT (list_id, address_key) DO UPDATE
  SET first_name = excluded.first_name, updated_at = excluded.updated_at
RETURNING id, (xmax = 0)
"""


def http_rows(seconds: int, rounds: int) -> list[Row]:
    with (
        tempfile.TemporaryDirectory() as name,
        sink(Path(name)) as port,
        service(Path(name), port, distributed=True) as running,
    ):
        folder = Path(name)
        with running.client() as client:
            list_id = fill_list(client, BATCH_ROWS)
            body = {"list_id": list_id, "subject": "News", "html": BODY}
            campaign_id = answer(client.post("/campaigns", json=body))["id"]
        return [
            row(
                Goal(
                    "POST /subscribers at 32 connections, Postgres / Fastify + pg, the same upsert", 1.0, 2.0
                ),
                lambda: _upserts(folder, running, list_id, seconds, rounds),
            ),
            row(
                Goal("Batch of 1,000 over HTTP / the bare unnest call, time", 2.0, 1.2, is_limit=True),
                lambda: _batches(running, list_id, rounds),
            ),
            row(
                Goal("Click redirect with its event in the log / Fastify + pg, the same", 0.9, 1.5),
                lambda: _clicks(folder, running, list_id, seconds, rounds),
            ),
            row(
                Goal("GET /campaigns/{id} at 16 connections / the bare Litestar route, p50"),
                lambda: _against_bare(
                    folder,
                    lambda: wrk(
                        folder,
                        f"{running.url}/api/v1/campaigns/{campaign_id}",
                        reads(running.key),
                        seconds=seconds,
                        connections=ROUTE_CONNECTIONS,
                    ),
                    seconds,
                    rounds,
                ),
            ),
        ]


def _upserts(folder: Path, running: Service, list_id: str, seconds: int, rounds: int) -> Measured:
    with _peer_of(folder, running, list_id) as (url, _):

        def ours(number: int) -> Figures:
            script = upserts(list_id, running.key, number)
            address = f"{running.url}/api/v1/subscribers"
            return wrk(folder, address, script, seconds=seconds, connections=UPSERT_CONNECTIONS)

        def theirs(number: int) -> Figures:
            script = upserts(list_id, running.key, number)
            return wrk(folder, f"{url}/subscribers", script, seconds=seconds, connections=UPSERT_CONNECTIONS)

        return _in_turn(ours, theirs, rounds, "Fastify")


def _clicks(folder: Path, running: Service, list_id: str, seconds: int, rounds: int) -> Measured:
    links = Links(Signer([running.secret_key]), running.url, running.url)
    link = links.tracked(_reader(running), LINK)

    def followed(address: str) -> Figures:
        # Events wait before they are written, ours the longer: the load that is measured has those of a
        # load before it to write, and leaves none to the turn of the other side.
        wrk(folder, address, FOLLOWS, seconds=CLICKS_BEFORE, connections=UPSERT_CONNECTIONS)
        found = wrk(folder, address, FOLLOWS, seconds=seconds, connections=UPSERT_CONNECTIONS)
        asyncio.run(_until_written(running))
        return found

    with _peer_of(folder, running, list_id) as (url, path):
        return _in_turn(lambda _: followed(link), lambda _: followed(url + path), rounds, "Fastify")


async def _until_written(running: Service) -> None:
    """Until the log of events has not grown for longer than an event waits."""
    connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    written, before = 0, -1
    while written != before:
        await asyncio.sleep(CLICKS_BEFORE)
        written, before = await connection.fetchval("SELECT count(*) FROM events"), written
    await connection.close()


def _against_bare(folder: Path, ours: Callable[[], Figures], seconds: int, rounds: int) -> Measured:
    with bare(folder) as url:
        pairs = [
            (ours(), wrk(folder, f"{url}/bare", "", seconds=seconds, connections=ROUTE_CONNECTIONS))
            for _ in range(rounds)
        ]
    ratio = statistics.median(mine.p50 / other.p50 for mine, other in pairs)
    return Measured(shown(pairs[-1][0]), f"bare {shown(pairs[-1][1])}", ratio)


def _in_turn(
    ours: Callable[[int], Figures], theirs: Callable[[int], Figures], rounds: int, name: str
) -> Measured:
    """The median of the ratios; one round before them warms both up."""
    run = int(time.time()) * 1000
    pairs = [(ours(run + 2 * each), theirs(run + 2 * each + 1)) for each in range(rounds + 1)][1:]
    ratio = statistics.median(mine.rate / other.rate for mine, other in pairs)
    middle = sorted(pairs, key=lambda pair: pair[0].rate / pair[1].rate)[len(pairs) // 2]
    return Measured(shown(middle[0]), f"{name} {shown(middle[1])}", ratio)


def _batches(running: Service, list_id: str, rounds: int) -> Measured:
    """One call after the other: a batch of new subscribers, with consents and counters, against
    the statement alone on a connection of its own. Both end with a commit that is on disk."""
    project_id = UUID(_project(running, list_id))
    pairs = []
    for turn in range(rounds + 1):
        run = f"{int(time.time())}-{turn}"

        def batch(number: int, run: str = run) -> bytes:
            rows = [
                {"email": f"b{run}-{number}-{each}@example.com", "first_name": f"Reader {each}"}
                for each in range(BATCH_ROWS)
            ]
            body = json.dumps({"list_id": list_id, "subscribers": rows}).encode()
            return request("POST", "/api/v1/subscribers/batch", running.key, body)

        mine = load(running.url, batch, calls=BATCHES, connections=1).p50
        other = asyncio.run(_bare_batches(running, project_id, ids.private("lst", list_id), run))
        pairs.append((mine, other))
    ratio = statistics.median(mine / other for mine, other in pairs[1:])
    mine, other = pairs[-1]
    return Measured(f"p50 {mine:.1f} ms", f"unnest p50 {other:.1f} ms", ratio)


async def _bare_batches(running: Service, project_id: UUID, list_id: UUID, run: str) -> float:
    connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    times = []
    for number in range(BATCHES):
        emails = [f"u{run}-{number}-{each}@example.com" for each in range(BATCH_ROWS)]
        names = [f"Reader {each}" for each in range(BATCH_ROWS)]
        keys = [ids.uuid7() for _ in emails]
        started = time.perf_counter()
        await connection.fetch(_UNNEST, keys, project_id, list_id, emails, names)
        times.append((time.perf_counter() - started) * 1000)
    await connection.close()
    return statistics.median(times)


def _peer_of(folder: Path, running: Service, list_id: str) -> AbstractContextManager[tuple[str, str]]:
    """The Fastify program on the service's own database, key and list."""
    project_id = _project(running, list_id)
    return peer(folder, running.key, running.database_url, project_id, str(ids.private("lst", list_id)))


@contextmanager
def peer(folder: Path, *arguments: str) -> Iterator[tuple[str, str]]:
    """The Fastify program: its URL, and the path of a link that it signed."""
    port = free_port()
    command = [
        node(),
        str(PEERS / "api.mjs"),
        str(port),
        *(each.replace("+asyncpg", "") for each in arguments),
    ]
    with (folder / "peer.log").open("ab") as log:
        child = Popen(command, stdout=PIPE, stderr=log, text=True, env=dict(os.environ))
    try:
        assert child.stdout is not None
        path = child.stdout.readline().strip()
        url = f"http://127.0.0.1:{port}"
        wait_until_up(f"{url}/bare")
        yield url, path
    finally:
        child.terminate()
        child.wait()


def _project(running: Service, list_id: str) -> str:
    async def find() -> str:
        connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
        try:
            statement = "SELECT project_id FROM lists WHERE id = $1"
            return str(await connection.fetchval(statement, ids.private("lst", list_id)))
        finally:
            await connection.close()

    return asyncio.run(find())


def _reader(running: Service) -> MessageRef:
    """Somebody who got a mail, so that each click ends in the event log."""
    with running.client() as client:
        body = {"list_id": fill_list(client, 1), "subject": "News", "html": BODY}
        campaign = answer(client.post("/campaigns", json=body))
        answer(client.post(f"/campaigns/{campaign['id']}/send", json={}))
        wait_until_sent(client, campaign["id"], 1)

    async def find() -> MessageRef:
        connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
        try:
            found = await connection.fetchrow("SELECT mailing_id, seq, subscriber_id FROM messages")
            return MessageRef(found["mailing_id"], found["seq"], found["subscriber_id"])
        finally:
            await connection.close()

    return asyncio.run(find())
