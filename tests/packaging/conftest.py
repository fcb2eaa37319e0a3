"""Empty databases of both kinds, whatever the size of the run."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from newsletter.kit.db import Database
from tests.services import Postgres, require


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    require(Postgres)
    with Postgres(fast=True) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    """Two empty databases of one kind."""
    if request.param == "sqlite":
        urls = [f"sqlite+aiosqlite:///{tmp_path / name}.db" for name in ("one", "two")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        for name in ("one", "two"):
            server.drop_database(name)
        urls = [server.create_database(name) for name in ("one", "two")]
    databases = (Database(urls[0]), Database(urls[1]))
    yield databases
    for database in databases:
        await database.close()
