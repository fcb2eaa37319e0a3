"""Conditions, as the database at hand understands them."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from sqlalchemy import ColumnElement, false

from newsletter.accounts.project import Project
from newsletter.audience.conditions import Condition, matching
from newsletter.kit import ids
from newsletter.kit.db import Database
from tests.client import Client
from tests.mailbox import subscribed_list

PEOPLE: dict[str, dict[str, Any]] = {
    "Ada": {"tags": ["vip", "early"], "custom_fields": {"orders": 3, "city": "Paris", "is_member": True}},
    "Grace": {"tags": ["early"], "custom_fields": {"orders": 0.5, "city": "100% Oslo", "is_member": False}},
    "Marie": {"custom_fields": {"orders": "3", "city": 7, "is_member": "true"}},
    "Lise": {"custom_fields": {"points": 10**900}},
}


@pytest.fixture
async def list_id(client: Client) -> str:
    made = await subscribed_list(client)
    for name, fields in PEOPLE.items():
        body = {"list_id": made, "email": f"{name.lower()}@example.com", "first_name": name, **fields}
        await client.data("POST", "/subscribers", 201, json=body)
    return made


def nobody(*_: object) -> ColumnElement[bool]:
    return false()


def field(name: str, **said: Any) -> dict[str, Any]:
    return {"field": {"name": name, **said}}


async def test_each_condition_is_true_of_whom_it_says(
    client: Client, db: Database, project: Project, list_id: str
) -> None:
    other = await subscribed_list(client, "Ada", "Grace")
    await client.delete(f"/subscribers/grace@example.com?list_id={other}")
    key, everybody = ids.private("lst", list_id), set(PEOPLE)
    people = await client.data("GET", "/subscribers", params={"list_id": list_id})
    names = {ids.private("sub", each["id"]): each["first_name"] for each in people}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"tag": "vip"}, {"Ada"}),
        ({"tag": "vi"}, set()),
        ({"list_id": other}, {"Ada"}),
        (field("orders", equals=3), {"Ada"}),
        (field("orders", equals="3"), {"Marie"}),
        (field("orders", above=0.25), {"Ada", "Grace"}),
        (field("orders", below=1), {"Grace"}),
        (field("points", above=2**53), {"Lise"}),
        (field("points", below=-(2**53)), set()),
        (field("city", equals="Paris"), {"Ada"}),
        (field("city", equals="paris"), set()),
        (field("city", contains="PAR"), {"Ada"}),
        (field("city", contains="0% o"), {"Grace"}),
        (field("city", contains="_"), set()),
        (field("city", is_set=True), {"Ada", "Grace", "Marie"}),
        (field("city", is_set=False), {"Lise"}),
        (field("is_member", equals=True), {"Ada"}),
        (field("is_member", equals=False), {"Grace"}),
        (field("is_member", equals="true"), {"Marie"}),
        (field("nobody_has_it", equals=1), set()),
        (field("email", contains="@EXAMPLE.com"), everybody),
        (field("first_name", equals="Lise"), {"Lise"}),
        (field("first_name", equals=1), set()),
        (field("locale", is_set=True), set()),
        ({"all": [{"tag": "early"}, field("orders", above=1)]}, {"Ada"}),
        ({"any": [{"tag": "vip"}, field("city", equals=7)]}, {"Ada", "Marie"}),
        ({"none": [{"tag": "early"}]}, {"Marie", "Lise"}),
        ({"none": [field("orders", above=1), field("city", is_set=False)]}, {"Grace", "Marie"}),
        ({"all": [{"none": [{"tag": "vip"}]}, {"any": [{"tag": "early"}]}]}, {"Grace"}),
        ({"status": "active"}, everybody),
        ({"status": "unsubscribed"}, set()),
        ({"created_at": {"within_days": 1}}, everybody),
        ({"created_at": {"before": "2020-01-01T00:00:00Z"}}, set()),
        ({"subscribed_at": {"after": "2020-01-01T00:00:00Z"}}, everybody),
        ({"domain": "EXAMPLE.com"}, everybody),
        ({"domain": "ample.com"}, set()),
        (field("city", one_of=["Paris", 7, True]), {"Ada", "Marie"}),
        (field("orders", one_of=[0.5, "3"]), {"Grace", "Marie"}),
        (field("city", starts_with="100% o"), {"Grace"}),
        (field("city", starts_with="%"), set()),
        ({"none": [field("city", one_of=["Paris"])]}, everybody - {"Ada"}),
        ({"opened": {"step": "hello"}}, set()),
    ]
    async with db.read() as session:
        for case, expected in cases:
            condition = Condition.model_validate(case)
            found: set[UUID] = set(await session.scalars(matching(session, project, key, condition, nobody)))
            assert {names[each] for each in found} == expected, case
            some = list(names)[:2]
            chosen = matching(session, project, key, condition, nobody, subscriber_ids=some)
            assert set(await session.scalars(chosen)) == found & set(some), case
        assert len((await session.scalars(matching(session, project, key, None, nobody))).all()) == 4


async def test_who_is_not_active_or_of_another_project_meets_nothing(
    client: Client, db: Database, project: Project, list_id: str
) -> None:
    await client.delete(f"/subscribers/ada@example.com?list_id={list_id}")
    stranger = Project(ids.uuid7(), project.account_id, project.is_test)
    key = ids.private("lst", list_id)
    async with db.read() as session:
        assert len((await session.scalars(matching(session, project, key, None, nobody))).all()) == 3
        assert (await session.scalars(matching(session, stranger, key, None, nobody))).all() == []


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"tag": "a", "list_id": "lst_01k9x3v7m8e5tbn2c4r6p0qzaw"},
        {"tag": None},
        {"all": []},
        {"any": [{}]},
        {"list_id": "sub_01k9x3v7m8e5tbn2c4r6p0qzaw"},
        {"field": {"name": "city"}},
        {"field": {"name": "city", "equals": 1, "above": 2}},
        {"field": {"name": "Not a name", "is_set": True}},
        {"field": {"name": "city\"') --", "is_set": True}},
        {"field": {"name": "city", "above": "3"}},
        {"field": {"name": "city", "above": float("inf")}},
        {"field": {"name": "city", "equals": 10**40}},
        {"opened": {}},
        {"opened": {"step": "a", "campaign_id": "cmp_01k9x3v7m8e5tbn2c4r6p0qzaw"}},
        {"clicked": {"step": "a", "days": 0}},
        {"status": "asleep"},
        {"created_at": {}},
        {"created_at": {"within_days": 0}},
        {"created_at": {"before": "2026-11-21"}},
        {"subscribed_at": {"before": "2026-11-21T09:00:00Z", "within_days": 3}},
        {"domain": "no domain"},
        {"field": {"name": "city", "one_of": []}},
        {"field": {"name": "city", "one_of": ["Paris"] * 101}},
        {"field": {"name": "city", "one_of": ["Par\0is"]}},
        {"field": {"name": "city", "starts_with": "Par\0is"}},
    ],
)
def test_what_says_nothing_or_two_things_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate(bad)


def test_a_condition_is_shown_as_it_was_written() -> None:
    written = {"all": [{"tag": "vip"}, {"none": [{"field": {"name": "city", "equals": "Paris"}}]}]}
    condition = Condition.model_validate(written)
    assert condition.model_dump(mode="json") == written
    assert condition.depth == 3
    assert [place for place, _ in condition.each("when")] == [
        "when",
        "when.all.0",
        "when.all.1",
        "when.all.1.none.0",
    ]
