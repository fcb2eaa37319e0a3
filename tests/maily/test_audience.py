"""Lists and subscribers."""

from typing import Any

from tests.client import Client

SUBSCRIBER = {
    "id": str,
    "list_id": str,
    "email": str,
    "first_name": (str, type(None)),
    "last_name": (str, type(None)),
    "status": str,
    "subscribed_at": str,
    "unsubscribed_at": (str, type(None)),
}


def is_shaped(value: dict[str, Any], shape: dict[str, Any]) -> bool:
    return all(name in value and isinstance(value[name], kind) for name, kind in shape.items())


async def subscribe(client: Client, list_id: str, email: str, **fields: object) -> Any:
    body = {"email": email, "list_id": list_id, **fields}
    return await client.data("POST", "/subscribers", 201, json=body)


async def test_list_all_lists(client: Client, newsletter_list: Any, list_id: str) -> None:
    for name in ("alice", "bob", "carol"):
        await subscribe(client, list_id, f"{name}@example.com")
    await client.request("DELETE", "/subscribers/carol@example.com")

    [row] = await client.data("GET", "/lists")

    assert row["id"] == list_id
    assert row["name"] == "Newsletter"
    assert row["description"] is None
    assert (row["total_subscribers"], row["active_subscribers"]) == (3, 2)
    assert row["created_at"] == newsletter_list["created_at"]


async def test_list_subscribers(client: Client, list_id: str) -> None:
    other = await client.data("POST", "/lists", 201, json={"name": "Other"})
    await subscribe(client, list_id, "alice@example.com", first_name="Alice")
    await subscribe(client, list_id, "bob@example.com", last_name="Alison")
    await subscribe(client, other["id"], "carol@example.com")
    await client.request("DELETE", "/subscribers/bob@example.com")

    answer = (await client.get("/subscribers", params={"list_id": list_id})).json()
    assert {row["email"] for row in answer["data"]} == {"alice@example.com", "bob@example.com"}
    assert all(is_shaped(row, SUBSCRIBER) for row in answer["data"])
    meta = {name: answer["meta"][name] for name in ("current_page", "per_page", "last_page", "total")}
    assert meta == {"current_page": 1, "per_page": 50, "last_page": 1, "total": 2}

    for query, emails in (
        ({"status": "unsubscribed"}, {"bob@example.com"}),
        ({"search": "ali"}, {"alice@example.com", "bob@example.com"}),
        ({"search": "carol"}, {"carol@example.com"}),
    ):
        assert {row["email"] for row in await client.data("GET", "/subscribers", params=query)} == emails
    page = (await client.get("/subscribers", params={"per_page": 2, "page": 2})).json()
    assert len(page["data"]) == 1
    assert (page["meta"]["last_page"], page["meta"]["total"]) == (2, 3)
    for wrong in ({"per_page": 101}, {"per_page": 0}, {"status": "gone"}):
        await client.expect_error("GET", "/subscribers", 422, "validation_failed", params=wrong)


async def test_create_a_subscriber(client: Client, list_id: str) -> None:
    body = {"email": "alice@example.com", "list_id": list_id, "first_name": "Alice"}
    made = await client.data("POST", "/subscribers", 201, json=body)
    assert is_shaped(made, SUBSCRIBER)
    assert (made["status"], made["unsubscribed_at"]) == ("active", None)
    [listed] = await client.data("GET", "/subscribers")
    assert listed == made

    again = await client.data("POST", "/subscribers", 200, json=body)
    assert again["id"] == made["id"]

    await client.request("DELETE", "/subscribers/alice@example.com")
    back = await client.data("POST", "/subscribers", 200, json=body)
    assert (back["id"], back["status"]) == (made["id"], "active")


async def test_batch_upsert_subscribers(client: Client, list_id: str) -> None:
    await subscribe(client, list_id, "bob@example.com")
    await subscribe(client, list_id, "carol@example.com")
    await client.request("DELETE", "/subscribers/carol@example.com")
    rows = [
        {"email": "alice@example.com", "first_name": "Alice", "tags": ["imported"]},
        {"email": "bob@example.com", "first_name": "Bob"},
        {"email": "carol@example.com"},
        {"email": "bad@"},
        {"email": "not-an-email"},
    ]

    response = await client.post("/subscribers/batch", json={"list_id": list_id, "subscribers": rows})

    assert response.status_code == 200
    assert response.json() == {
        "data": {
            "list_id": list_id,
            "created": 1,
            "updated": 2,
            "reactivated": 1,
            "invalid": 2,
            "skipped_over_cap": 0,
            "invalid_examples": ["bad@", "not-an-email"],
        },
        "meta": {"received": 5, "processed": 3},
    }
    [alice] = await client.data("GET", "/subscribers", params={"search": "alice"})
    assert alice["tags"] == ["imported"]
    for wrong in ([], [{"email": f"{n}@example.com"} for n in range(1001)]):
        body = {"list_id": list_id, "subscribers": wrong}
        await client.expect_error("POST", "/subscribers/batch", 422, "validation_failed", json=body)


async def test_unsubscribe(client: Client, list_id: str) -> None:
    other = await client.data("POST", "/lists", 201, json={"name": "Other"})
    for each in (list_id, other["id"]):
        await subscribe(client, each, "alice@example.com")

    async def statuses() -> dict[str, str]:
        rows = await client.data("GET", "/subscribers", params={"search": "alice@example.com"})
        return {row["list_id"]: row["status"] for row in rows}

    path = "/subscribers/alice@example.com"
    assert (await client.delete(path, params={"list_id": list_id})).status_code == 204
    assert await statuses() == {list_id: "unsubscribed", other["id"]: "active"}
    everywhere = await client.delete(path)
    assert (everywhere.status_code, everywhere.content) == (204, b"")
    assert set((await statuses()).values()) == {"unsubscribed"}
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete("/subscribers/nobody@example.com")).status_code == 204
