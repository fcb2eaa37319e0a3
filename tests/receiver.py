"""A customer's endpoint for tests: an HTTP server on the loopback that remembers each call."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Received:
    """One call as it came over the wire; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer, and after how many seconds; ``drop`` hangs up without an answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0
    drop: bool = False


class Receiver:
    """``async with Receiver() as receiver``: answers ``receiver.replies`` one by one, and then
    always ``receiver.otherwise``."""

    def __init__(self) -> None:
        self.calls: list[Received] = []
        self.called = asyncio.Event()
        self.replies: deque[Reply] = deque()
        self.otherwise = Reply()
        self.go_on = asyncio.Event()
        """While it is cleared nobody gets an answer."""
        self.go_on.set()
        self.connections = 0
        self.answered = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._answered(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The caller hung up, which is how most conversations end.
        except asyncio.CancelledError:
            pass  # The test is over.
        finally:
            self._open.discard(task)
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.calls.append(Received(method, path, headers, body))
        self.called.set()
        reply = self.replies.popleft() if self.replies else self.otherwise
        await asyncio.sleep(reply.delay)
        await self.go_on.wait()
        if reply.drop:
            return False
        fields = {**reply.headers, "Content-Length": str(len(reply.body))}
        rest = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {reply.status} Scripted\r\n{rest}\r\n".encode() + reply.body)
        await writer.drain()
        self.answered += 1
        return True
