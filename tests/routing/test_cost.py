"""What routing costs where there is nothing to decide: no statement, no look at any message."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.providers.base import Receipt
from newsletter.routing.router import Router
from newsletter.runtime import Runtime
from newsletter.settings import RoutingSettings
from tests.routing.conftest import Connect
from tests.routing.scripted import Scripted, Scripts, mails, router, send, stream


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(db.engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(db.engine.sync_engine, "before_cursor_execute", note)


async def test_the_usual_block_asks_the_database_nothing(
    runtime: Runtime, live: Project, connect: Connect
) -> None:
    await connect(config={"host": "only"})
    routing = RoutingSettings(refresh_seconds=60)
    own = runtime.settings.model_copy(update={"routing": routing})
    scripts = Scripts(own, runtime.workshop.sandbox, answers={"only": Scripted()})
    way = Router(runtime.db, runtime.vault, scripts, own)
    await send(way, stream(live.id), mails(1))
    with statements(runtime.db) as seen:
        for _ in range(10):
            assert {type(one) for one in await send(way, stream(live.id), mails(64))} == {Receipt}
    assert seen == []


async def test_a_server_with_limits_costs_one_short_transaction_a_block(
    runtime: Runtime, live: Project, connect: Connect
) -> None:
    await connect(config={"host": "only"}, quota_per_day=100_000)
    routing = RoutingSettings(refresh_seconds=60)
    own = runtime.settings.model_copy(update={"routing": routing})
    scripts = Scripts(own, runtime.workshop.sandbox, answers={"only": Scripted()})
    way = Router(runtime.db, runtime.vault, scripts, own)
    await send(way, stream(live.id), mails(1))
    with statements(runtime.db) as seen:
        await send(way, stream(live.id), mails(64))
    writes = [one for one in seen if "server_meters" in one]
    assert len(writes) == 2, writes


async def test_a_named_receipt_is_the_provider_s_own(
    runtime: Runtime, live: Project, connect: Connect
) -> None:
    """The trick of naming it in place gives what the plain copy would."""
    server = await connect(config={"host": "only"})
    given: list[Receipt] = []

    def take(_: object) -> Receipt:
        given.append(Receipt(f"250 {time.monotonic_ns()}"))
        return given[-1]

    way = router(runtime, {"only": Scripted(take)})
    [result] = await send(way, stream(live.id), mails(1))
    assert isinstance(result, Receipt)
    assert result == Receipt(given[0].response, ids.private("srv", server["id"]))
