"""HTTP on a socket: what Uvicorn's protocol lacks, and shorter ways for what comes most often."""

import asyncio
import json
import re
from collections import deque
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, Final, Protocol, cast

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from newsletter.api.door import Door, Opened
from newsletter.api.errors import envelope
from newsletter.api.tracking import Answer, Headers
from newsletter.kit import ids
from newsletter.kit.errors import MalformedJSON, NewsletterError, UnknownCoding


class Answering(Protocol):
    """Has answers that wait for nothing, as `newsletter.api.tracking.Tracking` has."""

    def answer(self, method: str, path: str, headers: Headers, caller: str | None) -> Answer | None: ...


BODY_FOLLOWS_SECONDS: Final = 0.1
"""A small body that comes apart from its head comes right behind it. One that does not is waited for by
who bounds that wait (`newsletter.api.arrival`)."""
_TRACKED: Final = re.compile(rb"/[co]/[A-Za-z0-9_/-]*")
"""The path of a tracked link or a pixel, of letters alone that mean themselves."""


class _InOnePiece(asyncio.Transport):
    """The way out for one answer: its head waits for the first part of its body, so that both are one
    write and most often one packet. ASGI has a server wait, as a head promises nothing yet; Uvicorn
    does not. The second write was a tenth of the time of a small call, and of that of who reads it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head: bytes | None = None
        self._is_begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_begun:
            if self._head is not None:
                data, self._head = self._head + data, None
            self._transport.write(data)
        elif data[:12] == b"HTTP/1.1 100":  # Goes before the answer, and who called waits for it.
            self._transport.write(data)
        else:
            self._head, self._is_begun = bytes(data), True

    def close(self) -> None:
        if self._head is not None:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class _Answered(RequestResponseCycle):
    """Stands for a call that was answered at once: for Uvicorn it is over."""

    def __init__(self) -> None:
        self.response_complete = True
        self.message_event = asyncio.Event()


_ANSWERED: Final = _Answered()


class _InTurn(FlowControl):
    """Reads on once no call waits for its turn. Uvicorn reads on after each answer: who sent calls without
    waiting for answers had a thousand more taken in for each, and 34 MB of them became 790 of memory."""

    def __init__(self, transport: asyncio.Transport, waiting: deque[Any]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class Impatient(HttpToolsProtocol):
    """Uvicorn's protocol by itself waits for ever for the head of a request, and takes one of any size: a
    few hundred callers who write a byte a minute would keep everyone else out, and one who writes 60 MB
    kept the process busy for eight seconds. What it cannot read it answers in the form of all our errors.

    What is answered at once waits for nothing, and so has no task, no ASGI messages and no layers of an
    application: of the processor time of a click that was two thirds, 115 µs before and 60 now. It says
    the same either way (`tests/api/test_at_once.py`).
    """

    seconds: ClassVar[float]
    head_bytes: ClassVar[int]
    at_once: ClassVar[Answering]
    """Asked first, for what has the path of a tracked link or a pixel."""
    door: ClassVar[Door | None]
    """Asked before the application is."""
    _refused: NewsletterError = MalformedJSON("This is no HTTP request that can be read.")
    """What a call that is not read on is answered."""
    _due: asyncio.TimerHandle | None = None
    """Set while a head is on its way."""
    _headed = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _InTurn(transport, self.pipeline)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        due = self._due
        super().data_received(data)
        if due is not None and due is self._due:  # All of it belongs to this one head.
            self._headed += len(data)
            if self._headed > self.head_bytes and not self.transport.is_closing():
                self.send_400_response("")

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the head come trailers, which must not pass for headers (RFC 9110 §6.5.1): a proxy
        # in front may have taken those of its caller off.
        if self._due is not None:
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        self._expect_head()
        super().on_message_begin()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.door is not None and (call := self.door.opens(cast(Any, cycle.scope))) is not None:
            app = partial(self._hurry, self.door, call, cycle, app)
        super()._start_asgi_task(cycle, app)

    async def _hurry(
        self, door: Door, call: Opened, cycle: RequestResponseCycle, app: Any, *asgi: Any
    ) -> None:
        """An application for one call: answers it through the door, and what does not end there through
        the application that there is."""
        if cycle.more_body:
            with suppress(TimeoutError):
                async with asyncio.timeout(BODY_FOLLOWS_SECONDS):
                    await cycle.message_event.wait()  # Stays set for who waits next.
        answer = None
        if not cycle.more_body and not cycle.disconnected:
            answer = await door.answer(call, bytes(cycle.body), self._caller(cycle.scope["headers"]))
        if answer is None:
            await app(*asgi)
            return
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        # Uvicorn tells the call that came last alone that its connection is gone.
        cycle.disconnected = cycle.disconnected or self.transport.is_closing()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        self._write(answer, is_kept=cycle.keep_alive)
        cycle.on_response()

    def on_headers_complete(self) -> None:
        self._forget_head()
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and codings != [b"chunked"]:
            # Its body would be taken for what it is once the other coding is off (RFC 9112 §6.1).
            self._refused = UnknownCoding()
            raise self._refused  # The parser reads no further, and has Uvicorn refuse the call.
        if self._answer_at_once():
            return
        super().on_headers_complete()
        # To HEAD no body is written, and so nothing that the head could wait for.
        if self.scope["method"] != "HEAD" and getattr(self.cycle, "transport", None) is self.transport:
            self.cycle.transport = _InOnePiece(self.transport)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self.flow.resume_reading()  # The last one that waited has its turn, and may have a body.

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        request_id = ids.fresh("req")
        error = self._refused
        body = json.dumps(envelope(error, request_id)).encode()
        head = [
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"X-Request-Id: {request_id}",
            "Connection: close",
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()

    def _answer_at_once(self) -> bool:
        """False for a call that goes the ordinary way."""
        path = self.url.partition(b"?")[0]
        if _TRACKED.fullmatch(path) is None or self.parser.should_upgrade():
            return False
        is_in_turn = getattr(self.cycle, "response_complete", True)  # There is none before the first call.
        if not is_in_turn or self.flow.write_paused:
            return False
        method = self.parser.get_method().decode("ascii")
        answer = self.at_once.answer(method, path.decode("ascii"), self.headers, self._caller(self.headers))
        if answer is None:
            return False
        self.cycle = _ANSWERED
        self._write(
            answer, is_kept=self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        )
        self.on_response_complete()
        return True

    def _write(self, answer: Answer, *, is_kept: bool) -> None:
        headers = [*self.server_state.default_headers, *answer.headers]
        if not is_kept:
            headers.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", answer.body]))
        if not is_kept:
            self.transport.close()

    def _caller(self, headers: Headers) -> str | None:
        """The address of who calls, as Uvicorn tells it to an application: behind a proxy that is
        trusted, what the proxy says."""
        address = self.client[0] if self.client else None
        layer = self.app
        if isinstance(layer, ProxyHeadersMiddleware) and address in layer.trusted_hosts:
            said = [value for name, value in headers if name == b"x-forwarded-for"]
            if said:
                hops = b", ".join(said).decode("latin-1")
                return layer.trusted_hosts.get_trusted_client_address(hops)[0] or address
        return address

    def _expect_head(self) -> None:
        if self._due is None:
            self._headed = 0
            self._due = self.loop.call_later(self.seconds, self._give_up)

    def _give_up(self) -> None:
        """The time for a head is over, unless its rest waits for us to read on."""
        self._due = None
        if self.flow.read_paused:
            headed = self._headed
            self._expect_head()
            self._headed = headed
        else:
            self.transport.close()

    def _forget_head(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def protocol(
    seconds: float, head_bytes: int, at_once: Answering, door: Door | None = None
) -> type[HttpToolsProtocol]:
    """What a server speaks: a head has so many seconds, so many bytes, and what one read brings more."""
    limits = {"seconds": seconds, "head_bytes": head_bytes, "at_once": at_once, "door": door}
    return type("_Impatient", (Impatient,), limits)
