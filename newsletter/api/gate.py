"""The way into ``/api/v1``: key → principal → rate limit → scope → names in the query, for every route alike.

Each route names its scope and its class of calls in ``opt``; a route that names no scope
is refused when the application starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs

import structlog
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from newsletter.accounts.keys import OF_THE_PROJECT, KeyRing
from newsletter.accounts.project import Principal
from newsletter.api import query
from newsletter.api.errors import send_error
from newsletter.kit import ids
from newsletter.kit.callers import Callers
from newsletter.kit.errors import Forbidden, NewsletterError, RateLimited, Unauthenticated, UnsupportedMedia
from newsletter.kit.ratelimit import Limiter, Verdict
from newsletter.plans.catalogue import ANONYMOUS_PLAN, CallClass, Catalogue

CALLER = "newsletter_caller"
"""Where a call with a good key has its `Principal`, refused or not."""
_COUNTED = "newsletter_counted"
_ADMITTED = "newsletter_admitted"
_JSON = "application/json"
_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
"""What comes with another method is not read."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What the gate found out of a call."""

    principal: Principal | None
    """There is one where there is no refusal."""
    headers: Sequence[tuple[bytes, bytes]]
    """Say how many calls are left."""
    refusal: NewsletterError | None

    def goes_with(self, scope: Scope) -> None:
        """Has the gate among the routes take it for what it found out itself."""
        scope[_ADMITTED] = self  # type: ignore[literal-required]


class Gate:
    def __init__(self, keys: KeyRing, plans: Catalogue, limiter: Limiter, callers: Callers) -> None:
        self._keys, self._plans, self._limiter, self._callers = keys, plans, limiter, callers

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        handler = scope["route_handler"]
        scope[_COUNTED] = True  # type: ignore[literal-required]
        if scope.get("method") == "OPTIONS":
            await next_app(scope, receive, send)
            return
        admitted: Admitted | None = scope.get(_ADMITTED)  # type: ignore[assignment]
        if admitted is None:
            admitted = await self.admit(scope, handler, await self.authenticate(scope))
        send_limited = _limited(send, admitted.headers)
        if admitted.refusal is not None:
            await send_error(scope, receive, send_limited, admitted.refusal)
            return
        scope["user"] = admitted.principal
        await next_app(scope, receive, send_limited)

    async def admit(self, scope: Scope, handler: BaseRouteHandler, principal: Principal | None) -> Admitted:
        """Counts the call and says whether it may go on; what is logged from then on names who calls."""
        kind = cast(CallClass, handler.opt.get("calls", CallClass.default))
        if principal is not None:
            scope[CALLER] = principal  # type: ignore[literal-required]
        verdict = await self._count(scope, kind, principal)
        refusal = self._refusal(scope, handler, principal, verdict)
        if principal is not None and refusal is None:
            structlog.contextvars.bind_contextvars(
                project_id=str(principal.project.id), key_id=str(principal.key_id)
            )
        return Admitted(principal, _said(verdict), refusal)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Counts calls under ``/api/v1`` that no route takes, too: the gate stands inside the routes.

        They count by address, as no key was looked at: their answer needs no database.
        """

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            is_refused, answer = False, send

            async def send_counted(message: Message) -> None:
                nonlocal is_refused, answer
                if message["type"] == "http.response.start" and _COUNTED not in scope:
                    scope[_COUNTED] = True  # type: ignore[literal-required]
                    verdict = await self._count(scope, CallClass.default, None)
                    answer = _limited(send, _said(verdict))
                    if not verdict.is_allowed:
                        is_refused = True
                        await send_error(scope, receive, answer, RateLimited(retry_after=verdict.reset))
                if not is_refused:
                    await answer(message)

            is_ours = scope["type"] == ScopeType.HTTP and f"{scope['path']}/".startswith("/api/v1/")
            await app(scope, receive, send_counted if is_ours else send)

        return counted

    def _refusal(
        self, scope: Scope, handler: BaseRouteHandler, principal: Principal | None, verdict: Verdict
    ) -> NewsletterError | None:
        if not verdict.is_allowed:
            return RateLimited(retry_after=verdict.reset)
        if principal is None:
            return Unauthenticated()
        if any(
            name == b"x-project-id" and value.strip() != _own(principal) for name, value in scope["headers"]
        ):
            return Forbidden("This key belongs to another project than the one that X-Project-Id names.")
        media = str(handler.opt.get("accepts", _JSON))
        if scope.get("method") in _WITH_BODY and not _is_taken(scope, media):
            return UnsupportedMedia(f"Send the body as 'Content-Type: {media}'.")
        wanted = str(handler.opt["scope"])
        if not principal.has_scope(wanted):
            return Forbidden(f"This key lacks the scope '{wanted}'.")
        if wanted in OF_THE_PROJECT and (narrow := principal.refusal_of_all()) is not None:
            return narrow
        return query.refusal(scope, handler)

    async def authenticate(self, scope: Scope) -> Principal | None:
        """Who calls; None without a key that is in force."""
        secret, is_from_query = _presented_key(scope)
        if secret is None or (is_from_query and not secret.startswith("nl_test_")):
            return None
        return await self._keys.principal(secret)

    async def _count(self, scope: Scope, kind: CallClass, principal: Principal | None) -> Verdict:
        if principal is None:
            client = scope.get("client")
            caller = self._callers.of(client[0]) if client else "unknown"
            owner, plan = f"address:{caller}", self._plans[ANONYMOUS_PLAN]
        else:
            owner, plan = f"key:{principal.key_id}", principal.plan
        return await self._limiter.hit(f"{owner}:{kind.value}", plan.calls[kind])


def _said(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """The headers that say how many calls are left."""
    return [
        (b"ratelimit-limit", b"%d" % verdict.limit),
        (b"ratelimit-remaining", b"%d" % verdict.remaining),
        (b"ratelimit-reset", b"%d" % verdict.reset),
    ]


def _limited(send: Send, headers: Sequence[tuple[bytes, bytes]]) -> Send:
    async def send_limited(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_limited


def _own(principal: Principal) -> bytes:
    """The project of a key, as the header names it."""
    return ids.public("prj", principal.project.id).encode()


def _is_taken(scope: Scope, wanted: str) -> bool:
    """Whether the body, where there is one, says that it is what the route takes, uncompressed; saying
    nothing counts as that."""
    headers = {
        name: value for name, value in scope["headers"] if name.startswith((b"content-", b"transfer-"))
    }
    has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
    is_plain = headers.get(b"content-encoding", b"identity").lower() in (b"identity", b"")
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1") or wanted
    is_wanted = kind == wanted or (wanted == _JSON and kind.endswith("+json"))
    return not has_body or (is_plain and is_wanted)


def _presented_key(scope: Scope) -> tuple[str | None, bool]:
    """The key and whether it came in the query string, where only GET may carry it."""
    presented = [header for header in scope["headers"] if header[0] in (b"authorization", b"x-api-key")]
    headers = dict(presented)
    if len(headers) < len(presented):  # Who stands before us may have checked the other one.
        return None, False
    if b"authorization" in headers:
        kind, _, secret = headers[b"authorization"].decode("latin-1").partition(" ")
        return (secret.strip() or None) if kind.lower() == "bearer" else None, False
    if b"x-api-key" in headers:
        return headers[b"x-api-key"].decode("latin-1").strip() or None, False
    if scope.get("method") == "GET":
        values = parse_qs(scope["query_string"].decode("latin-1")).get(query.KEY, [])
        if len(values) == 1:
            return values[0], True
    return None, False
