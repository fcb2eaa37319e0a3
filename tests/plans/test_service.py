"""Quotas hold exactly, whoever asks at the same moment, and begin anew with each month in UTC."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from newsletter.kit import clock, ids
from newsletter.kit.db import Database
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource

OWNER = ids.uuid7()


async def used_and_reserved(db: Database, resource: Resource) -> tuple[int, int]:
    async with db.read() as session:
        usage = await plans.usage(session, OWNER, resource, None)
    return usage.used, usage.reserved


async def test_of_two_hundred_at_once_on_a_hundred_left_exactly_a_hundred_get_one(db: Database) -> None:
    async def reserve() -> bool:
        async with db.unit_of_work() as session:
            return await plans.reserve(session, OWNER, Resource.mails, 1, 150)

    async with db.unit_of_work() as session:
        assert await plans.use(session, OWNER, Resource.mails, 50, 150)
    answers = await asyncio.gather(*(reserve() for _ in range(200)))
    assert sum(answers) == 100
    assert await used_and_reserved(db, Resource.mails) == (50, 100)


async def test_the_first_of_a_period_are_counted_too_when_they_come_together(db: Database) -> None:
    async def reserve() -> bool:
        async with db.unit_of_work() as session:
            return await plans.reserve(session, OWNER, Resource.generations, 1, 5)

    answers = await asyncio.gather(*(reserve() for _ in range(20)))
    assert sum(answers) == 5
    assert await used_and_reserved(db, Resource.generations) == (0, 5)


async def test_what_does_not_fit_takes_nothing(db: Database) -> None:
    async with db.unit_of_work() as session:
        assert not await plans.reserve(session, OWNER, Resource.mails, 11, 10)
        assert await plans.reserve(session, OWNER, Resource.mails, 10, 10)
        assert not await plans.use(session, OWNER, Resource.mails, 1, 10)
    assert await used_and_reserved(db, Resource.mails) == (0, 10)


async def test_a_reservation_is_settled_or_given_back(db: Database) -> None:
    period = plans.period_of(Resource.mails)
    async with db.unit_of_work() as session:
        await plans.reserve(session, OWNER, Resource.mails, 10, 10, period)
        await plans.settle(session, OWNER, Resource.mails, period, used=7, released=3)
    assert await used_and_reserved(db, Resource.mails) == (7, 0)
    async with db.unit_of_work() as session:
        assert await plans.reserve(session, OWNER, Resource.mails, 3, 10)
        assert not await plans.reserve(session, OWNER, Resource.mails, 1, 10)


async def test_without_a_limit_everything_fits(db: Database) -> None:
    async with db.unit_of_work() as session:
        assert await plans.reserve(session, OWNER, Resource.mails, 10**9, None)


async def test_who_holds_a_counter_knows_what_is_taken(db: Database) -> None:
    async with db.unit_of_work() as session:
        assert await plans.hold(session, OWNER, Resource.subscribers) == 0
        await plans.use(session, OWNER, Resource.subscribers, 7, None)
        assert await plans.hold(session, OWNER, Resource.subscribers) == 7
        await plans.give_back(session, OWNER, Resource.subscribers, 4)
        assert await plans.hold(session, OWNER, Resource.subscribers) == 3


async def test_owners_share_nothing(db: Database) -> None:
    async with db.unit_of_work() as session:
        assert await plans.reserve(session, OWNER, Resource.mails, 10, 10)
        assert await plans.reserve(session, ids.uuid7(), Resource.mails, 10, 10)


@pytest.mark.parametrize(
    ("at", "month"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, 999999, UTC), "2026-11"),
        (datetime(2026, 12, 1, tzinfo=UTC), "2026-12"),
        # Midnight in Tokyo is still the old month in UTC.
        (datetime(2026, 12, 1, 8, tzinfo=timezone(timedelta(hours=9))), "2026-11"),
        (datetime(2026, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))), "2027-01"),
    ],
)
def test_months_are_those_of_utc(at: datetime, month: str) -> None:
    assert plans.period_of(Resource.mails, at) == month
    assert plans.period_of(Resource.subscribers, at) == ""


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        (datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC), 30),
        (datetime(2026, 12, 31, 23, 59, 59, 999999, UTC), 1),
        (datetime(2026, 2, 1, tzinfo=UTC), 28 * 86400),
    ],
)
def test_retry_after_ends_with_the_month(at: datetime, seconds: int) -> None:
    assert clock.seconds_to_next_month(at) == seconds


async def test_a_new_month_begins_with_nothing_used(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with db.unit_of_work() as session:
        assert await plans.reserve(session, OWNER, Resource.mails, 10, 10)
        assert not await plans.reserve(session, OWNER, Resource.mails, 1, 10)
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(days=32))
    async with db.unit_of_work() as session:
        assert await plans.reserve(session, OWNER, Resource.mails, 10, 10)
