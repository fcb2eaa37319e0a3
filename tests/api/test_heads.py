"""The head of a request has an end, and nothing that comes behind it belongs to it."""

import asyncio
import json
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from newsletter.protocol import protocol
from tests.api.test_one_piece import NothingAtOnce, Wire

LIMIT = 10_000


class Noting:
    """Keeps the headers that each call had when its body was whole."""

    def __init__(self) -> None:
        self.heard: list[dict[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        self.heard.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _heard(*reads: bytes) -> tuple[Wire, Noting]:
    """What was answered, and what the application saw, when these reads came one after the other."""
    wire, app = Wire(), Noting()
    config = Config(app, log_config=None, lifespan="off")
    config.load()
    talk = protocol(5.0, LIMIT, NothingAtOnce())(config, ServerState(), {})
    talk.connection_made(wire)
    for read in reads:
        if not wire.is_closed:
            talk.data_received(read)
            for _ in range(10):
                await asyncio.sleep(0)
    talk.connection_lost(None)
    return wire, app


async def test_a_head_without_end_is_refused() -> None:
    begun = b"GET / HTTP/1.1\r\nHost: news.test\r\nX-Long: "
    wire, app = await _heard(begun, *[b"a" * 1_000] * 20)
    head, _, body = b"".join(wire.written).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "malformed_json"
    assert wire.is_closed
    assert app.heard == []


async def test_many_calls_on_one_connection_are_not_one_head() -> None:
    call = b"GET / HTTP/1.1\r\nHost: news.test\r\nX-Pad: " + b"a" * 600 + b"\r\n\r\n"
    sent = call * 40
    _, app = await _heard(*[sent[at : at + 1_000] for at in range(0, len(sent), 1_000)])
    assert len(app.heard) == 40


GET = b"GET / HTTP/1.1\r\nHost: news.test\r\n\r\n"


class Taken(Wire):
    """Knows how many calls waited for their turn each time that it was read on."""

    talk: HttpToolsProtocol

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[int] = []

    def resume_reading(self) -> None:
        self.waiting.append(len(self.talk.pipeline))


def _spoken(app: Any, seconds: float) -> Taken:
    wire = Taken()
    config = Config(app, log_config=None, lifespan="off")
    config.load()
    wire.talk = protocol(seconds, LIMIT, NothingAtOnce())(config, ServerState(), {})
    wire.talk.connection_made(wire)
    return wire


async def test_who_waits_for_no_answer_is_read_on_when_no_call_waits_for_its_turn() -> None:
    app = Noting()
    wire = _spoken(app, 5.0)
    wire.talk.data_received(GET * 20 + b"POST / HTTP/1.1\r\nHost: news.test\r\nContent-Length: 2\r\n\r\n")
    while not wire.waiting:
        await asyncio.sleep(0)
    wire.talk.data_received(b"{}")
    while len(app.heard) < 21:
        await asyncio.sleep(0)
    assert set(wire.waiting) == {0}
    wire.talk.connection_lost(None)


async def test_a_head_is_late_when_it_could_be_read_and_does_not_come() -> None:
    may_answer = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    wire = _spoken(slow, 0.01)
    wire.talk.data_received(GET * 3 + GET[:9])
    await asyncio.sleep(0.05)
    assert not wire.is_closing()
    may_answer.set()
    while not wire.is_closing():
        await asyncio.sleep(0.001)
    assert b"".join(wire.written).count(b"HTTP/1.1 204 ") == 3
    wire.talk.connection_lost(None)


async def test_a_long_body_before_the_next_head_is_no_part_of_it() -> None:
    post = b"POST / HTTP/1.1\r\nHost: news.test\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
    _, app = await _heard(post + b"GET / HTTP/1.1\r\n", b"Host: news.test\r\n\r\n")
    assert len(app.heard) == 2


async def test_a_trailer_is_no_header() -> None:
    post = b"POST / HTTP/1.1\r\nHost: news.test\r\nX-Api-Key: mine\r\nTransfer-Encoding: chunked\r\n\r\n"
    _, app = await _heard(post, b"2\r\n{}\r\n0\r\nX-Api-Key: other\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
    (headers,) = app.heard
    assert headers[b"x-api-key"] == b"mine"
    assert b"x-forwarded-for" not in headers


@pytest.mark.parametrize(
    "coding", ["gzip, chunked", "gzip\r\nTransfer-Encoding: chunked", "identity, chunked"]
)
async def test_a_body_in_a_coding_that_is_not_known_is_refused_and_read_no_further(coding: str) -> None:
    post = f"POST / HTTP/1.1\r\nHost: news.test\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    wire, app = await _heard(post.encode(), b"GET / HTTP/1.1\r\nHost: news.test\r\n\r\n")
    head, _, body = b"".join(wire.written).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
    assert json.loads(body)["error"]["code"] == "unknown_transfer_coding"
    assert wire.is_closed
    assert app.heard == []


async def test_chunks_are_known_however_they_are_spelled() -> None:
    post = b"POST / HTTP/1.1\r\nHost: news.test\r\nTransfer-Encoding:\tChunked \r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    wire, app = await _heard(post)
    assert b"".join(wire.written).startswith(b"HTTP/1.1 204 ")
    assert len(app.heard) == 1
