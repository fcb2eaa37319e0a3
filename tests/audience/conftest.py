"""A list to put people on, and ways to look behind the API."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from newsletter.accounts.project import Project
from newsletter.events.models import Event
from newsletter.kit.db import Database
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.runtime import Runtime
from newsletter.suppressions.models import Suppression
from tests.audience.ways import Audience, audience
from tests.client import Client
from tests.conftest import MakeProject

MakeList = Callable[..., Awaitable[str]]
MakeAudience = Callable[..., Awaitable[Audience]]
Events = Callable[[], Awaitable[list[tuple[str, str]]]]


@pytest.fixture
def make_list(client: Client) -> MakeList:
    """``await make_list("News")``: the id of a new list."""

    async def make(name: str = "Newsletter") -> str:
        return str((await client.data("POST", "/lists", 201, json={"name": name}))["id"])

    return make


@pytest.fixture
async def list_id(make_list: MakeList) -> str:
    return await make_list()


@pytest.fixture
def events(db: Database, project: Project) -> Events:
    """The project's events so far: type and address."""

    async def read() -> list[tuple[str, str]]:
        async with db.read() as session:
            statement = select(Event).where(Event.project_id == project.id).order_by(Event.id)
            return [(row.type, row.data["subscriber"]["email"]) for row in await session.scalars(statement)]

    return read


@pytest.fixture
def counted(db: Database, project: Project) -> Callable[[], Awaitable[int]]:
    """How many subscribers the plan's counter holds."""

    async def read() -> int:
        async with db.read() as session:
            usage = await plans.usage(session, project.quota_owner_id, Resource.subscribers, None)
            assert usage.reserved == 0
            return usage.used

    return read


@pytest.fixture
def suppressed(db: Database, project: Project) -> Callable[[], Awaitable[set[tuple[str, str, str]]]]:
    """The project's suppressions: level, address key, reason."""

    async def read() -> set[tuple[str, str, str]]:
        async with db.read() as session:
            statement = select(Suppression).where(Suppression.project_id == project.id)
            return {
                (row.scope.partition(":")[0], row.address_key, row.reason.value)
                for row in await session.scalars(statement)
            }

    return read


@pytest.fixture
def postgresql_alone(runtime: Runtime) -> None:
    if runtime.db.is_sqlite:
        pytest.skip("SQLite has the one way")


@pytest.fixture
def make_audience(runtime: Runtime, make_project: MakeProject) -> MakeAudience:
    async def make(limit: int | None = None) -> Audience:
        return await audience(runtime, await make_project(), limit)

    return make
