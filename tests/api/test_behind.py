"""Many runtimes on the same routes: each call is answered by the one that it came to."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import pytest
from litestar import Litestar, get
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp, Receive, Scope, Send
from pydantic import SecretStr

from newsletter.accounts import keys
from newsletter.api.behind import Behind, layer, part
from newsletter.asgi import create_app, make_routes
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeProject, Rings, run_migrations


@dataclass
class Slow:
    """Lets a call through when it is told to, and says who came."""

    name: str
    has_come: asyncio.Event = field(default_factory=asyncio.Event)
    may_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        scope["seen_by"] = self.name  # type: ignore[typeddict-unknown-key]
        self.has_come.set()
        await self.may_go.wait()
        await next_app(scope, receive, send)


@get("/")
async def tell(scope: Scope, name: NamedDependency[str]) -> Mapping[str, str]:
    return {"layer": scope["seen_by"], "part": name}  # type: ignore[typeddict-item]


async def test_calls_that_overlap_are_each_answered_by_their_own_runtime() -> None:
    routes = Litestar(
        [tell],
        middleware=[layer(Slow)],
        dependencies={"name": Provide(part("name"), sync_to_thread=False)},
        openapi_config=None,
        logging_config=None,
    )
    slow = {name: Slow(name) for name in ("one", "other")}
    clients = {
        name: httpx.AsyncClient(
            transport=httpx.ASGITransport(Behind(routes, {"name": name}, {Slow: each})),  # type: ignore[arg-type]
            base_url="http://news.test",
        )
        for name, each in slow.items()
    }
    calls = {}
    for name, client in clients.items():
        calls[name] = asyncio.create_task(client.get("/"))
        await slow[name].has_come.wait()
    for name in ("one", "other"):  # The first to come goes on when the other is in the middle of it.
        slow[name].may_go.set()
        assert (await calls[name]).json() == {"layer": name, "part": name}
    with pytest.raises(LookupError):
        part("name")()
    for client in clients.values():
        await client.aclose()


async def test_runtimes_that_share_their_routes_share_nothing_else(
    runtime: Runtime, make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("other")
    url = f"sqlite+aiosqlite:///{folder / 'other.db'}"
    await asyncio.to_thread(run_migrations, url)
    other = Runtime(
        runtime.settings.model_copy(
            update={
                "database_url": url,
                "data_dir": folder,
                "secret_key": SecretStr("another-secret-key-for-tests-0123456789abcdef"),
            }
        ),
        Rings(),
    )
    routes = make_routes(runtime.settings.limits, runtime.settings.public_url, runtime.plans)
    project = await make_project()
    async with runtime.db.unit_of_work() as session:
        key = await keys.create(session, runtime.vault, project, name="tests", scopes=("*",))
    headers = {"Authorization": f"Bearer {key.secret}"}

    def client_of(of: Runtime) -> Client:
        transport = httpx.ASGITransport(create_app(of, routes))  # type: ignore[arg-type]
        return Client(transport=transport, base_url="http://news.test/api/v1", headers=headers)

    async with client_of(runtime) as ours, client_of(other) as theirs:
        for name in ("Readers", "More readers"):
            await ours.data("POST", "/lists", 201, json={"name": name}, headers={"Idempotency-Key": name})
            await theirs.expect_error("GET", "/lists", 401, "unauthenticated")
        assert len(await ours.data("GET", "/lists")) == 2
        counted = 'route="/api/v1/lists",status="201"} 2.0'
        assert counted in (await ours.get("http://news.test/metrics")).text
        assert 'status="201"' not in (await theirs.get("http://news.test/metrics")).text
    await other.aclose()
