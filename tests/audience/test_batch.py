"""`POST /subscribers/batch`."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event

from newsletter.kit.db import Database
from tests.audience.conftest import Events
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

Counted = Callable[[], Awaitable[int]]


async def batch(client: Client, list_id: str, rows: list[Any]) -> Any:
    response = await client.post("/subscribers/batch", json={"list_id": list_id, "subscribers": rows})
    assert response.status_code == 200, response.text
    answer = response.json()
    data, meta = answer["data"], answer["meta"]
    assert meta["processed"] == data["created"] + data["updated"]
    assert meta["received"] == meta["processed"] + data["invalid"] + data["skipped_over_cap"] == len(rows)
    assert data["reactivated"] <= data["updated"]
    return answer


def numbers(answer: Any) -> tuple[int, ...]:
    names = ("created", "updated", "reactivated", "invalid", "skipped_over_cap")
    return tuple(answer["data"][name] for name in names)


async def found(client: Client, **params: str) -> list[Any]:
    return list((await client.get("/subscribers", params=params)).json()["data"])


async def test_batch_upsert_subscribers(
    client: Client, list_id: str, events: Events, counted: Counted
) -> None:
    rows = [
        {"email": "alice@example.com", "first_name": "Alice", "tags": ["imported"]},
        {"email": "bob@example.com", "first_name": "Bob"},
    ]
    answer = await batch(client, list_id, rows)
    assert answer == {
        "data": {
            "list_id": list_id,
            "created": 2,
            "updated": 0,
            "reactivated": 0,
            "invalid": 0,
            "skipped_over_cap": 0,
            "invalid_examples": [],
        },
        "meta": {"received": 2, "processed": 2},
    }
    assert numbers(await batch(client, list_id, rows)) == (0, 2, 0, 0, 0)
    assert await events() == []
    assert await counted() == 2


async def test_a_bad_row_never_fails_the_batch(client: Client, list_id: str) -> None:
    rows: list[Any] = [
        None,
        7,
        "alice@example.com",
        [],
        {},
        {"email": None},
        {"email": "bad@"},
        {"email": "a@example.com", "unknown": 1},
        {"email": "a@example.com", "first_name": "x\ny"},
        {"email": "a@example.com", "custom_fields": {"Bad": 1}},
        {"email": "a@example.com", "tags": [f"t{number}" for number in range(51)]},
        {"email": "good@example.com"},
    ]
    answer = await batch(client, list_id, rows)
    assert numbers(answer) == (1, 0, 0, 11, 0)
    examples = answer["data"]["invalid_examples"]
    assert len(examples) == 10
    assert examples[:3] == ["null", "7", '"alice@example.com"']
    assert "bad@" in examples
    assert [row["email"] for row in await found(client)] == ["good@example.com"]


async def test_the_same_address_twice_is_merged_and_the_last_wins(client: Client, list_id: str) -> None:
    rows = [
        {"email": "Alice@example.com", "first_name": "A", "tags": ["x"], "custom_fields": {"a": 1, "b": 1}},
        {"email": "bob@example.com"},
        {"email": "alice@EXAMPLE.com", "first_name": "B", "custom_fields": {"b": 2, "c": None}},
        {"email": "alice@example.com", "last_name": "C"},
    ]
    assert numbers(await batch(client, list_id, rows)) == (2, 2, 0, 0, 0)
    [alice] = await found(client, search="alice")
    assert (alice["email"], alice["first_name"], alice["last_name"]) == ("Alice@example.com", "B", "C")
    assert (alice["tags"], alice["custom_fields"]) == (["x"], {"a": 1, "b": 2})


async def test_batch_reactivates_who_unsubscribed_and_nobody_else(
    client: Client, list_id: str, events: Events, counted: Counted
) -> None:
    people = [f"{name}@example.com" for name in ("left", "left2", "bounced", "complained", "active")]
    await batch(client, list_id, [{"email": email} for email in people])
    ids = {row["email"].partition("@")[0]: row["id"] for row in await found(client)}
    await client.delete("/subscribers/left@example.com")
    await client.delete("/subscribers/left2@example.com")
    for status in ("bounced", "complained"):
        await client.data("PATCH", f"/subscribers/{ids[status]}", json={"status": status})
    assert await counted() == 1
    before = len(await events())
    answer = await batch(client, list_id, [{"email": email} for email in [*people, "left@example.com"]])
    assert numbers(answer) == (0, 6, 2, 0, 0)
    after = {row["email"].partition("@")[0]: row["status"] for row in await found(client)}
    assert after == {
        "left": "active",
        "left2": "active",
        "bounced": "bounced",
        "complained": "complained",
        "active": "active",
    }
    assert await counted() == 3
    assert len(await events()) == before
    last = (await client.data("GET", f"/subscribers/{ids['left']}/consents"))[0]
    assert (last["action"], last["source"]) == ("resubscribed", "api")
    assert last["key_id"]


async def test_require_consent_holds_for_each_row(client: Client, list_id: str) -> None:
    await client.data("PATCH", "/project", json={"resubscribe": "require_consent"})
    people = ["a@example.com", "b@example.com"]
    await batch(client, list_id, [{"email": email} for email in people])
    for email in people:
        await client.delete(f"/subscribers/{email}")
    rows = [{"email": people[0], "first_name": "A"}, {"email": people[1], "consent": {"source": "form"}}]
    assert numbers(await batch(client, list_id, rows)) == (0, 2, 1, 0, 0)
    statuses = {row["email"]: (row["status"], row["first_name"]) for row in await found(client)}
    assert statuses == {people[0]: ("unsubscribed", "A"), people[1]: ("active", None)}


async def test_rows_that_the_plan_has_no_room_for_are_counted(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    client = await make_client(await make_project(plan="free"))
    list_id = (await client.data("POST", "/lists", 201, json={"name": "x"}))["id"]
    rows = [{"email": f"u{number}@example.com"} for number in range(498)]
    assert numbers(await batch(client, list_id, rows)) == (498, 0, 0, 0, 0)
    await client.delete("/subscribers/u0@example.com")
    await client.delete("/subscribers/u1@example.com")
    # 496 are counted, so four places are left.
    rows = [
        {"email": "new1@example.com"},
        {"email": "u0@example.com"},
        {"email": "u5@example.com", "first_name": "known"},
        {"email": "new2@example.com"},
        {"email": "bad"},
        {"email": "new3@example.com"},
        {"email": "new4@example.com"},
        {"email": "new4@example.com"},
        {"email": "u1@example.com", "first_name": "late"},
        {"email": "u6@example.com"},
    ]
    assert numbers(await batch(client, list_id, rows)) == (3, 3, 1, 1, 3)
    assert (await client.data("GET", "/account/usage"))["subscribers"]["used"] == 500
    late = (await client.get("/subscribers", params={"search": "u1@"})).json()["data"]
    assert [(row["status"], row["first_name"]) for row in late] == [("unsubscribed", None)]
    # What needs no place goes on.
    assert numbers(await batch(client, list_id, [{"email": "u7@example.com"}])) == (0, 1, 0, 0, 0)


async def test_custom_fields_beyond_the_hundredth_make_a_row_invalid(client: Client, list_id: str) -> None:
    rows = [{"email": f"u{number}@example.com", "custom_fields": {f"f{number}": 1}} for number in range(101)]
    rows.append({"email": "last@example.com", "custom_fields": {"f3": 1}})
    answer = await batch(client, list_id, rows)
    assert numbers(answer) == (101, 0, 0, 1, 0)
    assert answer["data"]["invalid_examples"] == ["u100@example.com"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"subscribers": []}, "subscribers"),
        ({"subscribers": {"email": "a@example.com"}}, "subscribers"),
        ({"subscribers": [{"email": "a@example.com"}] * 1001}, "subscribers"),
        ({}, "subscribers"),
        ({"subscribers": [{}], "list_id": "nope"}, "list_id"),
        ({"subscribers": [{}], "extra": 1}, "extra"),
    ],
)
async def test_what_is_no_batch_is_refused(
    client: Client, list_id: str, body: dict[str, Any], field: str
) -> None:
    error = await client.expect_error(
        "POST", "/subscribers/batch", 422, "validation_failed", json={"list_id": list_id, **body}
    )
    assert list(error["errors"]) == [field]


async def test_a_thousand_rows_take_few_statements(
    client: Client, list_id: str, db: Database, counted: Counted
) -> None:
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    rows = [
        {"email": f"u{number}@example.com", "first_name": "A", "custom_fields": {"n": number}}
        for number in range(1000)
    ]
    event.listen(db.engine.sync_engine, "before_cursor_execute", count)
    try:
        assert numbers(await batch(client, list_id, rows)) == (1000, 0, 0, 0, 0)
        for number, row in enumerate(rows):
            row["first_name" if number % 2 else "last_name"] = "B"
        assert numbers(await batch(client, list_id, rows)) == (0, 1000, 0, 0, 0)
    finally:
        event.remove(db.engine.sync_engine, "before_cursor_execute", count)
    assert statements < 60
    assert await counted() == 1000
    assert (await client.data("GET", f"/lists/{list_id}"))["active_subscribers"] == 1000
