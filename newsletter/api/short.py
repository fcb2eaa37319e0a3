"""A shorter way through the framework for the few calls that come a thousand times a second.

Reading a call's parts, handing them over and writing its answer took the framework more than half of the time
of a `POST /subscribers` behind its key, its limit and its route, all of which stay as they are. A short
way is given what the path names and the whole body, and returns the answer; what it does not take (None) goes
the long way, where every refusal is worded. Whoever adds one adds a test that both ways answer alike.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from newsletter.accounts.project import Principal
from newsletter.api.errors import AnyRequest, answer_to
from newsletter.api.once import SCOPE_KEY
from newsletter.kit.crypto import Vault
from newsletter.kit.idempotency import Claim, Once

ShortWay = Callable[[Principal, Mapping[str, str], bytes, Once], Awaitable[tuple[int, bytes] | None]]
"""Is told who calls, what the path names, the body, and whether the answer is to be kept. Gives status and
body of a JSON answer, or None. Its errors are those of a handler."""

MOST_BYTES: Final = 131_072
"""Of a body that is looked at here; a larger one is read the long way, which guards its size."""
_DIGITS: Final = 20
"""Of the largest size of a body that a server counts, 2^64 - 1."""


class ShortWays:
    """Inside the gate and `Idempotency`."""

    def __init__(self, vault: Vault, ways: Mapping[str, ShortWay]) -> None:
        """``ways`` by the operation's id."""
        self._vault, self._ways = vault, ways

    def of(self, handler: object, method: object) -> ShortWay | None:
        """The short way of what this handler answers, if it has one."""
        if not isinstance(handler, HTTPRouteHandler) or method == "HEAD":
            return None
        return self._ways.get(str(handler.operation_id))

    async def carry_out(
        self,
        way: ShortWay,
        principal: Principal,
        path: Mapping[str, str],
        body: bytes,
        claim: Claim | None = None,
    ) -> tuple[int, bytes] | None:
        return await way(principal, path, body, Once(self._vault, claim))

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        way = self.of(scope["route_handler"], scope.get("method"))
        size = None if way is None else _size(scope)
        if way is None or size is None or size > MOST_BYTES:
            await next_app(scope, receive, send)
            return
        claim: Claim | None = scope.get(SCOPE_KEY)  # type: ignore[assignment]
        came: list[HTTPReceiveMessage] = []
        answer: tuple[int, bytes] | None = None
        try:
            if claim is not None:  # Its body was read for the key, and is kept for who asks again.
                body = await Request(scope, receive, send).body()
            else:
                came = await _all_of(receive) if size else []
                body = b"".join(part["body"] for part in came if part["type"] == "http.request")
            is_whole = not came or came[-1]["type"] == "http.request"
            if is_whole and len(body) <= MOST_BYTES:
                path = cast(Mapping[str, str], scope["path_params"])
                answer = await self.carry_out(way, scope["user"], path, body, claim)
        except Exception as error:
            request: AnyRequest = Request(scope, receive, send)
            said = answer_to(request, error)
            await said.to_asgi_response(app=None, request=request)(scope, receive, send)
            return
        if answer is None:
            await next_app(scope, _again(came, receive) if came else receive, send)
            return
        status, body = answer
        await send({"type": "http.response.start", "status": status, "headers": head_of(body)})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def head_of(body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of its own that the answer with this body has."""
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]


def _size(scope: Scope) -> int | None:
    """Bytes of the body; None where the call does not say."""
    lengths = [value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    if not lengths:
        return 0 if scope.get("method") == "GET" else None
    return octets_of(lengths[0]) if len(lengths) == 1 else None


def octets_of(length: bytes) -> int | None:
    """What a ``Content-Length`` says; None for what is no number, and for one with a row of zeros before it,
    which may be longer than what Python reads as a number."""
    return int(length) if length.isdigit() and len(length) <= _DIGITS else None


async def _all_of(receive: Receive) -> list[HTTPReceiveMessage]:
    """What comes until the body ends, or its sender goes."""
    came = [cast(HTTPReceiveMessage, await receive())]
    while came[-1]["type"] == "http.request" and came[-1]["more_body"]:
        came.append(cast(HTTPReceiveMessage, await receive()))
    return came


def _again(came: list[HTTPReceiveMessage], receive: Receive) -> Receive:
    """Receives what came once more, and then what comes."""
    waiting = came[::-1]

    async def received() -> HTTPReceiveMessage:
        return waiting.pop() if waiting else cast(HTTPReceiveMessage, await receive())

    return received
