"""POST, PUT and PATCH of one subscriber."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.audience.conftest import Events, MakeList
from tests.client import Client

Counted = Callable[[], Awaitable[int]]
Suppressed = Callable[[], Awaitable[set[tuple[str, str, str]]]]

CONSENT = {
    "source": "signup form",
    "ip": "192.0.2.7",
    "text": "Yes, send me news",
    "at": "2026-01-02T03:04:05Z",
}


async def add(client: Client, list_id: str, email: str = "alice@example.com", **fields: Any) -> Any:
    return (await client.post("/subscribers", json={"email": email, "list_id": list_id, **fields})).json()[
        "data"
    ]


async def history(client: Client, subscriber_id: str) -> list[Any]:
    """Oldest first."""
    return list(reversed(await client.data("GET", f"/subscribers/{subscriber_id}/consents")))


async def test_create_a_subscriber(client: Client, list_id: str, events: Events, counted: Counted) -> None:
    body = {
        "email": "Alice@Example.com",
        "list_id": list_id,
        "first_name": "Alice",
        "tags": ["vip", "b", "vip"],
        "custom_fields": {"plan": "Pro", "age": 41, "score": 1.5, "is_beta": True, "nothing": None},
        "locale": "pt-BR",
        "timezone": "Europe/Lisbon",
    }
    made = await client.data("POST", "/subscribers", 201, json=body)
    assert made["id"].startswith("sub_")
    assert (made["email"], made["status"], made["list_id"]) == ("Alice@Example.com", "active", list_id)
    assert made["tags"] == ["vip", "b"]
    assert made["custom_fields"] == {"plan": "Pro", "age": 41, "score": 1.5, "is_beta": True}
    assert made["subscribed_at"].endswith("Z")
    assert made["unsubscribed_at"] is None
    assert await client.data("GET", f"/subscribers/{made['id']}") == made
    assert await events() == [("subscriber.created", "Alice@Example.com")]
    assert await counted() == 1


async def test_posting_again_returns_the_known_one_updated(
    client: Client, list_id: str, events: Events, counted: Counted
) -> None:
    first = await add(client, list_id, "Alice@Example.com", first_name="Alice", tags=["vip"])
    body = {"email": "alice@EXAMPLE.com", "list_id": list_id, "last_name": "Liddell"}
    again = await client.data("POST", "/subscribers", 200, json=body)
    assert again["id"] == first["id"]
    assert again["email"] == "Alice@Example.com"
    assert (again["first_name"], again["last_name"], again["tags"]) == ("Alice", "Liddell", ["vip"])
    assert len(await events()) == 1
    assert await counted() == 1
    assert len(await history(client, first["id"])) == 1


async def test_addresses_are_equal_by_their_normal_form(client: Client, list_id: str) -> None:
    first = await add(client, list_id, "jos\u00e9@b\u00fccher.example")
    again = await client.data(
        "POST", "/subscribers", 200, json={"email": "Jose\u0301@xn--bcher-kva.example", "list_id": list_id}
    )
    assert again["id"] == first["id"]
    assert again["email"] == "jos\u00e9@b\u00fccher.example"


async def test_the_list_in_the_path_serves_as_well(client: Client, list_id: str) -> None:
    path = f"/lists/{list_id}/subscribers"
    made = await client.data("POST", path, 201, json={"email": "alice@example.com"})
    assert made["list_id"] == list_id
    assert (await client.data("POST", path, 200, json={"email": "alice@example.com"}))["id"] == made["id"]


async def test_post_reactivates_and_records_the_key(
    client: Client, list_id: str, events: Events, counted: Counted, suppressed: Suppressed
) -> None:
    first = await add(client, list_id)
    await client.delete("/subscribers/alice@example.com")
    assert await suppressed() == {("list", "alice@example.com", "unsubscribe")}
    again = await client.data(
        "POST", "/subscribers", 200, json={"email": "alice@example.com", "list_id": list_id}
    )
    assert (again["id"], again["status"], again["unsubscribed_at"]) == (first["id"], "active", None)
    assert await suppressed() == set()
    assert await counted() == 1
    actions = await history(client, first["id"])
    assert [row["action"] for row in actions] == ["subscribed", "unsubscribed", "resubscribed"]
    assert {row["source"] for row in actions} == {"api"}
    assert all(row["key_id"].startswith("key_") for row in actions)
    assert [kind for kind, _ in await events()] == ["subscriber.created", "subscriber.unsubscribed"]


async def test_consent_is_kept_as_it_was_shown(client: Client, list_id: str) -> None:
    made = await add(client, list_id, consent=CONSENT)
    [row] = await history(client, made["id"])
    assert row | CONSENT == row
    assert row["action"] == "subscribed"


async def test_require_consent_updates_without_it_and_reactivates_with_it(
    client: Client, list_id: str
) -> None:
    await client.data("PATCH", "/project", json={"resubscribe": "require_consent"})
    made = await add(client, list_id)
    await client.delete("/subscribers/alice@example.com")
    body = {"email": "alice@example.com", "list_id": list_id, "first_name": "Alice"}
    without = await client.data("POST", "/subscribers", 200, json=body)
    assert (without["status"], without["first_name"]) == ("unsubscribed", "Alice")
    assert [row["action"] for row in await history(client, made["id"])] == ["subscribed", "unsubscribed"]
    with_it = await client.data("POST", "/subscribers", 200, json={**body, "consent": CONSENT})
    assert with_it["status"] == "active"
    last = (await history(client, made["id"]))[-1]
    assert (last["action"], last["text"], last["ip"]) == ("resubscribed", CONSENT["text"], CONSENT["ip"])


async def test_put_and_patch_leave_the_status_alone(client: Client, list_id: str) -> None:
    made = await add(client, list_id)
    await client.delete("/subscribers/alice@example.com")
    body = {"email": "alice@example.com", "list_id": list_id, "first_name": "A"}
    assert (await client.data("PUT", "/subscribers", 200, json=body))["status"] == "unsubscribed"
    patched = await client.data("PATCH", f"/subscribers/{made['id']}", json={"first_name": "B"})
    assert (patched["status"], patched["first_name"]) == ("unsubscribed", "B")


async def test_put_creates_with_an_event(client: Client, list_id: str, events: Events) -> None:
    body = {"email": "alice@example.com", "list_id": list_id}
    assert (await client.data("PUT", "/subscribers", 201, json=body))["status"] == "active"
    assert await events() == [("subscriber.created", "alice@example.com")]


async def test_put_brings_in_an_old_unsubscribe(
    client: Client, list_id: str, counted: Counted, suppressed: Suppressed
) -> None:
    body = {"email": "alice@example.com", "list_id": list_id, "status": "unsubscribed"}
    made = await client.data("PUT", "/subscribers", 201, json=body)
    assert (made["status"], made["subscribed_at"]) == ("unsubscribed", None)
    assert made["unsubscribed_at"]
    assert await counted() == 0
    assert await suppressed() == {("list", "alice@example.com", "unsubscribe")}
    assert [row["action"] for row in await history(client, made["id"])] == ["unsubscribed"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_status_that_is_sent_is_carried_out(
    client: Client, list_id: str, events: Events, counted: Counted, method: str
) -> None:
    made = await add(client, list_id)
    path = "/subscribers" if method == "PUT" else f"/subscribers/{made['id']}"
    body = {"email": "alice@example.com", "list_id": list_id} if method == "PUT" else {}
    for status, count in (("unsubscribed", 0), ("unsubscribed", 0), ("active", 1), ("bounced", 0)):
        shown = await client.data(method, path, 200, json={**body, "status": status})
        assert shown["status"] == status
        assert await client.data("GET", f"/subscribers/{made['id']}") == shown
        assert await counted() == count
    kinds = [kind.removeprefix("subscriber.") for kind, _ in await events()]
    assert kinds == ["created", "unsubscribed", "bounced"]
    actions = [row["action"] for row in await history(client, made["id"])]
    assert actions == ["subscribed", "unsubscribed", "resubscribed", "bounced"]


@pytest.mark.parametrize("status", ["bounced", "complained"])
async def test_an_upsert_never_reactivates_who_bounced_or_complained(
    client: Client, list_id: str, make_list: MakeList, status: str
) -> None:
    made = await add(client, list_id)
    await client.data("PATCH", f"/subscribers/{made['id']}", json={"status": status})
    body = {"email": "alice@example.com", "list_id": list_id, "first_name": "A", "consent": CONSENT}
    again = await client.data("POST", "/subscribers", 200, json=body)
    assert (again["status"], again["first_name"]) == (status, "A")
    await client.data(
        "POST", "/subscribers/batch", json={"list_id": list_id, "subscribers": [{"email": made["email"]}]}
    )
    error = await client.expect_error(
        "PUT", "/subscribers", 422, "validation_failed", json={**body, "status": "active"}
    )
    assert list(error["errors"]) == ["status"]
    assert (await client.data("GET", f"/subscribers/{made['id']}"))["status"] == status
    elsewhere = await add(client, await make_list("Other"), consent=CONSENT)
    assert elsewhere["status"] == status


async def test_an_unsubscribe_does_not_hide_a_bounce(
    client: Client, list_id: str, suppressed: Suppressed
) -> None:
    made = await add(client, list_id)
    await client.data("PATCH", f"/subscribers/{made['id']}", json={"status": "bounced"})
    error = await client.expect_error(
        "PATCH", f"/subscribers/{made['id']}", 422, "validation_failed", json={"status": "unsubscribed"}
    )
    assert list(error["errors"]) == ["status"]
    await client.delete("/subscribers/alice@example.com")
    assert (await client.data("GET", f"/subscribers/{made['id']}"))["status"] == "bounced"
    assert ("list", "alice@example.com", "unsubscribe") in await suppressed()


async def test_a_patch_corrects_a_wrong_bounce(client: Client, list_id: str, suppressed: Suppressed) -> None:
    made = await add(client, list_id)
    path = f"/subscribers/{made['id']}"
    await client.data("PATCH", path, json={"status": "bounced"})
    assert await suppressed() == {("project", "alice@example.com", "hard_bounce")}
    assert (await client.data("PATCH", path, json={"status": "active"}))["status"] == "active"
    assert await suppressed() == set()


async def test_a_patch_reactivates_after_a_complaint_only_with_consent(
    client: Client, list_id: str, suppressed: Suppressed
) -> None:
    made = await add(client, list_id)
    path = f"/subscribers/{made['id']}"
    await client.data("PATCH", path, json={"status": "complained"})
    error = await client.expect_error("PATCH", path, 422, "validation_failed", json={"status": "active"})
    assert list(error["errors"]) == ["consent"]
    assert await suppressed() == {("project", "alice@example.com", "complaint")}
    body = {"status": "active", "consent": CONSENT}
    assert (await client.data("PATCH", path, json=body))["status"] == "active"
    assert await suppressed() == set()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_an_active_that_the_project_refuses_says_so_and_changes_nothing(
    client: Client, list_id: str, method: str
) -> None:
    await client.data("PATCH", "/project", json={"resubscribe": "require_consent"})
    made = await add(client, list_id)
    await client.delete("/subscribers/alice@example.com")
    path = "/subscribers" if method == "PUT" else f"/subscribers/{made['id']}"
    body = {"email": "alice@example.com", "list_id": list_id} if method == "PUT" else {}
    body |= {"status": "active", "first_name": "New"}
    error = await client.expect_error(method, path, 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["consent"]
    assert (await client.data("GET", f"/subscribers/{made['id']}"))["first_name"] is None
    shown = await client.data(method, path, 200, json={**body, "consent": CONSENT})
    assert (shown["status"], shown["first_name"]) == ("active", "New")


async def test_custom_fields_are_merged_and_tags_replaced(client: Client, list_id: str) -> None:
    made = await add(client, list_id, tags=["a", "b"], custom_fields={"plan": "Pro", "age": 1})
    body = {"tags": ["c"], "custom_fields": {"plan": None, "city": "Bonn"}}
    after = await client.data("PATCH", f"/subscribers/{made['id']}", json=body)
    assert after["tags"] == ["c"]
    assert after["custom_fields"] == {"age": 1, "city": "Bonn"}
    same = await client.data("PATCH", f"/subscribers/{made['id']}", json={"custom_fields": {"age": True}})
    assert same["custom_fields"]["age"] is True
    nulls = {"tags": None, "custom_fields": None, "first_name": None}
    cleared = await client.data("PATCH", f"/subscribers/{made['id']}", json=nulls)
    assert (cleared["tags"], cleared["custom_fields"]) == ([], {})


async def test_bad_fields_are_named_at_once(client: Client, list_id: str) -> None:
    body = {
        "email": "not-an-email",
        "list_id": "lst_nope",
        "first_name": "Eve\r\nBcc: all@example.com",
        "last_name": "\u202egnirts",
        "tags": ["ok", ""],
        "custom_fields": {"Plan": "x"},
        "locale": "english!",
        "timezone": "Mars/Base",
        "consent": {"source": "x", "ip": "300.1.1.1", "at": "2026-01-01T00:00:00"},
        "status": "active",
    }
    error = await client.expect_error("POST", "/subscribers", 422, "validation_failed", json=body)
    assert {name.split(".")[0] for name in error["errors"]} == set(body)
    assert {"tags.1", "consent.ip", "consent.at"} <= set(error["errors"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "x"),
        ("unsubscribe_url", "x"),
        ("1st", "x"),
        ("Plan", "x"),
        ("a" * 51, "x"),
        ("plan", "x" * 1001),
        ("plan", 10**1001),
        ("plan", ["x"]),
        ("plan", {"a": 1}),
        ("plan", "a\u0000b"),
        ("plan", "a\u0007b"),
    ],
)
async def test_a_custom_field_that_cannot_be_kept_is_refused(
    client: Client, list_id: str, name: str, value: object
) -> None:
    body = {"email": "a@example.com", "list_id": list_id, "custom_fields": {name: value}}
    error = await client.expect_error("POST", "/subscribers", 422, "validation_failed", json=body)
    assert all(field.startswith("custom_fields") for field in error["errors"])


async def test_a_custom_field_may_be_long_and_have_lines(client: Client, list_id: str) -> None:
    fields = {"a" * 50: "x" * 1000, "note": "one\ntwo", "big": 10**20, "small": 1e-7}
    assert (await add(client, list_id, custom_fields=fields))["custom_fields"] == fields


async def test_a_project_has_a_hundred_custom_fields(client: Client, list_id: str) -> None:
    await add(client, list_id, custom_fields={f"f{number}": 1 for number in range(99)})
    body = {"email": "b@example.com", "list_id": list_id, "custom_fields": {"f0": 2, "f99": 1, "g": 1}}
    error = await client.expect_error("POST", "/subscribers", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["custom_fields.g"]
    body["custom_fields"] = {"f0": 2, "f99": 1, "g": None}
    await client.data("POST", "/subscribers", 201, json=body)


async def test_a_consent_of_tomorrow_is_refused(client: Client, list_id: str) -> None:
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"email": "a@example.com", "list_id": list_id, "consent": {"source": "form", "at": at}}
    error = await client.expect_error("POST", "/subscribers", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["consent.at"]


async def test_too_many_tags_are_refused(client: Client, list_id: str) -> None:
    body = {"email": "a@example.com", "list_id": list_id, "tags": [f"t{number}" for number in range(51)]}
    error = await client.expect_error("POST", "/subscribers", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["tags"]


async def test_pending_cannot_be_sent(client: Client, list_id: str) -> None:
    body = {"email": "a@example.com", "list_id": list_id, "status": "pending"}
    error = await client.expect_error("PUT", "/subscribers", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["status"]


async def test_an_idempotency_key_keeps_201_and_makes_one_event(
    client: Client, list_id: str, events: Events
) -> None:
    for _ in range(2):
        response = await client.post(
            "/subscribers",
            json={"email": "a@example.com", "list_id": list_id},
            headers={"Idempotency-Key": "abc"},
        )
        assert response.status_code == 201
    assert len(await events()) == 1
