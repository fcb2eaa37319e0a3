"""``/c/{recipient}/{link}`` and ``/o/{recipient}``: tracked links and the open pixel.

They stand in front of the framework, which has more to do for a call than these have: there is
nothing to look up, the tokens say it all. Whatever is no link of ours goes on to the framework
and is answered with its page; a pixel is answered with a picture whatever it is, because mails
show what they get in its place.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from newsletter.api.metrics import Metrics
from newsletter.delivery.links import Links
from newsletter.feedback.sightings import Sighting, Sightings
from newsletter.kit.tokens import BadToken

PIXEL: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
"""A transparent GIF of one pixel."""

_HEADERS: Final = [
    # A copy in a cache on the way would be an open or a click that nobody tells us of.
    (b"cache-control", b"no-store, private"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex, nofollow"),
]
_REDIRECT_HEADERS: Final = [(b"content-length", b"0"), *_HEADERS]
_PIXEL_HEADERS: Final = [
    (b"content-type", b"image/gif"),
    (b"content-length", str(len(PIXEL)).encode()),
    *_HEADERS,
]
_METHODS: Final = ("GET", "HEAD")
_PURPOSES: Final = frozenset({b"purpose", b"sec-purpose", b"x-purpose", b"x-moz"})

Headers = Iterable[tuple[bytes, bytes]]


class Answer(NamedTuple):
    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    """Empty where the method is HEAD."""


class Tracking:
    """Answers tracked links and pixels, and passes on everything else."""

    def __init__(self, app: ASGIApp, links: Links, sightings: Sightings, metrics: Metrics) -> None:
        self._app, self._links, self._sightings, self._metrics = app, links, sightings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            client = scope.get("client")
            caller = client[0] if client else None
            answer = self.answer(str(scope.get("method")), scope["path"], scope["headers"], caller)
            if answer is not None:
                status, headers, body = answer
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body, "more_body": False})
                return
        await self._app(scope, receive, send)

    def answer(self, method: str, path: str, headers: Headers, caller: str | None) -> Answer | None:
        """The answer to a tracked link or a pixel, which is noted; None for anything else. It waits for
        nothing, so a server may ask it before it begins a task (`newsletter.protocol`)."""
        if method not in _METHODS:
            return None
        if path.startswith("/c/"):
            return self._follow(method, path, headers, caller)
        if path.startswith("/o/"):
            return self._open(method, path, headers, caller)
        return None

    def _follow(self, method: str, path: str, headers: Headers, caller: str | None) -> Answer | None:
        """Redirects; None for what is no link of ours."""
        started = time.perf_counter()
        recipient, _, link = path[3:].partition("/")
        try:
            click = self._links.read_click(recipient, link)
        except BadToken:
            return None
        self._sightings.note(_sighting(method, headers, caller, click.packed, click.url))
        location = (b"location", click.url.encode("ascii"))
        self._metrics.observe(method, "/c/{recipient}/{link}", 302, time.perf_counter() - started)
        return Answer(302, [location, *_REDIRECT_HEADERS], b"")

    def _open(self, method: str, path: str, headers: Headers, caller: str | None) -> Answer:
        started = time.perf_counter()
        try:
            packed = self._links.read_opened(path[3:])
        except BadToken:
            pass  # Cut or made up: a picture all the same, and nothing to note.
        else:
            self._sightings.note(_sighting(method, headers, caller, packed, None))
        self._metrics.observe(method, "/o/{recipient}", 200, time.perf_counter() - started)
        return Answer(200, _PIXEL_HEADERS, PIXEL if method == "GET" else b"")


def _sighting(method: str, headers: Headers, caller: str | None, packed: bytes, url: str | None) -> Sighting:
    agent = purpose = None
    for name, value in headers:
        if name == b"user-agent":
            agent = value
        elif name in _PURPOSES:
            purpose = value
    return Sighting(time.time(), packed, method, url, caller, agent, purpose)
