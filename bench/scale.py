"""Ten campaigns to one large list: whether the rate, the worker's memory and the tables stay as they are.

The first is sent. The others are written and closed in SQL with the row versions that a worker
leaves, range by range, because to send them too would take an hour and show nothing else.
"""

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from uuid import UUID

import asyncpg

from bench.content import CAMPAIGN
from bench.materialise import multiply
from bench.sending import Product, peak_memory, product, wait_until_sent
from bench.service import Service, answer, fill_list
from bench.table import Goal, Measured, Row, row
from newsletter.kit.ids import uuid7

SLICE = 10
"""The campaign that is sent is timed in so many parts; the first holds the start, the last the end."""
RANGE = 64
LOOK_SECONDS = 0.25
_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the messages take on disk."""

    rows: int
    table: int
    indexes: int

    @property
    def each(self) -> float:
        return (self.table + self.indexes) / self.rows

    def __str__(self) -> str:
        return f"{self.table / self.rows:,.0f} of table and {self.indexes / self.rows:,.0f} of indexes"


def scale_rows(recipients: int, campaigns: int) -> list[Row]:
    """``recipients`` of each of so many campaigns."""
    rates: list[float] = []
    peaks: dict[int, int] = {}
    sizes: list[Sizes] = []

    def steady() -> Measured:
        with product(200) as ours:
            for count in (recipients // 100, recipients // 10):
                _send(ours, count)
                peaks[count] = peak_memory(ours.service.sender_pid)
            rates.extend(_send(ours, recipients))
            peaks[recipients] = peak_memory(ours.service.sender_pid)
            sizes.extend(asyncio.run(_further(ours.service, campaigns - 1)))
        inner = rates[1:-1]
        return Measured(
            f"{min(inner):,.0f} mails/s in the slowest tenth",
            f"median of the tenths of {recipients:,}: {median(inner):,.0f}/s",
            min(inner) / median(inner),
        )

    def memory() -> Measured:
        small, _, large = sorted(peaks)
        told = ", ".join(f"{count:,}: {peaks[count] / 1024:.0f} MB" for count in sorted(peaks)[:-1])
        return Measured(f"{peaks[large] / 1024:.0f} MB", told, peaks[large] / peaks[small])

    def growth() -> Measured:
        first, last = sizes[0], sizes[-1]
        return Measured(
            f"{last} for each of {last.rows:,}", f"{first} of {first.rows:,}", last.each / first.each
        )

    return [
        row(Goal(f"One campaign to {recipients:,}: slowest tenth / median", 0.7, 0.9), steady),
        row(
            Goal(f"Worker's peak memory, {recipients:,} / a hundredth of them", 1.3, 1.1, is_limit=True),
            memory,
        ),
        row(Goal(f"Disk of a recipient, {campaigns} campaigns / one", 1.1, 1.0, is_limit=True), growth),
    ]


def _send(ours: Product, count: int) -> list[float]:
    """Sends one campaign to a list of its own; mails a second in each tenth of it."""
    with ours.service.client() as client:
        list_id = fill_list(client, 1)
        multiply(ours.service, list_id, count)
        campaign = answer(client.post("/campaigns", json={**CAMPAIGN, "list_id": list_id}))
        before, marks = sum(sink.count() for sink in ours.sinks), [time.time()]
        answer(client.post(f"/campaigns/{campaign['id']}/send", json={}, timeout=600))
        while len(marks) < SLICE:
            time.sleep(LOOK_SECONDS)
            taken = sum(sink.count() for sink in ours.sinks) - before
            marks += [time.time()] * (min(taken * SLICE // count, SLICE - 1) + 1 - len(marks))
        marks.append(wait_until_sent(client, campaign["id"], count))
    return [count / SLICE / max(1e-9, end - start) for start, end in pairwise(marks)]


async def _further(running: Service, campaigns: int) -> list[Sizes]:
    """Sizes after the campaign that was sent last, and after each of so many further ones like it."""
    connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""), command_timeout=3600)
    try:
        model, count = await connection.fetchrow(
            "SELECT id, recipient_count FROM mailings ORDER BY id DESC LIMIT 1"
        )
        found = [await _sizes(connection)]
        for _ in range(campaigns):
            mailing = uuid7()
            await _copy(connection, "mailings", "id", model, {"id": f"'{mailing}'"})
            own = {"mailing_id": f"'{mailing}'"}
            fresh = {"outcome": "'pending'", "decided_at": "NULL", "attempts": "0"}
            await _copy(connection, "messages", "mailing_id", model, own | fresh)
            await _copy(connection, "batches", "mailing_id", model, own | {"id": "gen_random_uuid()"})
            for first in range(1, count + 1, RANGE):
                for outcome, decided in (("sending", "NULL"), ("sent", "clock_timestamp()")):
                    await connection.execute(
                        f"UPDATE messages SET outcome = '{outcome}', decided_at = {decided}, attempts = 1"
                        " WHERE mailing_id = $1 AND seq BETWEEN $2 AND $3",
                        *(mailing, first, first + RANGE - 1),
                    )
            found.append(await _sizes(connection))
            print(f"  {found[-1].rows:,} messages: {found[-1]}", flush=True)
        return found
    finally:
        await connection.close()


async def _copy(
    connection: "asyncpg.Connection", table: str, key: str, model: UUID, own: dict[str, str]
) -> None:
    """The rows of the model once more, in the order of their key, with values of their own."""
    names = [name for (name,) in await connection.fetch(_COLUMNS, table)]
    values = ", ".join(own.get(name, name) for name in names)
    order = "seq" if table == "messages" else "id"
    copy = f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} WHERE {key} = $1"
    await connection.execute(f"{copy} ORDER BY {order}", model)


async def _sizes(connection: "asyncpg.Connection") -> Sizes:
    """After a vacuum, which a database that runs on makes by itself sooner or later."""
    await connection.execute("VACUUM ANALYZE messages")
    return Sizes(
        *await connection.fetchrow(
            "SELECT (SELECT count(*) FROM messages), pg_table_size('messages'), pg_indexes_size('messages')"
        )
    )
