"""Every call with a key leaves its entry in the audit log, however it was answered."""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler

from newsletter.accounts import keys
from newsletter.accounts.project import Project
from newsletter.asgi import make_routes
from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.settings import AuditSettings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject, Rings, app_on


async def calls(client: Client, **params: Any) -> list[dict[str, Any]]:
    """The newest first, without the one that asks."""
    found: list[dict[str, Any]] = await client.data("GET", "/audit-log", params={"action": "call", **params})
    return [row for row in found if row["route"] != "/api/v1/audit-log"]


async def test_a_call_is_recorded_with_all_that_it_was(
    client: Client, project: Project, runtime: Runtime
) -> None:
    made = await client.data("POST", "/lists", 201, json={"name": "Readers"})
    answer = await client.get(f"/lists/{made['id']}")
    row, _ = await calls(client)
    assert re.fullmatch(r"aud_\w{26}", row["id"])
    assert row["request_id"] == answer.headers["X-Request-Id"]
    assert row["account_id"] == ids.public("acc", project.account_id)
    assert row["project_id"] == ids.public("prj", project.id)
    assert row["duration_ms"] >= 0
    assert (row["method"], row["route"], row["status"]) == ("GET", "/api/v1/lists/{list_id}", 200)
    assert (row["subject"], row["details"], row["ip"]) == (made["id"], {}, "127.0.0.1")
    assert row["node"] == runtime.settings.node_name
    assert row["key_id"].startswith("key_")


async def test_a_refused_call_is_recorded_too(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    project = await make_project(plan="free")
    client = await make_client(project)
    narrow = await make_client(project, scopes=("lists:read",))
    await narrow.expect_error("GET", "/campaigns", 403, "forbidden")
    await client.expect_error("GET", "/lists/lst_1", 404, "not_found")
    await client.expect_error("POST", "/lists", 422, "validation_failed", json={})
    await client.expect_error(
        "POST", "/lists", 415, "unsupported_media_type", content=b"<a/>", headers={"Content-Type": "text/xml"}
    )
    assert [row["status"] for row in await calls(client)] == [415, 422, 404, 403]


async def test_a_call_beyond_the_limit_is_recorded_too(
    make_client: MakeClient, make_project: MakeProject
) -> None:
    project = await make_project(plan="free")
    client, reader = await make_client(project), await make_client(project)
    while (await client.get("/lists")).status_code != 429:
        pass
    newest, *_ = await calls(reader)
    assert newest["status"] == 429


async def test_a_call_without_a_good_key_is_in_nobody_s_log(client: Client) -> None:
    for secret in ("nl_test_wrong", client.secret[:-1] + "x"):
        answer = await client.get("/lists", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 401
    assert await calls(client) == []


async def test_no_address_of_a_path_and_no_value_of_a_query_is_kept(client: Client) -> None:
    await client.get("/subscribers/ada@example.com")
    await client.data("GET", "/subscribers", params={"search": "grace@example.com"})
    exported = (await client.get("/audit-log.jsonl")).text
    assert "/api/v1/subscribers/{" in exported
    assert "example.com" not in exported


def routes_with_a_key(runtime: Runtime) -> list[tuple[str, str]]:
    """(method, pattern) of each."""
    settings = runtime.settings
    return [
        (method, route.path_format)
        for route in make_routes(settings.limits, settings.public_url, runtime.plans).routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler) and "scope" in handler.opt
        for method in sorted(handler.http_methods - {"OPTIONS"})
    ]


async def test_every_route_that_asks_for_a_key_leaves_an_entry(client: Client, runtime: Runtime) -> None:
    wanted = routes_with_a_key(runtime)
    assert len(wanted) > 120
    for method, pattern in wanted:
        path = re.sub(r"\{\w+\}", "x", pattern)
        await client.request(method, f"http://news.test{path}", json={} if method != "GET" else None)
    exported = (await client.get("/audit-log.jsonl")).text
    found = set(re.findall(r'"method":"(\w+)",.*?"route":"([^"]+)"', exported))
    assert {pair for pair in wanted if pair not in found} == set()


async def test_the_short_ways_are_recorded_as_the_long_ones(client: Client) -> None:
    list_id = (await client.data("POST", "/lists", 201, json={"name": "Readers"}))["id"]
    body = {"list_id": list_id, "email": "ada@example.com"}
    await client.data("POST", "/subscribers", 201, json=body)
    campaign = await client.data(
        "POST", "/campaigns", 201, json={"list_id": list_id, "subject": "S", "html": "<p>Hello</p>"}
    )
    await client.data("GET", f"/campaigns/{campaign['id']}")
    read, _, created, _ = await calls(client)
    assert (read["method"], read["route"], read["status"]) == ("GET", "/api/v1/campaigns/{campaign_id}", 200)
    assert read["subject"] == campaign["id"]
    assert (created["method"], created["route"], created["status"]) == ("POST", "/api/v1/subscribers", 201)


async def test_it_is_narrowed_by_each_of_its_fields(
    client: Client, make_client: MakeClient, project: Project, make_project: MakeProject
) -> None:
    other = await make_client(project)
    await client.get("/lists")
    await other.get("/campaigns")
    [theirs] = await calls(client, route="/api/v1/campaigns")
    for name in ("key_id", "route", "request_id"):
        assert await calls(client, **{name: theirs[name]}) == [theirs], name
    for name in ("account_id", "project_id", "method", "status", "ip", "node"):
        assert theirs in await calls(client, **{name: theirs[name]}), name
    nothing: dict[str, object] = {
        "method": "PUT",
        "status": 500,
        "ip": "192.0.2.1",
        "node": "elsewhere",
        "request_id": "none",
    }
    stranger = await make_project(name="Other")
    await (await make_client(stranger)).get("/lists")
    nothing |= {
        "project_id": ids.public("prj", stranger.id),
        "account_id": ids.public("acc", stranger.account_id),
    }
    for name, value in nothing.items():
        assert await calls(client, **{name: value}) == [], name


Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
async def serve(runtime: Runtime, project: Project) -> AsyncIterator[Serve]:
    """``await serve(client=…, **settings)``: a client at this address, with such settings."""
    async with contextlib.AsyncExitStack() as open_:

        async def served(address: str, **settings: Any) -> Client:
            other = Runtime(runtime.settings.model_copy(update=settings), Rings())
            open_.push_async_callback(other.aclose)
            async with other.db.unit_of_work() as session:
                key = await keys.create(session, other.vault, project, name="tests")
            transport = httpx.ASGITransport(app_on(other), client=(address, 1))  # type: ignore[arg-type]
            headers = {"Authorization": f"Bearer {key.secret}"}
            client = Client(transport=transport, base_url="http://news.test/api/v1", headers=headers)
            return await open_.enter_async_context(client)

        yield served


async def test_what_is_no_address_is_not_kept_as_one(serve: Serve) -> None:
    client = await serve("x" * 300)
    await client.get("/lists")
    [row] = await calls(client)
    assert row["ip"] is None


async def test_reads_are_left_out_where_the_operator_says_so(serve: Serve) -> None:
    client = await serve("192.0.2.7", audit=AuditSettings(reads=False), node_name="api-2")
    await client.get("/lists")
    await client.data("POST", "/lists", 201, json={"name": "Readers"})
    [row] = await calls(client)
    assert (row["method"], row["ip"], row["node"]) == ("POST", "192.0.2.7", "api-2")
