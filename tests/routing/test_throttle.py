"""Limited domains: the 1/N rule as a table, the door that one worker holds, and a storm of 4.7.28."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy import select, update

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.kit.db import Database, db_in
from newsletter.providers.base import (
    Envelope,
    Permanent,
    Receipt,
    Result,
    ServerDown,
    Temporary,
    Throttled,
    Unknown,
)
from newsletter.routing import throttle
from newsletter.routing.models import DestinationThrottle
from newsletter.routing.throttle import Door, Throttle, is_deferral, is_rate_limit
from newsletter.runtime import Runtime
from tests.client import Client
from tests.routing.conftest import Connect
from tests.routing.scripted import Scripted, mails, router, send, stream

OK = Receipt("250 2.0.0 ok")
DEFERRED = Temporary("451 4.7.1 greylisted", code=451, enhanced="4.7.1")
RATE = Temporary("421 4.7.28 too much from your address", code=421, enhanced="4.7.28")
BUSY = Temporary("450 4.2.1 this mailbox is busy", code=450, enhanced="4.2.1")
BLOCK = 600.0


def after(concurrency: float, answers: Sequence[Result]) -> tuple[float, float]:
    """The concurrency (of at most 20), and for how long the domain is blocked."""
    found = Throttle(concurrency, most=20)
    for answer in answers:
        found = found.after(answer, block=BLOCK)
    return round(found.concurrency, 2), found.blocked_for


@pytest.mark.parametrize(
    ("concurrency", "answers", "expected"),
    [
        # A step down is as many deferrals as there are mails at a time, more or less; so is one up.
        (4, [DEFERRED], (3.75, 0)),
        (4, [DEFERRED] * 4, (2.88, 0)),
        (4, [OK] * 4, (4.92, 0)),
        (1, [OK], (2, 0)),
        (2, [OK, OK], (2.9, 0)),
        (20, [OK] * 100, (20, 0)),
        # Never less than one at a time.
        (1, [DEFERRED] * 50, (1, 0)),
        # 4.7.28 at once, from any height; what else was on its way then changes nothing.
        (20, [RATE], (1, BLOCK)),
        (20, [RATE, OK, OK, DEFERRED], (1, BLOCK)),
        (1, [DEFERRED, RATE], (1, BLOCK)),
        # What is about a mailbox or about us says nothing of the domain.
        (4, [BUSY, Permanent("550", code=550), Unknown("?"), ServerDown("away")], (4, 0)),
    ],
)
def test_the_rule_of_one_in_n(
    concurrency: float, answers: list[Result], expected: tuple[float, float]
) -> None:
    assert after(concurrency, answers) == expected


@pytest.mark.parametrize(
    ("code", "enhanced", "deferral", "rate_limit"),
    [
        (450, "4.7.1", True, False),
        (451, None, True, False),
        (452, "4.3.1", True, False),
        (450, "4.2.1", False, False),
        (450, "4.1.8", False, False),
        (421, None, True, False),
        (421, "4.3.2", True, False),
        (421, "4.7.0", True, True),
        (450, "4.7.28", True, True),
        (408, None, False, False),
        (425, None, False, False),
        (429, None, False, False),
        (503, None, False, False),
        (None, None, False, False),
    ],
)
def test_which_refusals_speak_of_the_domain(
    code: int | None, enhanced: str | None, deferral: bool, rate_limit: bool
) -> None:
    refusal = Temporary("said so", code=code, enhanced=enhanced)
    assert (is_deferral(refusal), is_rate_limit(refusal)) == (deferral, rate_limit)


@pytest.fixture
async def server_id(connect: Connect) -> UUID:
    return ids.private("srv", (await connect(name="only", config={"host": "only"}, max_connections=4))["id"])


async def rows(db: Database) -> dict[str, DestinationThrottle]:
    async with db.read() as session:
        return {row.domain: row for row in await session.scalars(select(DestinationThrottle))}


async def ten_minutes(db: Database) -> None:
    """As if every block had begun ten minutes earlier."""
    async with db.unit_of_work() as session:
        blocked = DestinationThrottle.blocked_until.is_not(None)
        await session.execute(update(DestinationThrottle).where(blocked).values(blocked_until=db_in(-1)))
    await asyncio.sleep(0.01)  # Longer than a router of these tests believes what it read.


class Gmail:
    """Takes ``takes`` mails of gmail.test, then answers 4.7.28 until it is told otherwise; mail of
    others is always taken."""

    def __init__(self, takes: int = 0) -> None:
        self.takes = takes

    def __call__(self, mail: Envelope) -> Result:
        if not mail.recipient.endswith("@gmail.test"):
            return OK
        self.takes -= 1
        return OK if self.takes >= 0 else RATE


def mixed(count: int) -> list[Envelope]:
    return [
        one
        for pair in zip(mails(count, "gmail.test"), mails(count, "example.org"), strict=True)
        for one in pair
    ]


async def test_a_storm_of_4_7_28(
    runtime: Runtime, live: Project, server_id: UUID, live_client: Client
) -> None:
    """No mail for ten minutes, then one, two, three at a time; refused again, all over again."""
    gmail = Gmail(takes=3)
    only = Scripted(gmail)
    way = router(runtime, {"only": only})

    # The first refusal stops the domain, and nothing but the domain.
    results = await send(way, stream(live.id), mixed(30))
    by_domain = Counter(
        (mail.recipient[-10:], type(one)) for mail, one in zip(mixed(30), results, strict=True)
    )
    assert by_domain["xample.org", Receipt] == 30
    assert by_domain["gmail.test", Receipt] == 3
    # What was on its way at the same time was refused as well, on four connections at most.
    assert 1 <= by_domain["gmail.test", Temporary] <= 4
    waits = [one.retry_after for one in results if isinstance(one, Throttled)]
    assert len(waits) >= 30 - 7
    assert all(590 < wait <= 600 for wait in waits)
    assert {"gmail.test"} == (await rows(runtime.db)).keys()

    # For ten minutes nobody sends there: not this worker, not another.
    for worker in (way, router(runtime, {"only": only})):
        only.seen = []
        results = await send(worker, stream(live.id), mixed(5))
        assert Counter(type(one) for one in results) == {Receipt: 5, Throttled: 5}
        assert not [to for to in only.seen if to.endswith("gmail.test")]
    body = {"from": "news@acme.example.com", "to": "u1@gmail.test"}
    explained = await live_client.data("POST", "/routing/explain", json=body)
    assert explained["considered"][0]["verdict"] == "throttled"
    assert 500 < explained["retry_after"] <= 600

    # Then one mail; it is refused, and the ten minutes begin anew.
    await ten_minutes(runtime.db)
    only.seen = []
    results = await send(way, stream(live.id), mails(5, "gmail.test"))
    assert len(only.seen) == 1
    assert [type(one) for one in results] == [Temporary] + [Throttled] * 4
    assert all(one.retry_after > 590 for one in results if isinstance(one, Throttled))

    # Taken this time: one, then two, then three at the same time, until nothing is limited.
    await ten_minutes(runtime.db)
    gmail.takes = 1_000
    only.seconds, only.most_in_flight = 0.002, 0
    results = await send(way, stream(live.id), mails(3, "gmail.test"))
    assert {type(one) for one in results} == {Receipt}
    assert only.most_in_flight == 2
    assert 2 < (await rows(runtime.db))["gmail.test"].concurrency < 3
    await asyncio.sleep(0.01)
    await send(way, stream(live.id), mails(20, "gmail.test"))
    assert await rows(runtime.db) == {}
    only.most_in_flight = 0
    await send(way, stream(live.id), mails(8, "gmail.test"))
    assert only.most_in_flight == 4


async def test_a_blocked_domain_goes_through_another_server(
    runtime: Runtime, live: Project, live_client: Client, connect: Connect
) -> None:
    for priority, host in enumerate(("first", "second"), start=1):
        server = await connect(name=host, config={"host": host})
        body = {"server_id": server["id"], "priority": priority}
        await live_client.data("POST", "/routing/rules", 201, json=body)
    second = Scripted()
    way = router(runtime, {"first": Scripted(Gmail()), "second": second})
    for _ in range(2):
        results = await send(way, stream(live.id), mails(6, "gmail.test"))
        assert {type(one) for one in results} == {Receipt}
    assert len(second.seen) == 12


async def test_a_few_deferrals_limit_nothing_many_do(
    runtime: Runtime, live: Project, server_id: UUID
) -> None:
    deferred = {"u1@example.org"}
    only = Scripted(lambda mail: DEFERRED if mail.recipient in deferred else OK)
    only.connections = 1
    way = router(runtime, {"only": only})
    await send(way, stream(live.id), mails(20))
    assert await rows(runtime.db) == {}
    deferred |= {mail.recipient for mail in mails(6)}
    await send(way, stream(live.id), mails(6))
    assert (await rows(runtime.db))["example.org"].concurrency < 3


async def test_workers_together_keep_to_the_limit_of_a_domain(
    runtime: Runtime, live: Project, server_id: UUID
) -> None:
    async with runtime.db.unit_of_work() as session:
        await throttle.begin(session, server_id, "example.org", Throttle(2.0, most=100))
    shared = Scripted(seconds=0.01)
    ways = [router(runtime, {"only": shared}) for _ in range(3)]
    found = await asyncio.gather(
        *(send(way, stream(live.id), mails(6, first=10 * n)) for n, way in enumerate(ways))
    )
    results = [one for each in found for one in each]
    assert {type(one) for one in results} <= {Receipt, Throttled}
    assert sum(isinstance(one, Receipt) for one in results) in {6, 12, 18}
    # Two in the first round, three after enough went well.
    assert shared.most_in_flight <= 4


async def test_a_door_is_held_by_one_and_left_to_the_next(db: Database) -> None:
    server_id = ids.uuid7()
    async with db.unit_of_work() as session:
        await throttle.begin(session, server_id, "example.org", Throttle(2.5, most=10))
    found = await asyncio.gather(*(take(db, server_id) for _ in range(10)))
    [door] = [each for each in found if each is not None]
    assert door.concurrency == 2.5
    async with db.unit_of_work() as session:
        assert await throttle.keep_door(session, door)
        await throttle.leave_door(session, door, Throttle(3.0, most=10))
    again = await take(db, server_id)
    assert again is not None
    assert again.concurrency == 3.0
    # Who lost the door writes nothing any more.
    async with db.unit_of_work() as session:
        assert not await throttle.keep_door(session, door)
        await throttle.leave_door(session, door, Throttle(10.0, most=10))
    assert (await rows(db))["example.org"].concurrency == 3.0


async def test_the_door_of_a_dead_worker_opens_by_itself(db: Database) -> None:
    server_id = ids.uuid7()
    async with db.unit_of_work() as session:
        await throttle.begin(session, server_id, "example.org", Throttle(1.0, most=10))
    assert await take(db, server_id) is not None
    assert await take(db, server_id) is None
    async with db.unit_of_work() as session:
        await session.execute(update(DestinationThrottle).values(held_until=db_in(-1)))
    assert await take(db, server_id) is not None


async def test_of_two_that_limit_a_domain_the_stricter_holds(db: Database) -> None:
    server_id = ids.uuid7()
    for each in (Throttle(3.0, most=10), Throttle(1.0, most=10, blocked_for=600), Throttle(3.0, most=10)):
        async with db.unit_of_work() as session:
            await throttle.begin(session, server_id, "example.org", each)
    row = (await rows(db))["example.org"]
    assert row.concurrency == 1.0
    assert row.blocked_until is not None
    assert await take(db, server_id) is None


async def test_limits_that_nobody_met_for_hours_are_forgotten(db: Database) -> None:
    server_id = ids.uuid7()
    for domain in ("old.example", "new.example"):
        async with db.unit_of_work() as session:
            await throttle.begin(session, server_id, domain, Throttle(1.0, most=10))
    async with db.unit_of_work() as session:
        old = DestinationThrottle.domain == "old.example"
        past = db_in(-throttle.FORGOTTEN_SECONDS - 1)
        await session.execute(update(DestinationThrottle).where(old).values(updated_at=past))
    async with db.read() as session:
        assert (await throttle.limited(session, [server_id]))[server_id].keys() == {"new.example"}
    async with db.unit_of_work() as session:
        await throttle.forget(session)
    assert (await rows(db)).keys() == {"new.example"}


async def take(db: Database, server_id: UUID) -> Door | None:
    async with db.unit_of_work() as session:
        return await throttle.take_door(session, server_id, "example.org")
