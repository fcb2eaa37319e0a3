"""`GET /subscribers`: filters and both kinds of pages."""

from typing import Any

import pytest

from tests.audience.conftest import MakeList
from tests.client import Client


async def fill(client: Client, list_id: str, rows: list[dict[str, Any]]) -> None:
    body = {"list_id": list_id, "subscribers": rows}
    assert (await client.data("POST", "/subscribers/batch", json=body))["invalid"] == 0


async def emails(client: Client, **params: Any) -> list[str]:
    """The local parts that are found, sorted."""
    response = await client.get("/subscribers", params=params)
    assert response.status_code == 200, response.text
    return sorted(row["email"].partition("@")[0] for row in response.json()["data"])


async def test_list_subscribers_by_pages_of_fifty(client: Client, list_id: str) -> None:
    await fill(client, list_id, [{"email": f"u{number:02}@example.com"} for number in range(60)])
    first = (await client.get("/subscribers")).json()
    cursor = first["meta"].pop("next_cursor")
    assert first["meta"] == {"current_page": 1, "per_page": 50, "last_page": 2, "total": 60}
    assert [row["email"] for row in first["data"]][:2] == ["u59@example.com", "u58@example.com"]
    second = (await client.get("/subscribers", params={"page": 2})).json()
    assert len(second["data"]) == 10
    assert second["meta"]["next_cursor"] is None
    by_cursor = (await client.get("/subscribers", params={"cursor": cursor})).json()
    assert by_cursor["data"] == second["data"]
    assert by_cursor["meta"] == {"per_page": 50, "next_cursor": None}
    beyond = (await client.get("/subscribers", params={"page": 9})).json()
    assert beyond["data"] == []


async def test_a_cursor_walks_over_all_while_others_are_added(client: Client, list_id: str) -> None:
    await fill(client, list_id, [{"email": f"u{number}@example.com"} for number in range(25)])
    seen: list[str] = []
    params: dict[str, Any] = {"per_page": 10}
    for number in range(3):
        page = (await client.get("/subscribers", params=params)).json()
        seen += [row["email"] for row in page["data"]]
        params["cursor"] = page["meta"]["next_cursor"]
        await fill(client, list_id, [{"email": f"late{number}@example.com"}])
    assert params["cursor"] is None
    assert sorted(seen) == sorted(f"u{number}@example.com" for number in range(25))


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"per_page": 0}, {"per_page"}),
        ({"per_page": 101, "page": 0}, {"per_page", "page"}),
        ({"page": 1, "cursor": "0" * 32}, {"cursor"}),
        ({"cursor": "x"}, {"cursor"}),
        ({"status": "sleepy"}, {"status"}),
        ({"list_id": "1"}, {"list_id"}),
        ({"list_id": "lst_01k9x3v7m8e5tbn2c4r6p0qzaw"}, {"list_id"}),
        ({"search": "a\0b"}, {"search"}),
        ({"tag": "x" * 201}, {"tag"}),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    client: Client, params: dict[str, Any], fields: set[str]
) -> None:
    error = await client.expect_error("GET", "/subscribers", 422, "validation_failed", params=params)
    assert set(error["errors"]) == fields


async def test_filters_combine(client: Client, make_list: MakeList) -> None:
    one, two = await make_list("One"), await make_list("Two")
    await fill(client, one, [{"email": "a@example.com", "tags": ["vip"]}, {"email": "b@example.com"}])
    await fill(client, two, [{"email": "c@example.com", "tags": ["vip", "vip2"]}, {"email": "a@example.com"}])
    await client.delete("/subscribers/a@example.com", params={"list_id": one})
    assert await emails(client) == ["a", "a", "b", "c"]
    assert await emails(client, list_id=one) == ["a", "b"]
    assert await emails(client, status="active") == ["a", "b", "c"]
    assert await emails(client, tag="vip") == ["a", "c"]
    assert await emails(client, tag="vi") == []
    assert await emails(client, tag="vip", status="active") == ["c"]
    assert await emails(client, tag="vip", list_id=two, search="C@") == ["c"]


async def test_search_looks_into_addresses_and_names_without_case(client: Client, list_id: str) -> None:
    rows = [
        {"email": "one@example.com", "first_name": "Alice", "last_name": "Liddell"},
        {"email": "ALICE@example.org"},
        {"email": "two@example.com", "first_name": "Élodie"},
        {"email": "three@example.com", "last_name": "100%_done\\x"},
        {"email": "under_score@example.com"},
        {"email": "jürgen@example.com"},
    ]
    await fill(client, list_id, rows)
    assert await emails(client, search="alice") == ["ALICE", "one"]
    assert await emails(client, search="LIDD") == ["one"]
    assert await emails(client, search="alice lidd") == ["one"]
    assert await emails(client, search="élo") == ["two"]
    assert await emails(client, search="ÉLODIE") == ["two"]
    assert await emails(client, search="JÜRG") == ["jürgen"]
    assert await emails(client, search="%") == ["three"]
    assert await emails(client, search="r_s") == ["under_score"]
    assert await emails(client, search="E\\X") == ["three"]
    assert await emails(client, search="example.org") == ["ALICE"]
    assert await emails(client, search="'; DROP TABLE subscribers") == []
