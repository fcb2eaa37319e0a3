"""What stands behind a call: the runtime that answers it, which the routes do not know.

Making the routes takes 0.4 s of processor time, most of it in models of some two hundred signatures, and
nothing of it depends on databases or keys. So a `Litestar` is made of settings alone and may serve any
number of runtimes; each has a `Behind` of its own in front of it, which names the runtime for the length
of a call. Handlers and layers find it there.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from litestar.types import ASGIApp, Receive, Scope, Send


class Layer(Protocol):
    """Stands between the route that was found and its handler."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None: ...


@dataclass(frozen=True, slots=True)
class Behind:
    """The parts and layers of one runtime, and its way to the routes."""

    routes: ASGIApp
    parts: Mapping[str, object]
    """By the names that handlers ask for."""
    layers: Mapping[type[Layer], Layer]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _BEHIND.set(self)
        try:
            await self.routes(scope, receive, send)
        finally:
            _BEHIND.reset(token)


# In the context and not in the scope: what handlers are handed is made without an argument, so the
# framework calls for it at once. Handing over the scope takes a check of its type for each part.
_BEHIND: Final[ContextVar[Behind]] = ContextVar("newsletter_behind")


def part(name: str) -> Callable[[], object]:
    """Gives this part of whatever runtime the call is for."""
    return lambda: _BEHIND.get().parts[name]


def layer(kind: type[Layer]) -> Callable[[ASGIApp], ASGIApp]:
    """Stands among the routes for the layer of this kind that the call's runtime has."""

    def around(app: ASGIApp) -> ASGIApp:
        async def handled(scope: Scope, receive: Receive, send: Send) -> None:
            await _BEHIND.get().layers[kind].handle(scope, receive, send, app)

        return handled

    return around
