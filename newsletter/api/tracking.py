"""``/c/{recipient}/{link}`` and ``/o/{recipient}``: tracked links and the open pixel.

They stand in front of the framework, which has more to do for a call than these have: there is
nothing to look up, the tokens say it all. Whatever is no link of ours goes on to the framework
and is answered with its page; a pixel is answered with a picture whatever it is, because mails
show what they get in its place.
"""

import time
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseBodyEvent, Receive, Scope, Send

from newsletter.api.metrics import Metrics
from newsletter.delivery.links import Links, MessageRef
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
_NO_BODY: Final[HTTPResponseBodyEvent] = {"type": "http.response.body", "body": b"", "more_body": False}
_PICTURE: Final[HTTPResponseBodyEvent] = {"type": "http.response.body", "body": PIXEL, "more_body": False}


class Tracking:
    """Answers tracked links and pixels, and passes on everything else."""

    def __init__(self, app: ASGIApp, links: Links, sightings: Sightings, metrics: Metrics) -> None:
        self._app, self._links, self._sightings, self._metrics = app, links, sightings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope.get("method") in _METHODS:
            path = scope["path"]
            if path.startswith("/c/"):
                if await self._follow(scope, path, send):
                    return
            elif path.startswith("/o/"):
                await self._open(scope, path, send)
                return
        await self._app(scope, receive, send)

    async def _follow(self, scope: Scope, path: str, send: Send) -> bool:
        """Redirects; False for what is no link of ours."""
        started = time.perf_counter()
        recipient, _, link = path[3:].partition("/")
        try:
            click = self._links.read_click(recipient, link)
        except BadToken:
            return False
        location = [(b"location", click.url.encode("ascii")), *_REDIRECT_HEADERS]
        await send({"type": "http.response.start", "status": 302, "headers": location})
        await send(_NO_BODY)
        self._sightings.note(_sighting(scope, click.message, click.url))
        self._metrics.observe(
            str(scope.get("method")), "/c/{recipient}/{link}", 302, time.perf_counter() - started
        )
        return True

    async def _open(self, scope: Scope, path: str, send: Send) -> None:
        started = time.perf_counter()
        method = str(scope.get("method"))
        await send({"type": "http.response.start", "status": 200, "headers": _PIXEL_HEADERS})
        await send(_PICTURE if method == "GET" else _NO_BODY)
        try:
            message = self._links.read_opened(path[3:])
        except BadToken:
            pass  # Cut or made up: a picture all the same, and nothing to note.
        else:
            self._sightings.note(_sighting(scope, message, None))
        self._metrics.observe(method, "/o/{recipient}", 200, time.perf_counter() - started)


def _sighting(scope: Scope, message: MessageRef, url: str | None) -> Sighting:
    agent = purpose = None
    for name, value in scope["headers"]:
        if name == b"user-agent":
            agent = value
        elif name in _PURPOSES:
            purpose = value
    client = scope.get("client")
    return Sighting(
        time.time(), message, str(scope.get("method")), url, client[0] if client else None, agent, purpose
    )
