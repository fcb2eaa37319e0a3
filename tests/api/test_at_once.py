"""A tracked link on a socket: answered without a task, and word for word as an application answers it."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from litestar.types import Receive, Scope, Send
from prometheus_client import CollectorRegistry
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from newsletter.api.metrics import Metrics
from newsletter.api.tracking import Tracking
from newsletter.delivery.links import Links, MessageRef
from newsletter.feedback.sightings import Sighting, Sightings
from newsletter.kit import ids
from newsletter.kit.tokens import Signer
from newsletter.protocol import protocol
from tests.api.test_one_piece import NothingAtOnce, Wire

LINKS = Links(Signer(["a-key-for-tests-only-0123456789abcdef"]), "http://news.test", "http://news.test")
REF = MessageRef(ids.uuid7(), 7, ids.uuid7())
CLICK = LINKS.tracked(REF, "https://shop.example.org/lamps?a=1&b=2").removeprefix("http://news.test")
PIXEL = LINKS.opened(REF).removeprefix("http://news.test")
AGENT = b"User-Agent: Mozilla/5.0\r\n"


class Caller(Wire):
    """A connection from this machine, where a proxy would be."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 80)}.get(name, default)


class Noted:
    """Keeps what would be written."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []

    def note(self, sighting: Sighting) -> None:
        self.sightings.append(sighting._replace(at=0))


class Behind:
    """An application behind the tracked links, which takes its time and says what it was asked for."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.may_answer.wait()
        body = str(scope["path"]).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        self.answered += 1


class Server:
    """One connection to the application."""

    def __init__(self, *, is_at_once: bool) -> None:
        self.noted, self.behind, self.wire = Noted(), Behind(), Caller()
        tracking = Tracking(self.behind, LINKS, cast(Sightings, self.noted), Metrics(CollectorRegistry()))
        config = Config(cast(Any, tracking), log_config=None, lifespan="off")
        config.load()
        self.state = ServerState()
        kind = protocol(5.0, 65_536, tracking if is_at_once else NothingAtOnce())
        self.talk: HttpToolsProtocol = kind(config, self.state, {})
        self.talk.connection_made(self.wire)

    def send(self, call: bytes) -> None:
        self.talk.data_received(call)

    async def heard(self) -> bytes:
        """All that was answered, once no task is left."""
        self.behind.may_answer.set()
        while self.state.tasks:
            await asyncio.wait(self.state.tasks)
            await asyncio.sleep(0)
        self.talk.connection_lost(None)
        return b"".join(self.wire.written)


def call(path: str, method: str = "GET", headers: bytes = AGENT, version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: news.test\r\n".encode() + headers + b"\r\n"


@pytest.mark.parametrize(
    "said",
    [
        call(CLICK),
        call(CLICK, "HEAD"),
        call(CLICK, "POST"),
        call(CLICK, version="1.0"),
        call(CLICK, version="1.0", headers=b"Connection: keep-alive\r\n"),
        call(CLICK + "?utm_source=x"),
        call(CLICK[:-1]),
        call(CLICK.replace("/c/", "/%63/")),
        call(CLICK, headers=b"Connection: close\r\nSec-Purpose: prefetch\r\n"),
        call(CLICK, headers=AGENT + b"X-Forwarded-For: 203.0.113.9\r\n"),
        call(CLICK, headers=b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n"),
        call(CLICK, headers=b"Content-Length: 2\r\n") + b"{}",
        call(CLICK, headers=b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
        call(PIXEL),
        call(PIXEL, "HEAD"),
        call(PIXEL[:-1]),
        call("/o/"),
        call("/o/a.gif"),
        call("/c/"),
        call("/"),
    ],
)
async def test_both_ways_say_and_note_the_same(said: bytes) -> None:
    one, other = Server(is_at_once=True), Server(is_at_once=False)
    for server in (one, other):
        server.send(said)
    assert await one.heard() == await other.heard()
    assert one.noted.sightings == other.noted.sightings
    assert one.wire.is_closed == other.wire.is_closed
    assert one.state.total_requests == other.state.total_requests


async def test_a_token_with_another_letter_leads_nowhere_and_is_not_counted() -> None:
    noted = Noted()
    tracking = Tracking(Behind(), LINKS, cast(Sightings, noted), Metrics(CollectorRegistry()))
    found = [tracking.answer("GET", path, (), None) for path in (CLICK, PIXEL)]
    assert [answer and answer.status for answer in found] == [302, 200]
    assert len(noted.sightings) == 2
    noted.sightings.clear()
    for path in (CLICK, PIXEL):
        for place in range(len("/c/"), len(path)):
            changed = path[:place] + chr(ord(path[place]) ^ 1) + path[place + 1 :]
            answer = tracking.answer("GET", changed, (), None)
            assert answer is None if path is CLICK else answer and answer.status == 200, changed
    assert noted.sightings == []


async def test_a_click_is_answered_before_anything_else_runs() -> None:
    server = Server(is_at_once=True)
    server.send(call(CLICK))
    assert len(server.wire.written) == 1
    assert server.wire.written[0].startswith(b"HTTP/1.1 302 ")
    assert not server.state.tasks
    await server.heard()


@pytest.mark.parametrize("paths", [["/first", CLICK], [CLICK, "/second", CLICK], [CLICK, CLICK]])
async def test_calls_that_come_together_are_answered_in_their_order(paths: Sequence[str]) -> None:
    server = Server(is_at_once=True)
    server.send(b"".join(call(path) for path in paths))
    answers = (await server.heard()).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"302" if path == CLICK else b"404" for path in paths]
    assert len(server.noted.sightings) == paths.count(CLICK)
