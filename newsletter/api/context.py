"""The outermost layer of every request: its id, its log line, and headers of every answer."""

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from urllib.parse import unquote

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from newsletter.accounts.audit.calls import Call, Calls
from newsletter.accounts.project import Principal
from newsletter.api.errors import send_error
from newsletter.api.gate import CALLER
from newsletter.api.metrics import Metrics
from newsletter.kit import ids
from newsletter.kit.errors import Unavailable

log = structlog.get_logger(__name__)
_LEVEL = logging.getLogger(__name__)
"""What ``log`` writes to, which knows whether anybody listens."""

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_UNLESS_SAID = ((b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store"))
_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")


class RequestContext:
    """Names the request (a caller's ``X-Request-Id`` is kept when it is harmless), logs and counts it, and
    has it recorded where it came with a key.

    It stands outside Litestar, so that a path without a route is named and logged as well.
    The path is logged as its route's pattern, never as written: paths hold addresses and
    tokens, query strings may hold keys.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, calls: Calls) -> None:
        self._app, self._metrics, self._calls = app, metrics, calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        scope["path"] = _routed_path(scope)
        request_id = begin(scope)
        started, status, is_started = time.perf_counter(), 500, False

        async def send_named(message: Message) -> None:
            nonlocal status, is_started
            if message["type"] == "http.response.start":
                status, is_started = message["status"], True
                message["headers"] = named(message["headers"], request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except asyncio.CancelledError:
            # The server is stopping, and this call took longer than its grace.
            if is_started:
                raise
            await send_error(scope, receive, send_named, stopping())
        finally:
            client = scope.get("client")  # ASGI lets it be missing.
            self.end(scope, status, client[0] if client else None, time.perf_counter() - started)

    def end(self, scope: Scope, status: int, ip: str | None, seconds: float) -> None:
        """Counts, records and logs a call that was answered, by the ``path_template`` of its scope."""
        method, route = str(scope.get("method")), str(scope.get("path_template") or "none")
        self._metrics.observe(method, route, status, seconds)
        caller: Principal | None = scope.get(CALLER)  # type: ignore[assignment]
        if caller is not None:
            path, request_id = scope["path_params"], str(scope["request_id"])  # type: ignore[typeddict-item]
            self._calls.note(Call(time.time(), caller, method, route, path, status, ip, request_id, seconds))
        # Asked first: to find out behind the call that nobody listens took 7 µs of each request.
        if _LEVEL.isEnabledFor(logging.INFO):
            elapsed_ms = round(seconds * 1000, 1)
            log.info("request", method=method, route=route, status=status, elapsed_ms=elapsed_ms)


def begin(scope: Scope) -> str:
    """Names the call, for its answer and for whatever is logged from now on."""
    request_id = _request_id(scope)
    scope["request_id"] = request_id  # type: ignore[typeddict-unknown-key]
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


def named(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with those that every answer has."""
    said = [*headers, (b"x-request-id", request_id.encode()), _NO_SNIFFING]
    names = {name.lower() for name, _ in said}
    return said + [header for header in _UNLESS_SAID if header[0] not in names]


def stopping() -> Unavailable:
    """What is answered to a call that takes longer than the grace of a server that stops."""
    return Unavailable("The service is stopping.", retry_after=5)


def _routed_path(scope: Scope) -> str:
    """The decoded path, in which a slash that was written ``%2F`` does not end its segment.

    An address may have one. Who reads it takes the segment from ``raw_path``.
    """
    raw = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return scope["path"]
    return "/".join(unquote(part).replace("/", "%2F") for part in raw.decode("latin-1").split("/"))


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SAFE_ID.fullmatch(value):
            return value.decode()
    return ids.fresh("req")
