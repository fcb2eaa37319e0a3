"""What every answer carries, and how a call ends when the server does."""

import asyncio
from typing import Any, cast

import pytest
from litestar.types import Receive, Scope, Send

from newsletter.api.context import RequestContext
from newsletter.api.metrics import Metrics
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import app_on


async def test_a_harmless_request_id_of_the_caller_is_kept(client: Client) -> None:
    response = await client.request("GET", "/project", headers={"X-Request-Id": "order-12345"})
    assert response.headers["X-Request-Id"] == "order-12345"
    other = await client.request("GET", "/project", headers={"X-Request-Id": "a b\tc"})
    assert other.headers["X-Request-Id"].startswith("req_")


async def test_a_call_that_outlives_the_server_gets_a_coded_503(runtime: Runtime) -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = cast(Scope, {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""})
    call = asyncio.create_task(
        RequestContext(hang, Metrics(runtime.meters), runtime.calls)(scope, cast(Receive, None), send)
    )
    await asyncio.sleep(0.01)
    call.cancel()
    await call
    assert sent[0]["status"] == 503
    assert b'"unavailable"' in sent[1]["body"]


@pytest.mark.parametrize("more", [[], [(b"idempotency-key", b"one")]])
async def test_a_caller_who_leaves_in_the_middle_of_a_body_is_no_error_of_ours(
    client: Client, runtime: Runtime, more: list[tuple[bytes, bytes]]
) -> None:
    parts: list[Any] = [
        {"type": "http.request", "body": b'{"name', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return parts.pop(0) if len(parts) > 1 else parts[0]

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", client.secret.encode()), (b"content-length", b"100"), *more]
    path = "/api/v1/lists"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    await app_on(runtime)(
        cast(Scope, scope | {"query_string": b"", "client": ("127.0.0.1", 1), "server": ("test", 80)}),
        receive,
        send,
    )
    assert sent[0]["status"] == 400
    assert await client.data("GET", "/lists") == []
