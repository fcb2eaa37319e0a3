"""Quotas and rates: exact in every race, and given back where nothing was sent."""

import asyncio
import time
from collections import Counter
from datetime import UTC, date, datetime
from itertools import pairwise
from uuid import UUID

import pytest
from sqlalchemy import update

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.kit.db import Database, db_in
from newsletter.providers.base import Receipt, Throttled
from newsletter.routing import meter
from newsletter.routing.choice import Limits
from newsletter.routing.meter import Full, Grant, Periods, Used
from newsletter.routing.models import ServerMeter
from newsletter.routing.warmup import WarmUp
from newsletter.runtime import Runtime
from tests.routing.conftest import Connect
from tests.routing.scripted import Scripted, mails, router, send, stream

SERVER = UUID(int=7)


async def reserve(db: Database, limits: Limits, wanted: int, patience: float = 0) -> Grant:
    async with db.unit_of_work() as session:
        return await meter.reserve(session, SERVER, limits, wanted, patience=patience)


async def used(db: Database) -> Used:
    async with db.read() as session:
        return (await meter.used(session, [SERVER])).get(SERVER, Used())


@pytest.mark.parametrize("limits", [Limits(per_hour=100), Limits(per_day=100), Limits(per_month=100)])
async def test_of_200_at_once_on_100_left_exactly_100_get_one(db: Database, limits: Limits) -> None:
    found = await asyncio.gather(*(reserve(db, limits, 1) for _ in range(200)))
    assert Counter(grant.count for grant in found) == {1: 100, 0: 100}
    assert await used(db) == Used(100, 100, 100)


async def test_blocks_race_for_what_is_left_to_the_last_unit(db: Database) -> None:
    found = await asyncio.gather(*(reserve(db, Limits(per_day=1_000), 64) for _ in range(30)))
    assert sum(grant.count for grant in found) == 1_000
    assert all(grant.count or "day" in grant.reason for grant in found)


async def test_what_was_not_used_goes_back_to_its_own_periods_alone(db: Database) -> None:
    grant = await reserve(db, Limits(per_day=10), 10)
    async with db.unit_of_work() as session:
        await meter.give_back(session, SERVER, grant.periods, 4)
    assert await used(db) == Used(6, 6, 6)
    assert (await reserve(db, Limits(per_day=10), 10)).count == 4
    former = Periods("2026-01-01T00", "2026-01-01", grant.periods.month)
    async with db.unit_of_work() as session:
        await meter.give_back(session, SERVER, former, 3)
    assert await used(db) == Used(10, 10, 7)


async def test_a_new_period_begins_at_nothing(db: Database) -> None:
    await reserve(db, Limits(per_day=10), 10)
    async with db.unit_of_work() as session:
        await session.execute(update(ServerMeter).values(hour="2020-01-01T00", day="2020-01-01"))
    found = await used(db)
    assert (found.hour, found.day, found.month) == (0, 0, 10)
    assert (await reserve(db, Limits(per_day=10), 4)).count == 4
    assert await used(db) == Used(4, 4, 14)


@pytest.mark.parametrize(
    ("given", "limits", "expected"),
    [
        (Used(5, 5, 5), Limits(per_hour=6, per_day=6, per_month=6), None),
        (Used(6, 6, 6), Limits(per_hour=6), Full("the quota of the hour is used up", 1800)),
        (Used(0, 6, 6), Limits(per_day=6), Full("the quota of the day is used up", 1800)),
        (Used(0, 0, 6), Limits(per_month=6), Full("the quota of the month is used up", 1800)),
        # The longest wait is the one that counts.
        (Used(6, 6, 6), Limits(per_hour=6, per_month=6), Full("the quota of the month is used up", 1800)),
        (
            Used(0, 200, 200),
            Limits(warm_up=WarmUp(date(2026, 12, 31))),
            Full("the warm-up's mails of the day are used up", 1800),
        ),
        (Used(0, 200, 200), Limits(warm_up=WarmUp(date(2026, 12, 30))), None),
    ],
)
def test_a_full_limit_tells_until_when(given: Used, limits: Limits, expected: Full | None) -> None:
    # Half an hour before the end of hour, day, month and year at once.
    assert meter.full(given, limits, datetime(2026, 12, 31, 23, 30, tzinfo=UTC)) == expected


@pytest.mark.parametrize(
    ("ramp", "expected"),
    [
        (WarmUp(date(2026, 1, 10), start=200, factor=2, until=1500), [200, 200, 400, 800, None, None]),
        (WarmUp(date(2026, 1, 10), start=5, factor=1.5, until=10), [5, 5, 7, None, None, None]),
        (WarmUp(date(2026, 1, 10), steps=(10, 50, 90)), [10, 10, 50, 90, None, None]),
        (WarmUp(date(2026, 1, 10), start=900, until=100), [None] * 6),
    ],
)
def test_a_ramp_by_day(ramp: WarmUp, expected: list[int | None]) -> None:
    """From the day before it begins on."""
    assert [ramp.limit(date(2026, 1, day)) for day in range(9, 15)] == expected
    assert WarmUp.from_json(ramp.to_json()) == ramp


def test_a_ramp_of_long_ago_is_over_without_much_ado() -> None:
    ramp = WarmUp(date(1900, 1, 1), start=1, factor=1.001, until=2_000_000_000)
    assert ramp.limit(date(2026, 1, 1)) is None


async def test_reservations_of_a_rate_follow_each_other(db: Database) -> None:
    """A busy machine takes its time between two of them, so much of which it need not wait."""
    limits = Limits(per_second=0.1)
    began = time.monotonic()
    grants = [await reserve(db, limits, 64, patience=60) for _ in range(3)]
    assert [grant.count for grant in grants] == [1, 1, 1]
    assert grants[0].delay == 0
    spent = time.monotonic() - began
    assert 10 - spent <= grants[1].delay <= 10
    assert 20 - spent <= grants[2].delay <= 20
    impatient = await reserve(db, limits, 64, patience=0.1)
    assert impatient.count == 0
    assert 30 - 0.1 - (time.monotonic() - began) <= impatient.retry_after <= 30


async def test_a_reservation_holds_half_a_second_of_the_rate(db: Database) -> None:
    grants = [await reserve(db, Limits(per_second=10), 64, patience=10) for _ in range(3)]
    assert [grant.count for grant in grants] == [5, 5, 5]


async def test_an_idle_time_saves_nothing_up(db: Database) -> None:
    limits = Limits(per_second=4)
    await reserve(db, limits, 2, patience=10)
    async with db.unit_of_work() as session:
        await session.execute(update(ServerMeter).values(rate_free_at=db_in(-3600)))
    assert [(await reserve(db, limits, 64, patience=10)).count for _ in range(2)] == [2, 2]
    assert (await reserve(db, limits, 1, patience=10)).delay <= 1.0


async def test_a_slow_rate_gives_one_mail_at_a_time(db: Database) -> None:
    limits = Limits(per_second=0.01)
    assert (await reserve(db, limits, 64)).count == 1
    refused = await reserve(db, limits, 64)
    assert refused.count == 0
    assert 50 < refused.retry_after <= 100


async def test_a_rate_holds_over_two_workers(runtime: Runtime, live: Project, connect: Connect) -> None:
    """However busy the machine: a slow one begins fewer mails, never more."""
    rate = 40
    await connect(name="only", config={"host": "only"}, rate_per_second=rate)
    workers = [Scripted(), Scripted()]
    began = time.monotonic()
    found = await asyncio.gather(
        *(
            send(router(runtime, {"only": each}, hold_seconds=2), stream(live.id), mails(60, f"d{n}.example"))
            for n, each in enumerate(workers)
        )
    )
    results = [one for each in found for one in each]
    assert {type(one) for one in results} <= {Receipt, Throttled}
    times = sorted(at for each in workers for at in each.began)
    assert len(times) == sum(isinstance(one, Receipt) for one in results)
    assert len(times) > rate
    for first, at in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= rate * (times[last] - at + meter.BUCKET_SECONDS) + 1
    assert times[-1] - began >= len(times) / rate - 2 * meter.BUCKET_SECONDS
    assert all(one <= two for one, two in pairwise(times))


async def test_totals_add_up(db: Database) -> None:
    server_id = ids.uuid7()
    for _ in range(2):
        async with db.unit_of_work() as session:
            await meter.note(session, server_id, sent=5, deferred=2, failed=1)
    async with db.read() as session:
        [row] = [row for row in await meter.totals(session) if row.server_id == server_id]
    assert (row.sent, row.deferred, row.failed) == (10, 4, 2)
