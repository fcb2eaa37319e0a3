"""The ``Idempotency-Key`` header of every POST; what it means is in `newsletter.kit.idempotency`."""

from collections.abc import Sequence

from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.di import NamedDependency
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from newsletter.accounts.project import Principal
from newsletter.api.errors import AnyRequest, send_error
from newsletter.kit import idempotency
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.errors import NewsletterError, TooLarge, ValidationFailed
from newsletter.kit.idempotency import Call, Claim, Claims, Once, Stored

SCOPE_KEY = "newsletter_once"
"""Where a call with a key has its `Claim`."""


class Idempotency:
    """Inside the gate: the key belongs to the project of the caller."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db, self._claims = db, Claims(db, vault)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        keys = [value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"]
        if scope.get("method") != "POST" or not keys:
            await next_app(scope, receive, send)
            return
        try:
            claim = await self._begin(Request(scope, receive, send), keys)
        except NewsletterError as error:
            await send_error(scope, receive, send, error)
            return
        if isinstance(claim, Stored):
            # Its call may still wait for the disk itself.
            await self._db.on_disk()
            await _replay(claim, send)
            return
        await self._carry_out(claim, scope, receive, send, next_app)

    async def _begin(self, request: AnyRequest, keys: Sequence[str]) -> Claim | Stored:
        if len(keys) > 1:  # Whichever was taken, who meant the other one would have two effects of one call.
            raise ValidationFailed.of("Idempotency-Key", "must be sent once")
        [key] = keys
        if not 1 <= len(key) <= idempotency.MAX_KEY_LENGTH or not key.isprintable():
            raise ValidationFailed.of(
                "Idempotency-Key", f"must be 1 to {idempotency.MAX_KEY_LENGTH} printable characters"
            )
        principal: Principal = request.scope["user"]
        path = request.scope["path"] + "?" + request.scope["query_string"].decode("latin-1")
        try:
            body = await request.body()
        except RequestEntityTooLarge:
            raise TooLarge() from None
        print_ = idempotency.fingerprint(request.method, path, body, principal.bounds)
        return await self._claims.begin(Call(principal.project.id, key, print_))

    async def _carry_out(
        self, claim: Claim, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp
    ) -> None:
        """Runs the call; whatever ends it without an answer in the books frees the key."""
        scope[SCOPE_KEY] = claim  # type: ignore[literal-required]
        is_kept = False

        async def send_watched(message: Message) -> None:
            nonlocal is_kept
            if message["type"] == "http.response.start":
                is_kept = message["status"] < 400
            await send(message)

        try:
            await next_app(scope, receive, send_watched)
        finally:
            if not is_kept:
                await idempotency.free(self._db, claim)


async def provide_once(request: AnyRequest, vault: NamedDependency[Vault]) -> Once:
    """The handler's part: it keeps the answer in the transaction of its effect."""
    claim: Claim | None = request.scope.get(SCOPE_KEY)  # type: ignore[assignment]
    return Once(vault, claim)


async def _replay(stored: Stored, send: Send) -> None:
    start: Message = {"type": "http.response.start", "status": stored.status, "headers": []}
    headers = MutableScopeHeaders.from_message(start)
    headers["Content-Type"] = "application/json"
    headers["Content-Length"] = str(len(stored.body))
    headers["Idempotent-Replayed"] = "true"
    await send(start)
    await send({"type": "http.response.body", "body": stored.body, "more_body": False})
