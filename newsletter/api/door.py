"""A way past ASGI for the few calls that come a thousand times a second.

Between the socket and a `ShortWay` stand nine layers, and each hands messages on and makes a list of
headers anew. What they ask of a plain call is little: a key, a limit, a scope. Here a server has it
asked in one function (`newsletter.protocol`), with the same parts that the layers ask. Whatever is not plain,
and whatever is refused before its short way began, goes through the layers, where each refusal is worded;
what the gate found out goes with it, so that no call is counted twice. A test puts calls of each kind
through both ways and compares the bytes.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from litestar import Litestar, Request
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPScope, Message

from newsletter.api import context
from newsletter.api.context import RequestContext
from newsletter.api.errors import AnyRequest, answer_to
from newsletter.api.gate import Admitted, Gate
from newsletter.api.short import MOST_BYTES, ShortWay, ShortWays, head_of, octets_of
from newsletter.api.tracking import Answer

_PLAIN_PATH: Final = re.compile(rb"(?:/[A-Za-z0-9_.-]+)+")
"""What means itself, letter by letter, and is the path of a route as it stands."""
_PLAIN_HOST: Final = re.compile(rb"[A-Za-z0-9.:\[\]-]*")
_HEEDED_INSIDE: Final = frozenset({b"expect", b"idempotency-key", b"transfer-encoding", b"upgrade"})
"""Headers that a layer heeds which is not asked here. Those of the gate are."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A call that may come in here."""

    scope: HTTPScope
    handler: HTTPRouteHandler
    path: Mapping[str, str]
    """What the path names."""
    way: ShortWay


class Door:
    def __init__(self, routes: Litestar, described: RequestContext, gate: Gate, ways: ShortWays) -> None:
        self._router, self._described, self._gate, self._ways = routes.asgi_router, described, gate, ways

    def opens(self, scope: HTTPScope) -> Opened | None:
        """None for a call that goes through the layers. Waits for nothing."""
        if scope["query_string"] or _PLAIN_PATH.fullmatch(scope["raw_path"] or b"") is None:
            return None
        try:
            _, handler, _, path, route = self._router.handle_routing(
                path=scope["path"], method=scope["method"]
            )
        except HTTPException:
            return None
        way = self._ways.of(handler, scope["method"])
        if way is None or not _is_plain(scope):
            return None
        assert isinstance(handler, HTTPRouteHandler)
        # As the framework does, which may still come to do it.
        scope["path_template"], scope["path_params"] = route, path
        return Opened(scope, handler, path, way)

    async def answer(self, call: Opened, body: bytes, caller: str | None) -> Answer | None:
        """The answer with all its headers; the call, from the address ``caller``, is named, counted, recorded
        and logged as any other is. None for what goes through the layers after all, with its scope: nothing
        was done for it then."""
        scope, started = call.scope, time.perf_counter()
        request_id = context.begin(scope)
        try:
            answer = await self._carried_out(call, body)
        except asyncio.CancelledError:
            answer = await _error(call, context.stopping())
        if answer is None:
            return None
        self._described.end(scope, answer.status, caller, time.perf_counter() - started)
        return answer._replace(headers=context.named(answer.headers, request_id))

    async def _carried_out(self, call: Opened, body: bytes) -> Answer | None:
        admitted: Admitted | None = None
        try:
            principal = await self._gate.authenticate(call.scope)
            if principal is None:
                return None
            admitted = await self._gate.admit(call.scope, call.handler, principal)
            said = None
            if admitted.refusal is None:
                said = await self._ways.carry_out(call.way, principal, call.path, body)
            if said is None:
                admitted.goes_with(call.scope)
                return None
            status, body = said
            answer = Answer(status, head_of(body), body)
        except Exception as error:
            answer = await _error(call, error)
        limits = admitted.headers if admitted is not None else ()
        return answer._replace(headers=[*answer.headers, *limits])


def _is_plain(scope: HTTPScope) -> bool:
    """Whether no header says anything that only the layers know, and the body is small."""
    size: int | None = 0
    for name, value in scope["headers"]:
        if name in _HEEDED_INSIDE or (name == b"host" and _PLAIN_HOST.fullmatch(value) is None):
            return False
        if name == b"content-length":
            size = octets_of(value)
    return size is not None and size <= MOST_BYTES


async def _error(call: Opened, error: Exception) -> Answer:
    """What the layers would answer."""
    call.scope["route_handler"] = call.handler
    request: AnyRequest = Request(call.scope)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await answer_to(request, error).to_asgi_response(app=None, request=request)(call.scope, _nothing, send)
    start, rest = sent
    assert start["type"] == "http.response.start"
    assert rest["type"] == "http.response.body"
    return Answer(start["status"], list(start["headers"]), rest["body"])


async def _nothing() -> NoReturn:
    raise RuntimeError("The body of this call was read.")
