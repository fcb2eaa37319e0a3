"""Conditions mean the same to the database at hand as to a plain reading of them in Python."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, false, update

from newsletter.accounts.project import Project
from newsletter.audience.conditions import Condition, matching
from newsletter.audience.models import Subscriber
from newsletter.kit import ids
from newsletter.kit.db import Database
from tests.client import Client
from tests.mailbox import subscribed_list

CONDITIONS, PEOPLE = 300, 80
WORDS = [
    "Paris",
    "paris",
    "Élysée",
    "100%",
    "1000",
    "%",
    "a_b",
    "axb",
    "true",
    "3",
    "'",
    '"',
    "\\",
    "Ωμέγα",
    "/x",
    " ",
]
NUMBERS = [0, 1, -1, 3, 0.5, -2.25, 2**53, -(2**53), 1e-9]
VALUES = [*WORDS, *NUMBERS, True, False]
CUSTOM, BUILT_IN = ["city", "orders", "is_member"], ["first_name", "last_name", "locale", "timezone"]
NAMES = [*CUSTOM, "nobody_has_it", *BUILT_IN]
TAGS = ["vip", "VIP", "100%", "Ω"]
DOMAINS = ["example.com", "mail.example.com", "xn--bcher-kva.example", "x.test"]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MOMENTS = [NOW - timedelta(days=days) for days in (0, 1, 30, 400)]

values = st.sampled_from(VALUES)
said = st.one_of(
    st.builds(lambda value: {"equals": value}, values),
    st.builds(lambda some: {"one_of": some}, st.lists(values, min_size=1, max_size=5)),
    st.builds(
        lambda how, word: {how: word}, st.sampled_from(["contains", "starts_with"]), st.sampled_from(WORDS)
    ),
    st.builds(
        lambda how, number: {how: number}, st.sampled_from(["above", "below"]), st.sampled_from(NUMBERS)
    ),
    st.builds(lambda known: {"is_set": known}, st.booleans()),
)
when = st.builds(
    lambda how, at: {how: at.isoformat()}, st.sampled_from(["before", "after"]), st.sampled_from(MOMENTS)
)
leaves = st.one_of(
    st.builds(lambda tag: {"tag": tag}, st.sampled_from(TAGS)),
    st.builds(lambda name, what: {"field": {"name": name, **what}}, st.sampled_from(NAMES), said),
    st.builds(lambda name, what: {name: what}, st.sampled_from(["created_at", "subscribed_at"]), when),
    st.builds(lambda domain: {"domain": domain}, st.sampled_from(DOMAINS)),
    st.builds(lambda status: {"status": status}, st.sampled_from(["active", "unsubscribed"])),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda how, parts: {how: parts},
        st.sampled_from(["all", "any", "none"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)
people = st.fixed_dictionaries(
    {"domain": st.sampled_from(DOMAINS), "created_at": st.sampled_from(MOMENTS)},
    optional={
        "first_name": st.sampled_from([word for word in WORDS if word.strip()]),
        "last_name": st.sampled_from(["Paris", "True"]),
        "locale": st.sampled_from(["de", "de-AT", "en"]),
        "timezone": st.sampled_from(["Europe/Paris", "UTC"]),
        "tags": st.lists(st.sampled_from(TAGS), max_size=3, unique=True),
        "custom_fields": st.dictionaries(st.sampled_from(CUSTOM), values),
        "subscribed_at": st.sampled_from(MOMENTS),
    },
)


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many, the same in each run."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(one: Any) -> None:
        found.append(one)

    collect()
    return found


def holds(condition: dict[str, Any], person: dict[str, Any]) -> bool:
    """The condition, read as `docs/segments.md` describes it."""
    ((member, value),) = condition.items()
    match member:
        case "all":
            return all(holds(part, person) for part in value)
        case "any":
            return any(holds(part, person) for part in value)
        case "none":
            return not any(holds(part, person) for part in value)
        case "tag":
            return value in person["tags"]
        case "domain":
            return bool(person["domain"] == value)
        case "status":
            return bool(value == "active")
        case "field":
            known = person["custom_fields"] | {name: person.get(name) for name in BUILT_IN}
            return says(value, known.get(value["name"]))
    at = person[member]
    if at is None:
        return False
    ((how, moment),) = value.items()
    return bool(
        at < datetime.fromisoformat(moment) if how == "before" else at > datetime.fromisoformat(moment)
    )


def says(wanted: dict[str, Any], value: Any) -> bool:
    ((how, asked),) = [(how, asked) for how, asked in wanted.items() if how != "name"]
    match how:
        case "is_set":
            return bool(asked == (value is not None))
        case "equals":
            return same(value, asked)
        case "one_of":
            return any(same(value, each) for each in asked)
        case "contains":
            return isinstance(value, str) and asked.lower() in value.lower()
        case "starts_with":
            return isinstance(value, str) and value.lower().startswith(asked.lower())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return bool(value > asked if how == "above" else value < asked)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or isinstance(one, str) or isinstance(other, str):
        return type(one) is type(other) and bool(one == other)
    return bool(one == other)


def nobody(*_: object) -> ColumnElement[bool]:
    return false()


@pytest.fixture
async def everybody(
    client: Client, db: Database, project: Project
) -> tuple[UUID, dict[UUID, dict[str, Any]]]:
    """The list, and what is known of each on it."""
    made = await subscribed_list(client)
    key = ids.private("lst", made)
    rows, times = [], []
    for number, person in enumerate(drawn(people, PEOPLE)):
        email = f"p{number}@{person.pop('domain')}"
        times.append((email, person.pop("created_at"), person.pop("subscribed_at", None)))
        rows.append({"email": email} | person)
    batch = {"list_id": made, "subscribers": rows}
    done = await client.data("POST", "/subscribers/batch", json=batch)
    assert done["created"] == len(rows)
    async with db.unit_of_work() as session:
        for email, created_at, subscribed_at in times:
            theirs = update(Subscriber).where(Subscriber.list_id == key, Subscriber.email == email)
            await session.execute(theirs.values(created_at=created_at, subscribed_at=subscribed_at))
    known = {}
    for page in (1, 2):
        query = {"list_id": made, "per_page": 50, "page": page}
        for row in await client.data("GET", "/subscribers", params=query):
            moments = {
                name: row[name] and datetime.fromisoformat(row[name])
                for name in ("created_at", "subscribed_at")
            }
            domain = row["email"].rpartition("@")[2]
            known[ids.private("sub", row["id"])] = row | moments | {"domain": domain}
    assert len(known) == len(rows)
    return key, known


async def test_what_the_database_finds_is_whom_the_words_mean(
    db: Database, project: Project, everybody: tuple[UUID, dict[UUID, dict[str, Any]]]
) -> None:
    list_id, known = everybody
    sizes = set()
    async with db.read() as session:
        for written in drawn(trees, CONDITIONS):
            condition = Condition.model_validate(written)
            found = set(await session.scalars(matching(session, project, list_id, condition, nobody)))
            assert found == {each for each, person in known.items() if holds(written, person)}, written
            sizes.add(len(found))
    assert len(sizes) > 10  # Else they would all mean nobody, or everybody.
