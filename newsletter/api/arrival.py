"""How a request's body arrives: in good time, and heard out before it is refused."""

import asyncio
from contextlib import suppress

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.types.asgi_types import ReceiveMessage

HEARD_BODIES = 4
"""A refused body is read, and dropped, up to so many times the largest one that is taken."""


class Arrival:
    """Bounds the wait for each part of a body, and reads on before an early answer.

    A server that answers ``413`` or ``401`` and closes while the caller still writes resets the
    connection, and with it most callers lose the answer (RFC 9112 §9.6).
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app, self._heard_bytes, self._seconds = app, HEARD_BODIES * max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == ScopeType.HTTP else {}
        if b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0":
            await self._app(scope, receive, send)
            return
        is_whole = False
        # Who asks whether to send the body at all waits for our answer (RFC 9110 §10.1.1).
        is_waiting = b"expect" in headers

        async def receive_in_time() -> ReceiveMessage:
            nonlocal is_whole, is_waiting
            is_waiting = False
            if is_whole:  # What comes now is the caller leaving, for which there is no hurry.
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError:
                message = {"type": "http.disconnect"}
            is_whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def send_when_heard(message: Message) -> None:
            nonlocal is_whole
            if not is_whole and not is_waiting:
                is_whole = True
                await self._hear_out(receive)
            await send(message)

        await self._app(scope, receive_in_time, send_when_heard)

    async def _hear_out(self, receive: Receive) -> None:
        left = self._heard_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                while left > 0:
                    message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
