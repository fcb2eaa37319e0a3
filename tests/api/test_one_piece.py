"""The head of an answer leaves with the first part of its body, not before and not alone."""

import asyncio
from collections.abc import Sequence

import pytest
from litestar.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from newsletter.api.tracking import Headers
from newsletter.protocol import protocol

GET = b"GET / HTTP/1.1\r\nHost: news.example.com\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
EXPECTING = b"POST / HTTP/1.1\r\nHost: news.example.com\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written, each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        """Nothing ever holds it up."""

    def resume_reading(self) -> None:
        """As above."""


class NothingAtOnce:
    def answer(self, method: str, path: str, headers: Headers, caller: str | None) -> None:
        return None


class Answering:
    """An application that sends these parts, and says what was on the wire before each."""

    def __init__(self, wire: Wire, parts: Sequence[bytes]) -> None:
        self._wire, self._parts = wire, parts
        self.seen: list[int] = []
        self.is_done = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        length = sum(map(len, self._parts))
        headers = [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in self._parts:
            self.seen.append(len(self._wire.written))
            more = part is not self._parts[-1]
            await send({"type": "http.response.body", "body": part, "more_body": more})
        self.is_done.set()


async def _answered(call: bytes, parts: Sequence[bytes], rest: bytes = b"") -> tuple[Wire, Answering]:
    wire = Wire()
    app = Answering(wire, parts)
    config = Config(app, log_config=None, lifespan="off")
    config.load()
    talk = protocol(5.0, 65_536, NothingAtOnce())(config, ServerState(), {})
    talk.connection_made(wire)
    talk.data_received(call)
    if rest:
        await asyncio.sleep(0)
        talk.data_received(rest)
    await app.is_done.wait()
    talk.connection_lost(None)
    return wire, app


async def test_a_small_answer_is_one_write() -> None:
    wire, app = await _answered(GET, [b"hello"])
    assert len(wire.written) == 1
    assert wire.written[0].startswith(b"HTTP/1.1 200")
    assert wire.written[0].endswith(b"\r\n\r\nhello")
    assert app.seen == [0]


@pytest.mark.parametrize("parts", [[b"one", b"two", b"three"], [b"", b"two"]])
async def test_what_follows_the_first_part_leaves_at_once(parts: Sequence[bytes]) -> None:
    wire, app = await _answered(GET, parts)
    assert app.seen == list(range(len(parts)))
    assert b"".join(wire.written).partition(b"\r\n\r\n")[2] == b"".join(parts)


async def test_an_answer_without_a_body_leaves() -> None:
    wire, _ = await _answered(GET, [b""])
    assert len(wire.written) == 1


async def test_the_answer_to_head_leaves_though_nothing_follows() -> None:
    wire, _ = await _answered(HEAD, [b""])
    assert b"".join(wire.written).startswith(b"HTTP/1.1 200")
    assert wire.written[-1].endswith(b"\r\n\r\n")


async def test_leave_to_send_a_body_does_not_wait_for_the_answer() -> None:
    wire, _ = await _answered(EXPECTING, [b"hello"], rest=b"{}")
    assert wire.written[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert len(wire.written) == 2
