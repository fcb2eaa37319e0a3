"""Installations with a list of readers in them, made once and copied for each test."""

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from newsletter.kit.db import Database
from tests.conftest import SIZE
from tests.faults.campaign import Campaign
from tests.faults.processes import API, Installation, Newsletter, Worker
from tests.faults.sink import Sink
from tests.services import Postgres, Redis, require

ROWS = int(os.environ.get("NEWSLETTER_FAULTS_ROWS", "5000"))
"""Readers of the campaigns that a fault should meet in full flight."""
KILLS = int(os.environ.get("NEWSLETTER_FAULTS_KILLS", "10"))
"""Of the campaigns that are sent while processes are killed at random."""
KILLS_ASIDE = max(2, KILLS // 10)
"""Of single mails, and of calls to endpoints."""
LISTS = {"embedded": (300, 1_000, 2_000), "distributed": (300, 1_000, 2_000, ROWS)}[SIZE]
"""Lists by their number of readers."""
LEASE = 4.0
"""Seconds; short, so that what a dead process held is soon taken over. The default in production is 25."""
PATIENCE = 60 + ROWS / 20
"""Seconds until a campaign must have closed: a busy machine sends little."""
BLOCK = 64
TWO_BLOCKS = 2 * BLOCK
"""The most messages that one killed process may leave unknown."""

CONNECTIONS = 4
"""Of one process to the sending server; each may have one message on the wire."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Seeded:
    """A database to copy: an account, and a list of each size."""

    place: str
    key: str
    lists: dict[int, str]


@pytest.fixture(scope="session")
def durable_postgres() -> Iterator[Postgres]:
    """With fsync, as in production; tests stop and kill it."""
    require(Postgres)
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def lossy_redis() -> Iterator[Redis]:
    """Tests kill it with everything in it."""
    require(Redis)
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def seeded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    folder = tmp_path_factory.mktemp("seeded")
    if SIZE == "distributed":
        postgres: Postgres = request.getfixturevalue("durable_postgres")
        redis: Redis = request.getfixturevalue("lossy_redis")
        installation = Installation(folder, postgres.create_database("seeded"), redis.url, {})
        place = "seeded"
    else:
        path = folder / "newsletter.db"
        installation = Installation(folder, f"sqlite+aiosqlite:///{path}", None, {})
        place = str(path)
    installation.command("db", "upgrade")
    key = installation.create_account()
    with installation.api() as api:
        lists = asyncio.run(_fill_lists(api.url, key))
        api.terminate()
    return Seeded(place, key, lists)


async def _fill_lists(url: str, key: str) -> dict[int, str]:
    made = {}
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, timeout=60) as client:
        for size in LISTS:
            answer = await client.post("/lists", json={"name": f"{size} readers"})
            assert answer.status_code == 201, answer.text
            made[size] = answer.json()["data"]["id"]
            for first in range(1, size + 1, 1_000):
                rows = [
                    {"email": f"reader{number}@example.com", "first_name": f"Reader {number}"}
                    for number in range(first, min(first + 1_000, size + 1))
                ]
                body = {"list_id": made[size], "subscribers": rows}
                answer = await client.post("/subscribers/batch", json=body)
                assert answer.status_code == 200, answer.text
    return made


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        yield server


@dataclass
class World:
    """One installation of this test alone. Every process that it starts ends with the test."""

    installation: Installation
    seeded: Seeded
    sink: Sink
    db: Database
    stack: ExitStack

    def set(self, **options: object) -> None:
        """Changes settings for the processes that are started from now on."""
        self.installation = self.with_options(options)

    def with_options(self, options: Mapping[str, object]) -> Installation:
        texts = {name.upper(): str(value) for name, value in options.items()}
        return replace(self.installation, options={**self.installation.options, **texts})

    async def start(self, workers: int = 0) -> tuple[API, list[Newsletter]]:
        """An API and so many workers, started at once. In the embedded mode they are one process."""
        api = self.installation.api()
        if self.installation.redis_url is None:
            processes: list[Newsletter] = [api] * workers
        else:
            processes = [self.installation.worker() for _ in range(workers)]
        each = {id(process): process for process in (api, *processes)}.values()
        for process in each:
            self.stack.callback(process.close)
        await asyncio.gather(*(asyncio.to_thread(process.start) for process in each))
        return api, processes

    async def add_worker(self, module: str = "newsletter", **options: object) -> Worker:
        """One more, with settings of its own; only where workers are processes of their own."""
        worker = self.with_options(options).worker(module)
        self.stack.callback(worker.close)
        await asyncio.to_thread(worker.start)
        return worker

    async def move_to(self, folder: Path) -> tuple[API, Campaign]:
        """The embedded installation on another disk, started."""
        copy = folder / "newsletter.db"
        shutil.copyfile(self.seeded.place, copy)
        url = f"sqlite+aiosqlite:///{copy}"
        self.installation = replace(self.installation, folder=folder, database_url=url)
        self.db = Database(url)
        api, _ = await self.start()
        return api, self.campaign(2_000)

    def campaign(self, size: int) -> Campaign:
        return Campaign(self.db, self.sink, self.seeded.key, self.seeded.lists[size])


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, seeded: Seeded, sink: Sink, tmp_path: Path
) -> AsyncIterator[World]:
    redis_url = None
    if SIZE == "distributed":
        postgres: Postgres = request.getfixturevalue("durable_postgres")
        redis: Redis = request.getfixturevalue("lossy_redis")
        postgres.start()
        redis.start()
        redis.flush()
        redis_url = redis.url
        name = f"fault{next(_numbers)}"
        url = postgres.create_database(name, template=seeded.place)
    else:
        copy = tmp_path / "newsletter.db"
        shutil.copyfile(seeded.place, copy)
        url = f"sqlite+aiosqlite:///{copy}"
    options = {"SMTP_URL": sink.url, "DELIVERY_LEASE": str(LEASE), "DELIVERY_BLOCK_SIZE": str(BLOCK)}
    db = Database(url)
    with ExitStack() as stack:
        installation = Installation(tmp_path, url, redis_url, options)
        yield World(installation, seeded, sink, db, stack)
    await db.close()
