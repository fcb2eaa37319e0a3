"""A shorter way through the framework for the few calls that come a thousand times a second.

Reading a call's parts, handing them over and writing its answer took the framework more than half of the time
of a `POST /subscribers` behind its key, its limit and its route, all of which stay as they are. A short
way is given the whole body and returns the answer; what it does not take (None) goes the long way,
where every refusal is worded. Whoever adds one adds a test that both ways answer alike.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from newsletter.accounts.project import Principal
from newsletter.api.errors import AnyRequest, answer_to
from newsletter.api.once import SCOPE_KEY

ShortWay = Callable[[Principal, bytes], Awaitable[tuple[int, bytes] | None]]
"""Gives status and body of a JSON answer, or None. Its errors are those of a handler."""

MOST_BYTES: Final = 16_384
"""Of a body that is looked at here; a larger one is read the long way, which guards its size."""


class ShortWays:
    """Inside the gate and `Idempotency`; a call with an ``Idempotency-Key`` goes the long way."""

    def __init__(self, ways: Mapping[str, ShortWay]) -> None:
        """``ways`` by the operation's id."""
        self._ways = ways

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        handler = scope["route_handler"]
        way = self._ways.get(str(handler.operation_id)) if isinstance(handler, HTTPRouteHandler) else None
        if way is None or SCOPE_KEY in scope or not _is_small(scope):
            await next_app(scope, receive, send)
            return
        came = await _all_of(receive)
        answer: tuple[int, bytes] | None = None
        body = b"".join(part["body"] for part in came if part["type"] == "http.request")
        if came[-1]["type"] == "http.request" and len(body) <= MOST_BYTES:
            try:
                answer = await way(scope["user"], body)
            except Exception as error:
                request: AnyRequest = Request(scope, receive, send)
                said = answer_to(request, error)
                await said.to_asgi_response(app=None, request=request)(scope, receive, send)
                return
        if answer is None:
            await next_app(scope, _again(came, receive), send)
            return
        status, body = answer
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_small(scope: Scope) -> bool:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return length.isdigit() and int(length) <= MOST_BYTES


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
