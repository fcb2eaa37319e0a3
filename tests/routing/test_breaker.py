"""The breaker as a table of its states, and over the router: who is left alone, and who tries again."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.kit.db import Database, db_in
from newsletter.providers.base import (
    Permanent,
    Receipt,
    Result,
    ServerDown,
    Temporary,
    Throttled,
    Unknown,
)
from newsletter.routing import breaker
from newsletter.routing.breaker import CLOSED, Breaker, State, is_trouble
from newsletter.routing.models import ServerBreaker
from newsletter.runtime import Runtime
from tests.client import Client
from tests.routing.conftest import Connect
from tests.routing.scripted import Scripted, mails, router, send, stream

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
WAITS = (5, 10, 20)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


OPEN = Breaker(1, at(5), None, "away")
PROBED = Breaker(1, at(5), at(65), "away")


@pytest.mark.parametrize(
    ("state", "seconds", "expected", "left"),
    [
        # state, seconds later, what it is then, seconds until it may be tried
        (CLOSED, 0, State.closed, 0),
        (OPEN, 0, State.open, 5),
        (OPEN, 4.9, State.open, 0.1),
        (OPEN, 5, State.half_open, 0),
        (PROBED, 6, State.half_open, 59),
        (PROBED, 70, State.half_open, 0),
    ],
)
def test_time_opens_the_half_of_it(state: Breaker, seconds: float, expected: State, left: float) -> None:
    assert state.state(at(seconds)) is expected
    assert state.seconds_left(at(seconds)) == pytest.approx(left)


@pytest.mark.parametrize(
    ("state", "seconds", "expected"),
    [
        (CLOSED, 0, Breaker(1, at(5), None, "again")),
        # What fails while it is open began before.
        (OPEN, 1, OPEN),
        # A probe that fails opens it for longer, and longer, up to the last wait.
        (PROBED, 6, Breaker(2, at(16), None, "again")),
        (Breaker(2, at(0)), 0, Breaker(3, at(20), None, "again")),
        (Breaker(9, at(0)), 0, Breaker(10, at(20), None, "again")),
    ],
)
def test_failures_open_it_for_longer_each_time(state: Breaker, seconds: float, expected: Breaker) -> None:
    assert state.after_failures(at(seconds), WAITS, "again") == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Receipt("250 ok"), False),
        (ServerDown("cannot connect"), True),
        (Temporary("421 closing", code=421), True),
        (Temporary("421 4.3.2 shutting down", code=421, enhanced="4.3.2"), True),
        (Temporary("421 4.7.28 too much", code=421, enhanced="4.7.28"), False),
        (Temporary("450 4.2.1 busy", code=450, enhanced="4.2.1"), False),
        (Temporary("552 full", code=552), False),
        (Temporary("at RCPT: the connection was lost"), False),
        (Temporary("429 too many requests", code=429), True),
        (Temporary("408 too slow", code=408), True),
        (Temporary("503 unavailable", code=503), True),
        (Permanent("550 no", code=550), False),
        (Unknown("nobody knows"), False),
    ],
)
def test_trouble_is_of_the_server_not_of_the_mail(result: Result, expected: bool) -> None:
    assert is_trouble(result) is expected


async def half_open(db: Database) -> None:
    """Lets the time of every open breaker be over."""
    async with db.unit_of_work() as session:
        await session.execute(update(ServerBreaker).values(open_until=db_in(-1)))


async def state_of(db: Database, server_id: UUID) -> Breaker | None:
    async with db.read() as session:
        return (await breaker.states(session, [server_id])).get(server_id)


@pytest.fixture
async def server_id(connect: Connect) -> UUID:
    return ids.private("srv", (await connect(name="only", config={"host": "only"}))["id"])


async def test_a_server_that_fails_three_times_is_left_alone(
    runtime: Runtime, live: Project, server_id: UUID, live_client: Client
) -> None:
    only = Scripted(lambda _: ServerDown("cannot connect"))
    way = router(runtime, {"only": only})
    for _ in range(3):
        assert {type(one) for one in await send(way, stream(live.id), mails(4))} == {ServerDown}
    tried = len(only.seen)
    results = await send(way, stream(live.id), mails(4))
    assert {type(one) for one in results} == {Throttled}
    assert all(0 < one.retry_after <= 5 for one in results if isinstance(one, Throttled))
    assert len(only.seen) == tried
    shown = await live_client.data("GET", f"/sending-servers/{ids.public('srv', server_id)}")
    assert (shown["breaker"]["state"], shown["breaker"]["reason"]) == ("open", "cannot connect")
    # Another worker knows it, too.
    other = Scripted()
    assert {type(one) for one in await send(router(runtime, {"only": other}), stream(live.id), mails(4))} == {
        Throttled
    }
    assert other.seen == []


async def test_a_run_of_421_stops_the_block_and_opens_the_breaker(
    runtime: Runtime, live: Project, server_id: UUID
) -> None:
    closing = Temporary("421 4.3.2 closing", code=421, enhanced="4.3.2")
    only = Scripted(lambda _: closing, seconds=0.005)
    way = router(runtime, {"only": only})
    # Of one domain, they may be about that domain.
    assert {type(one) for one in await send(way, stream(live.id), mails(10))} == {Temporary}
    only.seen = []
    results = await send(way, stream(live.id), [mails(1, f"d{n}.example")[0] for n in range(30)])
    # Those on its other connections had begun when the third answer was read.
    assert 3 <= len(only.seen) < 15
    assert Counter(type(one) for one in results) == {
        Temporary: len(only.seen),
        Throttled: 30 - len(only.seen),
    }


async def test_a_success_in_between_ends_the_run(runtime: Runtime, live: Project, server_id: UUID) -> None:
    only = Scripted(lambda mail: ServerDown("away") if mail.recipient.startswith("u9") else Receipt("250"))
    way = router(runtime, {"only": only})
    for _ in range(5):
        await send(way, stream(live.id), mails(1, first=9))
        await send(way, stream(live.id), mails(1))
    assert await state_of(runtime.db, server_id) is None


async def test_one_mail_of_one_worker_tries_it_and_the_rest_follows(
    runtime: Runtime, live: Project, server_id: UUID
) -> None:
    only = Scripted(lambda _: ServerDown("away"))
    way = router(runtime, {"only": only}, breaker_failures=1)
    await send(way, stream(live.id), mails(1))
    await half_open(runtime.db)
    only.answer, only.seen = lambda _: Receipt("250"), []
    only.go_on.clear()
    await asyncio.sleep(0.01)
    probing = asyncio.create_task(send(way, stream(live.id), mails(10)))
    while not only.seen:
        await asyncio.sleep(0.005)
    # While one mail is on its way, nobody else sends.
    other = Scripted()
    results = await send(router(runtime, {"only": other}), stream(live.id), mails(3, "example.net"))
    assert {type(one) for one in results} == {Throttled}
    assert (len(only.seen), other.seen) == (1, [])
    only.go_on.set()
    assert {type(one) for one in await probing} == {Receipt}
    assert len(only.seen) == 10
    assert await state_of(runtime.db, server_id) is None


async def test_a_probe_that_fails_leaves_it_alone_for_longer(
    runtime: Runtime, live: Project, server_id: UUID
) -> None:
    only = Scripted(lambda _: ServerDown("away"))
    way = router(runtime, {"only": only}, breaker_failures=1, breaker_seconds=(5, 50))
    await send(way, stream(live.id), mails(1))
    await half_open(runtime.db)
    only.seen = []
    await asyncio.sleep(0.01)
    results = await send(way, stream(live.id), mails(6))
    assert len(only.seen) == 1
    assert [type(one) for one in results].count(Throttled) == 5
    assert all(one.retry_after > 5 for one in results if isinstance(one, Throttled))
    found = await state_of(runtime.db, server_id)
    assert found is not None
    assert found.openings == 2


async def test_of_many_workers_one_gets_the_probe(runtime: Runtime) -> None:
    server_id = ids.uuid7()
    async with runtime.db.unit_of_work() as session:
        await breaker.trip(session, server_id, (5,), ServerDown("away"))
    assert await take(runtime.db, server_id) is False
    await half_open(runtime.db)
    found = await asyncio.gather(*(take(runtime.db, server_id) for _ in range(20)))
    assert sorted(found) == [False] * 19 + [True]
    async with runtime.db.unit_of_work() as session:
        await breaker.drop_probe(session, server_id)
    assert await take(runtime.db, server_id) is True


async def take(db: Database, server_id: UUID) -> bool:
    async with db.unit_of_work() as session:
        return await breaker.take_probe(session, server_id)
