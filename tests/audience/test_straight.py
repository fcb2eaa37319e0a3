"""Upserts straight to the database leave what the steps through a session leave."""

from typing import Any

import pytest
from sqlalchemy import select

from newsletter.accounts.models import Resubscribe
from newsletter.audience import service
from newsletter.audience.models import Subscriber
from newsletter.audience.upsert import Target
from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason
from tests.audience.conftest import MakeAudience
from tests.audience.ways import KEY, PLAIN, UNKNOWN

pytestmark = pytest.mark.usefixtures("postgresql_alone")

AGAIN: list[dict[str, Any]] = [
    {"email": "a@example.com", "first_name": "A", "custom_fields": {"size": 1}},
    {"email": "A@example.com", "last_name": "Later", "tags": ["t"]},
    {"email": "zoë.b@example.com", "first_name": None, "tags": None},
    {"email": "d@example.com", "custom_fields": {"colour": None}, "consent": {"source": "shop"}},
    {"email": "c@example.com"},
    {"email": "new@example.com"},
    {"email": "NEW@example.com", "first_name": "Twice"},
    {"email": "bounced@example.com", "first_name": "B"},
]


async def test_both_ways_leave_the_same(make_audience: MakeAudience) -> None:
    one, other = await make_audience(), await make_audience()
    for bodies in (PLAIN, AGAIN):
        told = await one.straight(bodies)
        assert told is not None
        assert told == await other.step_by_step(bodies)
        assert await one.books() == await other.books()


NEWCOMERS: list[Any] = [
    *UNKNOWN,
    {"email": "tags@example.com", "tags": ["b", "a", "b"], "custom_fields": {"size": None, "colour": "x"}},
    {"email": "nothing@example.com", "tags": [], "custom_fields": {"size": None}, "first_name": None},
    {"email": "api@example.com", "consent": {"source": "api", "ip": "192.0.2.7"}},
    {"email": "no address"},
    {"email": "many@example.com", "tags": [f"t{number}" for number in range(200)]},
    "no row",
]


async def test_a_sheet_of_people_who_are_all_new_leaves_the_same_both_ways(
    make_audience: MakeAudience,
) -> None:
    one, other = await make_audience(), await make_audience()

    told = await one.sheet_straight(NEWCOMERS)

    assert told == await other.sheet_step_by_step(NEWCOMERS)
    assert (told.created, told.updated, told.invalid) == (8, 0, 3)
    assert await one.books() == await other.books()


@pytest.mark.parametrize(
    ("rows", "limit"),
    [
        ([*NEWCOMERS, {"email": "first@example.com", "first_name": "Known"}], None),
        ([*NEWCOMERS, {"email": "A@example.com", "last_name": "Twice"}], None),
        ([*NEWCOMERS, {"email": "bounced@example.com"}], None),
        (NEWCOMERS, 5),
        (NEWCOMERS, 9),
    ],
    ids=["one is known", "one comes twice", "one bounced before", "the plan is full", "just enough room"],
)
async def test_a_sheet_with_others_among_them_leaves_the_same_both_ways(
    make_audience: MakeAudience, rows: list[Any], limit: int | None
) -> None:
    one, other = await make_audience(limit=limit), await make_audience(limit=limit)

    told = await one.sheet_straight(rows)

    assert told is not None
    assert told == await other.sheet_step_by_step(rows)
    assert await one.books() == await other.books()


async def test_a_sheet_with_a_strange_text_goes_the_long_way_and_nothing_is_written(
    make_audience: MakeAudience,
) -> None:
    one = await make_audience()
    before = await one.books()
    strange = {"email": "strange@example.com", "consent": {"source": "form", "text": "a\x1fb"}}

    assert await one.sheet_straight([*NEWCOMERS, strange]) is None

    assert await one.books() == before


async def test_a_full_plan_refuses_the_same_calls(make_audience: MakeAudience) -> None:
    one, other = await make_audience(limit=4), await make_audience(limit=4)

    told = await one.straight(PLAIN)

    assert told == await other.step_by_step(PLAIN)
    assert told.count("no") == 2
    assert await one.books() == await other.books()


@pytest.mark.parametrize(
    "case",
    [
        *("comes back", "left before there was a row", "is erased", "was erased and agreed"),
        *("has a new field", "has a strange text"),
    ],
)
async def test_what_is_rare_goes_the_long_way_and_nothing_is_written(
    make_audience: MakeAudience, runtime: Runtime, case: str
) -> None:
    one = await make_audience()
    body: dict[str, Any] = {"email": "first@example.com"}
    async with runtime.db.unit_of_work() as session:
        row = (
            await session.scalars(select(Subscriber).where(Subscriber.list_id == one.target.list_id))
        ).one()
        if case == "comes back":
            await service.unsubscribe(
                session, one.target.project, source="api", key_id=KEY, subscriber_id=row.id
            )
        elif case == "left before there was a row":
            body = {"email": "left@example.com"}
            await suppressions.suppress(
                session,
                project_id=one.target.project.id,
                scope=suppressed.list_scope(one.target.list_id),
                address_keys=["left@example.com"],
                reason=Reason.unsubscribe,
                source="test",
            )
        elif case in ("is erased", "was erased and agreed"):
            await service.erase(session, runtime.vault, one.target.project, row.id, key_id=KEY)
    if case == "was erased and agreed":
        # On the list again already, while the stone of the erasure is still there.
        for _ in range(2):
            await one.step_by_step([body])
        body = body | {"consent": {"source": "form"}}
    elif case == "has a new field":
        body = body | {"custom_fields": {"unheard_of": 1}}
    elif case == "has a strange text":
        body = {"email": "strange@example.com", "consent": {"source": "form", "text": "a\x1fb"}}
    before = await one.books()

    assert await one.straight([{"email": "other@example.com"}, body]) is None

    assert await one.books() == before


async def test_a_list_that_is_gone_has_no_straight_way(make_audience: MakeAudience) -> None:
    one = await make_audience()
    one.target = Target(one.target.project, ids.uuid7(), None, KEY, Resubscribe.allow)
    assert await one.straight([{"email": "x@example.com"}]) is None
