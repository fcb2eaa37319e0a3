"""An HTTP server on a raw socket that does with each request exactly what a test tells it to.

It reads whole requests, notes them, and asks a function what to do: a `Reply`, or one of the
faults below. Real servers behave; this one need not.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, urlsplit


class Fault(Enum):
    CUT = "ends the connection without an answer"
    CUT_EARLY = "ends the connection as soon as the head of a request is there"
    HANG = "never answers"
    HALF = "answers 200 and ends the connection in the middle of the body"
    ENDLESS = "answers 200 with a body that has no end"


@dataclass(frozen=True)
class Reply:
    status: int
    body: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw(self) -> bytes:
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} whatever\r\n{head}\r\n".encode() + content


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    """Lower-cased names."""
    body: bytes

    def json(self) -> dict[str, object]:
        assert self.headers["content-type"] == "application/json"
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


Answerer = Callable[[Request], Reply | Fault]


@dataclass
class HTTPServer:
    answer: Answerer
    is_early: Callable[[], bool]
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    """At the same time."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await self._read(reader)) is not None:
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                try:
                    self.requests.append(request)
                    if not await self._act(self.answer(request), reader, writer):
                        break
                finally:
                    self.open -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        line = await reader.readline()
        if not line:
            return None
        method, target, _ = line.decode("ascii").split(" ")
        headers: dict[str, str] = {}
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in headers, f"{name} came twice"
            headers[name.lower()] = value.strip()
        if self.is_early():
            raise ConnectionAbortedError
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        return Request(method, parts.path, parse_qsl(parts.query), headers, body)

    async def _act(
        self, what: Reply | Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection goes on."""
        if isinstance(what, Reply):
            writer.write(what.raw())
            await writer.drain()
            return what.headers.get("Connection") != "close"
        if what is Fault.HANG:
            await reader.read()
        elif what is Fault.HALF:
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"id": "half')
            await writer.drain()
        elif what is Fault.ENDLESS:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()
        return False


@asynccontextmanager
async def http_server(answer: Answerer | Reply | Fault) -> AsyncIterator[HTTPServer]:
    """An `HTTPServer` on a free loopback port, gone with its connections at the end."""
    answerer = answer if callable(answer) else lambda _: answer
    server = HTTPServer(answerer, lambda: answer is Fault.CUT_EARLY)
    running: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        running.add(asyncio.create_task(server.serve(reader, writer)))

    bound = socket.create_server(("127.0.0.1", 0))
    if answer is Fault.CUT_EARLY:
        # So that the kernel cannot take a whole request on the server's behalf.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener = await asyncio.start_server(accept, sock=bound, limit=2**14)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in running:
            task.cancel()
        ended = await asyncio.gather(*running, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)
        await listener.wait_closed()
        # An assertion about a request fails in the server's task; the test must hear of it.
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome
