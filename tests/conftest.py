"""The suite's world: a migrated database and an application on it, in both sizes.

``NEWSLETTER_TEST_SIZE=embedded`` (default) runs on SQLite, ``distributed`` on a private
PostgreSQL and Redis that the suite starts itself.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from litestar import Litestar
from litestar.types import ASGIApp
from pydantic import SecretStr
from pydantic_settings import BaseSettings
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from newsletter import migrations
from newsletter.accounts import keys
from newsletter.accounts import service as accounts
from newsletter.accounts.project import Project
from newsletter.asgi import create_app, make_routes
from newsletter.kit import db as kit_db
from newsletter.kit.db import Base, Database
from newsletter.kit.jobs import Ring
from newsletter.kit.logging import configure
from newsletter.runtime import Runtime
from newsletter.settings import DNSSettings, Settings
from tests.client import Client
from tests.dns_server import NameServer
from tests.services import Postgres, Redis, require

SIZE = os.environ.get("NEWSLETTER_TEST_SIZE", "embedded")
SECRET_KEY = "a-secret-key-for-tests-only-0123456789abcdef"

configure("warning", "console")

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")


PROCESSES = {"cli", "doctor", "faults"}
"""Folders whose tests start whole processes, in the size of the run."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs neither database nor broker is the same in both sizes: it runs in the first."""
    if SIZE != "distributed":
        return
    sized = [
        item
        for item in items
        if "migrated" in getattr(item, "fixturenames", ()) or item.path.parent.name in PROCESSES
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in sized])
    items[:] = sized


def run_migrations(url: str) -> None:
    async def upgrade() -> None:
        db = Database(url)
        try:
            await migrations.upgrade(db.engine)
        finally:
            await db.close()

    asyncio.run(upgrade())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    require(Postgres)
    with Postgres(fast=True) as server, pytest.MonkeyPatch.context() as patched:
        # It was started a moment ago, and nobody holds a lease from before.
        patched.setattr(kit_db, "SETTLE_SECONDS", 0)
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    require(Redis)
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the newest schema: a file to copy from, or one to empty before each test."""
    if SIZE == "distributed":
        server: Postgres = request.getfixturevalue("postgres")
        server.create_database("newsletter")
        url = server.url("newsletter")
    else:
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('migrated') / 'newsletter.db'}"
    run_migrations(url)
    return url


@pytest.fixture(scope="session", autouse=True)
def quick_databases() -> Iterator[None]:
    """Commits of this process do not wait for the disk, and what one test had SQLAlchemy make of a
    statement serves the next ones, though each has an engine of its own: a fifth of their time.

    Processes that tests start have neither.
    """
    references: dict[str, Engine] = {}

    def create(url: str, **options: Any) -> AsyncEngine:
        engine = create_async_engine(url, query_cache_size=5_000, **options)
        made = engine.sync_engine
        reference = references.get(made.dialect.name)
        if reference is None:
            # Only its first connection tells a dialect of its server.
            event.listen(made, "first_connect", lambda *_: references.setdefault(made.dialect.name, made))
        else:
            made.dialect, made._compiled_cache = reference.dialect, reference._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kit_db, "SYNCHRONOUS", "OFF")
        patched.setattr(kit_db, "create_async_engine", create)
        yield


@pytest.fixture(scope="session")
def empty(migrated: str) -> Iterator[Callable[[], None]]:
    """Empties the database of the distributed size, on one connection for all tests: on a new one
    PostgreSQL first learns of every table, which took 140 ms of 200."""
    # Children first. TRUNCATE would take a second: it makes new files for each table and index.
    tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
    statements = "".join(f'DELETE FROM "{name}";' for name in tables)
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(migrated.replace("+asyncpg", "")))
    yield lambda: loop.run_until_complete(connection.execute(statements))
    loop.run_until_complete(connection.close())
    loop.close()


@pytest.fixture
def database_url(migrated: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database of this test alone."""
    if SIZE == "distributed":
        request.getfixturevalue("empty")()
        return migrated
    path = tmp_path / "newsletter.db"
    shutil.copyfile(migrated.removeprefix("sqlite+aiosqlite:///"), path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def groups() -> dict[str, Any]:
    """The groups of settings, which are frozen: each test would else read the environment for each. The DNS
    is nobody's: who wants one asks for `name_server`."""
    made = Settings(secret_key=SecretStr(SECRET_KEY))
    nobody = DNSSettings(nameservers=("127.0.0.1:9",), timeout=0.1, lifetime=0.1)
    groups = {
        name: group
        for name in Settings.model_fields
        if isinstance(group := getattr(made, name), BaseSettings)
    }
    return groups | {"dns": nobody}


@pytest.fixture
def settings(
    database_url: str, tmp_path: Path, groups: dict[str, Any], request: pytest.FixtureRequest
) -> Settings:
    """Defaults, in a folder of the test's own; nothing is read from the developer's environment."""
    redis_url = None
    if SIZE == "distributed":
        redis: Redis = request.getfixturevalue("redis")
        redis.flush()  # Calls without a key are limited by address, which all tests share.
        redis_url = redis.url
    return Settings(
        data_dir=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        secret_key=SecretStr(SECRET_KEY),
        public_url="http://news.test",
        **groups,
    )


class Rings(list[Ring]):
    """A bell that only remembers; tests run the jobs themselves (`workers.testing`)."""

    def __call__(self, rings: Sequence[Ring]) -> None:
        self.extend(rings)


@pytest.fixture
def rings() -> Rings:
    return Rings()


@pytest.fixture
async def runtime(settings: Settings, rings: Rings) -> AsyncIterator[Runtime]:
    made = Runtime(settings, rings)
    yield made
    await made.aclose()


@pytest.fixture
def db(runtime: Runtime) -> Database:
    return runtime.db


@pytest.fixture
async def name_server() -> AsyncIterator[NameServer]:
    """A name server of the test's own; who has it asked overrides ``settings`` with its ``settings``."""
    server = NameServer()
    await server.start()
    yield server
    await server.stop()


MakeProject = Callable[..., Awaitable[Project]]


@pytest.fixture
def make_project(runtime: Runtime) -> MakeProject:
    """``await make_project(is_test=False, plan="starter")``: an account with one project."""

    async def make(*, is_test: bool = True, plan: str = "enterprise", name: str = "Acme") -> Project:
        async with runtime.db.unit_of_work() as session:
            made = await accounts.create_account(
                session,
                runtime.plans,
                name=name,
                email="news@acme.example.com",
                plan=plan,
                postal_address="Acme Ltd, 1 Main Street, Springfield",
                is_test=is_test,
            )
        return made.project

    return make


@pytest.fixture
async def project(make_project: MakeProject) -> Project:
    """A test project on the widest plan."""
    return await make_project()


_ROUTES: dict[str, Litestar] = {}
_MOST_ROUTES = 4


def app_on(runtime: Runtime) -> ASGIApp:
    """An application on this runtime, with routes that it shares with others of the same settings."""
    settings = runtime.settings
    key = repr((settings.limits, settings.public_url, runtime.plans))
    if key not in _ROUTES:
        while len(_ROUTES) >= _MOST_ROUTES:
            del _ROUTES[next(iter(_ROUTES))]
        _ROUTES[key] = make_routes(settings.limits, settings.public_url, runtime.plans)
    _ROUTES[key] = _ROUTES.pop(key)  # To the end: the one that was not used for longest goes first.
    return create_app(runtime, _ROUTES[key])


MakeClient = Callable[..., Awaitable[Client]]


@pytest.fixture
async def make_client(runtime: Runtime) -> AsyncIterator[MakeClient]:
    """``await make_client(project, scopes=("lists:read",))``: an HTTP client with a key of it."""
    app = app_on(runtime)
    made: list[Client] = []

    async def make(
        project: Project,
        *,
        scopes: tuple[str, ...] = ("*",),
        list_ids: tuple[UUID, ...] = (),
        from_domains: tuple[str, ...] = (),
    ) -> Client:
        async with runtime.db.unit_of_work() as session:
            key = await keys.create(
                session,
                runtime.vault,
                project,
                name="tests",
                scopes=scopes,
                list_ids=list_ids,
                from_domains=from_domains,
            )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
        client = Client(
            transport=transport,
            base_url="http://news.test/api/v1",
            headers={"Authorization": f"Bearer {key.secret}"},
        )
        client.secret = key.secret
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
async def client(make_client: MakeClient, project: Project) -> Client:
    """A client of the test project with a key for everything."""
    return await make_client(project)
