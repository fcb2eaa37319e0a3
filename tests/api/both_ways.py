"""One call through the door and through the layers: what either way says, and what it leaves."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from newsletter.accounts.audit.calls import Call
from newsletter.asgi import Application
from newsletter.protocol import protocol
from tests.api.test_at_once import Caller

_OWN = re.compile(
    rb"(req|sub|msg|evt)_[0-9a-z]{26,}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
    rb"|(?<=-reset: )\d+|(?<=-after: )\d+"
)
"""What differs from call to call: ids, times, and the seconds that a clock has left."""
NAME = b"wayx"
"""Stands in a call where each way has its own name, of as many letters."""
KEY = b"KEY"


class From(Caller):
    """A connection from this address. Each way has its own: calls without a key are counted by it."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._address, 40_000) if name == "peername" else super().get_extra_info(name, default)


class Server:
    """One connection to an application."""

    def __init__(self, app: Application, name: bytes, secret: str, *, has_door: bool) -> None:
        self._name, self._secret = name, secret.encode()
        self.state, self.wire = ServerState(), From(f"from-{name.decode()}")
        proxies = ["from-qdor", "from-qful"]
        config = Config(cast(Any, app), log_config=None, lifespan="off", forwarded_allow_ips=proxies)
        config.load()
        kind = protocol(5.0, 65_536, app.tracking, app.door if has_door else None)
        self.talk: HttpToolsProtocol = kind(config, self.state, {})
        self.talk.connection_made(self.wire)

    def send(self, said: bytes) -> None:
        if said and not self.wire.is_closed:
            self.talk.data_received(said)

    def own(self, said: bytes) -> bytes:
        """A call as this way makes it."""
        return said.replace(KEY, self._secret).replace(NAME, self._name)

    async def heard(self, said: bytes, cuts: Sequence[int] = ()) -> bytes:
        """What is answered to calls that arrive cut at these places, without what is each call's own."""
        said = self.own(said)
        for begin, end in pairwise([0, *sorted(cut for cut in set(cuts) if cut < len(said)), len(said)]):
            self.send(said[begin:end])
            await asyncio.sleep(0)
        while self.state.tasks:
            await asyncio.wait(self.state.tasks)
            await asyncio.sleep(0)
        said = b"".join(self.wire.written)
        self.wire.written.clear()
        return _OWN.sub(b"?", said.replace(self._name, NAME))


@dataclass
class Ways:
    """The same project behind two applications, of which one has its door open; a key for each."""

    secrets: Sequence[str]
    apps: Sequence[Application]
    through_door: list[int | None]
    """The status of what was answered at the door; None for what went on from there."""
    recorded: list[Call]
    """What is to be written into the audit log."""

    async def agree(self, said: bytes, cuts: Sequence[int] = ()) -> bytes:
        """What both answer to a connection of its own."""
        servers = [
            Server(app, name, secret, has_door=app is self.apps[0])
            for name, app, secret in zip((b"qdor", b"qful"), self.apps, self.secrets, strict=True)
        ]
        self.recorded.clear()
        one, other = [await server.heard(said, cuts) for server in servers]
        assert one == other
        half = len(self.recorded) // 2
        records = [recorded_as(each) for each in self.recorded]
        assert records[:half] == records[half:]
        assert servers[0].wire.is_closed == servers[1].wire.is_closed
        assert servers[0].state.total_requests == servers[1].state.total_requests
        for server in servers:
            server.talk.connection_lost(None)
        return one


def recorded_as(call: Call) -> tuple[object, ...]:
    ip = call.ip and re.sub("qdor|qful", "wayx", call.ip)
    return call.principal.project, call.method, call.route, call.path, call.status, ip


def call(
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    key: bytes = b"Authorization: Bearer KEY",
    kind: bytes = b"application/json",
    headers: Sequence[bytes] = (),
    version: str = "1.1",
) -> bytes:
    lines = [f"{method} /api/v1{path} HTTP/{version}".encode(), b"Host: news.test", key, *headers]
    if body is not None:
        lines += [b"Content-Type: " + kind, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*(line for line in lines if line), b"", body or b""])


MakeWays = Callable[..., Awaitable[Ways]]
