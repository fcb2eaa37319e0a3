"""Sending servers that answer as a test says, and a router over them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from newsletter.providers.base import (
    Envelope,
    MailStream,
    Provider,
    Purpose,
    Receipt,
    Result,
    ServerDown,
    never,
)
from newsletter.providers.config import ServerConfig
from newsletter.routing.router import Router
from newsletter.routing.workshop import Workshop
from newsletter.runtime import Runtime
from newsletter.settings import RoutingSettings

Answer = Callable[[Envelope], Result]


def accept(envelope: Envelope) -> Result:
    return Receipt("250 2.0.0 ok")


class Scripted:
    """A provider of ``connections`` that answers each mail by ``answer`` after ``seconds``."""

    name = "scripted"

    def __init__(self, answer: Answer = accept, *, seconds: float = 0.0) -> None:
        self.answer, self.seconds = answer, seconds
        self.connections = 4
        """As many as its server's `max_connections`, once the router made it."""
        self.seen: list[str] = []
        """Recipients in the order in which their mails began."""
        self.began: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self.is_closed = False
        self.go_on = asyncio.Event()
        """Cleared by a test that wants mails to stay on their way."""
        self.go_on.set()

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncIterator[tuple[int, Result]]:
        assert not self.is_closed, "a closed server was sent to"
        queue: asyncio.Queue[tuple[int, Result] | None] = asyncio.Queue()
        waiting = list(range(len(envelopes)))

        async def work() -> None:
            while waiting and not should_stop():
                index = waiting.pop(0)
                self.seen.append(envelopes[index].recipient)
                self.began.append(time.monotonic())
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                await asyncio.sleep(self.seconds)
                await self.go_on.wait()
                self.in_flight -= 1
                queue.put_nowait((index, self.answer(envelopes[index])))

        workers = [asyncio.create_task(work()) for _ in range(min(self.connections, len(envelopes)))]
        for worker in workers:
            worker.add_done_callback(lambda _: queue.put_nowait(None))
        ended = 0
        while ended < len(workers):
            item = await queue.get()
            if item is None:
                ended += 1
            else:
                yield item
        for index in waiting:
            yield index, ServerDown("the message was not tried")

    async def check(self) -> str:
        return "scripted"

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass(frozen=True, slots=True)
class Scripts(Workshop):
    """Makes servers by the name of their host; ``default`` is the installation's."""

    servers: dict[str, list[Scripted]] = field(default_factory=dict)
    answers: dict[str, Scripted] = field(default_factory=dict)

    def make(
        self, project_id: UUID, config: ServerConfig, *, connections: int, messages_per_connection: int
    ) -> Provider:
        host = str(config.open_part()["host"])
        made = self.answers.get(host) or Scripted()
        made.connections = connections
        self.servers.setdefault(host, []).append(made)
        return made

    def default(self) -> Provider:
        return self.answers["default"]


def router(runtime: Runtime, answers: dict[str, Scripted], **settings: Any) -> Router:
    """A worker's router; several of them are several workers."""
    routing = RoutingSettings(refresh_seconds=0.001, **settings)
    own = runtime.settings.model_copy(update={"routing": routing})
    return Router(runtime.db, runtime.vault, Scripts(own, runtime.workshop.sandbox, answers=answers), own)


def stream(project_id: UUID, **changes: Any) -> MailStream:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "is_test": False,
        "purpose": Purpose.marketing,
        "list_id": None,
        "sender_domain": "acme.example.com",
    }
    return MailStream(**(fields | changes))


def mails(count: int, domain: str = "example.org", first: int = 1) -> list[Envelope]:
    return [
        Envelope(f"msg_{domain.replace('.', '')}{n}", "news@acme.example.com", f"u{n}@{domain}", b"Hi\r\n")
        for n in range(first, first + count)
    ]


async def send(
    router: Router,
    to: MailStream,
    envelopes: Sequence[Envelope],
    should_stop: Callable[[], bool] = never,
) -> list[Result]:
    """The result of each mail, in order; each must be there exactly once."""
    found: dict[int, Result] = {}
    async for index, result in router.for_stream(to).send_many(envelopes, should_stop):
        assert index not in found, f"{index} came twice"
        found[index] = result
    assert sorted(found) == list(range(len(envelopes)))
    return [found[index] for index in range(len(envelopes))]
