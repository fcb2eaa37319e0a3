"""How many calls are left stands on every answer of the API, whatever became of the call."""

from typing import Any

import httpx
import pytest

from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject, app_on

HEADERS = {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-request-id"}


@pytest.mark.parametrize(
    ("method", "path", "status", "options"),
    [
        ("GET", "/lists", 200, {}),
        ("GET", "/nothing", 404, {}),
        ("GET", "/lists/a/b/c", 404, {}),
        ("PUT", "/lists", 405, {}),
        ("POST", "/lists", 400, {"content": b'{"name": "\xff"}'}),
        ("POST", "/lists", 413, {"content": b" " * 5_000_001}),
        ("POST", "/lists", 413, {"content": b" " * 5_000_001, "headers": {"Idempotency-Key": "one"}}),
        ("POST", "/lists", 415, {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
        ("POST", "/lists", 422, {"json": {}}),
        ("POST", "/lists", 422, {"json": {"name": "x"}, "headers": {"Idempotency-Key": ""}}),
    ],
)
async def test_every_answer_names_the_limit_and_the_request(
    client: Client, method: str, path: str, status: int, options: dict[str, Any]
) -> None:
    response = await client.request(method, path, **options)
    assert response.status_code == status, response.text
    assert HEADERS.issubset(response.headers)


async def test_paths_without_a_route_have_a_limit_too(
    make_client: MakeClient, make_project: MakeProject
) -> None:
    client = await make_client(await make_project())
    for left in reversed(range(60)):
        response = await client.request("GET", "/nothing")
        assert (response.status_code, response.headers["RateLimit-Remaining"]) == (404, str(left))
    refused = await client.request("PUT", "/lists")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
    assert (await client.request("GET", "/lists")).status_code == 200


async def test_a_wrong_method_is_told_the_right_ones(client: Client) -> None:
    response = await client.request("PUT", "/lists")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


async def test_a_bad_host_is_named(client: Client) -> None:
    error = await client.expect_error("GET", "/lists", 400, "malformed_json", headers={"Host": "a b"})
    assert "Host" in error["message"]


async def test_all_addresses_of_one_network_share_a_limit(runtime: Runtime) -> None:
    """Else whoever has a network of IPv6 has no limit at all."""

    app = app_on(runtime)

    async def left(address: str) -> int:
        transport = httpx.ASGITransport(app, client=(address, 1))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://news.test/api/v1") as anyone:
            return int((await anyone.get("/lists")).headers["RateLimit-Remaining"])

    near = [await left(f"2001:db8:1:2::{number}") for number in range(3)]
    assert near == [59, 58, 57]
    assert await left("2001:db8:1:3::1") == 59
    assert [await left("192.0.2.1"), await left("::ffff:192.0.2.1"), await left("192.0.2.2")] == [59, 58, 59]
