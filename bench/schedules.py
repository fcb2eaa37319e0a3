"""How late scheduled campaigns begin, by the clock of the database."""

import asyncio
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg

from bench.service import Service, answer, fill_list, service, sink
from bench.table import Goal, Measured, Row, row
from newsletter.kit import ids

CAMPAIGNS = 100
SPREAD_SECONDS = 60.0
"""Over which their times are spread by chance: neither on the second, nor evenly."""
LEAD_SECONDS = 15.0
READERS = 10
SEED = 20261126
_BEGUN = """
SELECT m.source_id, m.created_at, min(each.decided_at) FROM mailings m
JOIN messages each ON each.mailing_id = m.id AND each.outcome = 'sent'
WHERE m.status = 'closed' GROUP BY m.id
"""


def schedule_rows() -> list[Row]:
    what = f"{CAMPAIGNS} campaigns at times spread over {SPREAD_SECONDS:.0f} s, 2 workers: late at p99"
    return [row(Goal(what, 2.0, 1.0, unit="s", is_limit=True), _measure)]


def _measure() -> Measured:
    with (
        tempfile.TemporaryDirectory() as name,
        sink(Path(name)) as port,
        service(Path(name), port, distributed=True, workers=2) as running,
    ):
        times = _schedule(running)
        begun = asyncio.run(_begun(running, len(times)))
    late = sorted((begun[each][0] - at).total_seconds() for each, at in times.items())
    mailed = sorted((begun[each][1] - at).total_seconds() for each, at in times.items())
    assert late[0] >= 0, f"begun {-late[0]:.3f} s early"
    ours = (
        f"p50 {statistics.median(late):.2f} s, at most {late[-1]:.2f} s, never early; "
        f"first mail taken: p99 {_p99(mailed):.2f} s"
    )
    return Measured(ours, "the time that was asked for", _p99(late))


def _schedule(running: Service) -> dict[UUID, datetime]:
    dice, times = random.Random(SEED), {}
    with running.client() as client:
        list_id = fill_list(client, READERS)
        for number in range(CAMPAIGNS):
            at = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS + dice.uniform(0, SPREAD_SECONDS))
            body = {"list_id": list_id, "subject": f"Issue {number}", "html": "<p>News</p>"}
            made = answer(client.post("/campaigns", json=body | {"scheduled_at": at.isoformat()}))
            times[ids.private("cmp", made["id"])] = at
    return times


async def _begun(running: Service, count: int) -> dict[UUID, tuple[datetime, datetime]]:
    """When each was launched, and its first mail taken, once all are over."""
    connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    give_up = time.monotonic() + 30 + 3 * SPREAD_SECONDS
    try:
        while len(rows := await connection.fetch(_BEGUN)) < count:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{len(rows)} of {count} campaigns are over")
            await asyncio.sleep(1)
    finally:
        await connection.close()
    return {source_id: (at, first) for source_id, at, first in rows}


def _p99(values: list[float]) -> float:
    return values[int(0.99 * (len(values) - 1))]
