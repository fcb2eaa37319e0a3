"""Lists over HTTP."""

from collections.abc import Awaitable, Callable

import httpx

from tests.client import Client
from tests.conftest import MakeClient, MakeProject

Counted = Callable[[], Awaitable[int]]


async def test_a_list_is_created_and_read(client: Client) -> None:
    made = await client.data("POST", "/lists", 201, json={"name": "Newsletter", "description": "Weekly"})
    assert made["id"].startswith("lst_")
    assert made["description"] == "Weekly"
    assert (made["opt_in"], made["total_subscribers"], made["active_subscribers"]) == ("single", 0, 0)
    assert await client.data("GET", f"/lists/{made['id']}") == made


async def test_lists_are_paged_by_twenty_the_newest_first(client: Client) -> None:
    for number in range(22):
        await client.data("POST", "/lists", 201, json={"name": f"List {number}"})
    first = (await client.get("/lists")).json()
    assert first["meta"] == {"current_page": 1, "per_page": 20, "last_page": 2, "total": 22}
    assert first["data"][0]["name"] == "List 21"
    second = (await client.get("/lists", params={"page": 2})).json()
    assert [row["name"] for row in second["data"]] == ["List 1", "List 0"]
    error = await client.expect_error("GET", "/lists?per_page=101&page=0", 422, "validation_failed")
    assert set(error["errors"]) == {"page", "per_page"}


async def test_a_list_counts_all_and_active_subscribers(client: Client, list_id: str) -> None:
    for name in ("a", "b", "c"):
        body = {"email": f"{name}@example.com", "list_id": list_id}
        await client.data("POST", "/subscribers", 201, json=body)
    await client.delete("/subscribers/a@example.com")
    shown = await client.data("GET", f"/lists/{list_id}")
    assert (shown["total_subscribers"], shown["active_subscribers"]) == (3, 2)


async def test_a_list_is_changed_field_by_field(client: Client, list_id: str) -> None:
    await client.data("PATCH", f"/lists/{list_id}", json={"description": "x"})
    after = await client.data("PATCH", f"/lists/{list_id}", json={"name": "New"})
    assert (after["name"], after["description"]) == ("New", "x")
    after = await client.data("PATCH", f"/lists/{list_id}", json={"description": None})
    assert (after["name"], after["description"]) == ("New", None)
    await client.expect_error("PATCH", f"/lists/{list_id}", 422, "validation_failed", json={"name": None})


async def test_double_opt_in_is_refused_by_name(client: Client) -> None:
    body = {"name": "x", "opt_in": "double"}
    error = await client.expect_error("POST", "/lists", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["opt_in"]
    assert (await client.get("/lists")).json()["meta"]["total"] == 0


async def test_deleting_a_list_takes_its_subscribers_and_gives_their_places_back(
    client: Client, list_id: str, counted: Counted
) -> None:
    sub = await client.data("POST", "/subscribers", 201, json={"email": "a@example.com", "list_id": list_id})
    await client.data("POST", "/subscribers", 201, json={"email": "b@example.com", "list_id": list_id})
    await client.delete("/subscribers/b@example.com")
    assert await counted() == 1
    response = await client.delete(f"/lists/{list_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert await counted() == 0
    await client.expect_error("GET", f"/lists/{list_id}", 404, "not_found")
    await client.expect_error("GET", f"/subscribers/{sub['id']}", 404, "not_found")
    await client.expect_error("DELETE", f"/lists/{list_id}", 404, "not_found")


async def test_a_list_that_a_campaign_needs_stays(client: Client, list_id: str) -> None:
    body = {"list_id": list_id, "subject": "Hello", "html": "<p>Hello</p>"}
    campaign = await client.data("POST", "/campaigns", 201, json=body)
    await client.expect_error("DELETE", f"/lists/{list_id}", 409, "list_in_use")
    await client.data("GET", f"/lists/{list_id}")
    await client.delete(f"/campaigns/{campaign['id']}")
    assert (await client.delete(f"/lists/{list_id}")).status_code == 204


async def test_another_tenants_list_does_not_exist(
    client: Client, list_id: str, make_project: MakeProject, make_client: MakeClient
) -> None:
    other = await make_client(await make_project())
    for method in ("GET", "PATCH", "DELETE"):
        body = {"json": {"name": "mine"}} if method == "PATCH" else {}
        await other.expect_error(method, f"/lists/{list_id}", 404, "not_found", **body)
    person = {"email": "a@example.com"}
    await other.expect_error("POST", f"/lists/{list_id}/subscribers", 404, "not_found", json=person)
    calls: tuple[tuple[str, str, dict[str, object]], ...] = (
        ("POST", "/subscribers", {"list_id": list_id, **person}),
        ("PUT", "/subscribers", {"list_id": list_id, **person}),
        ("POST", "/subscribers/batch", {"list_id": list_id, "subscribers": [person]}),
    )
    for method, path, sent in calls:
        error = await other.expect_error(method, path, 422, "validation_failed", json=sent)
        assert list(error["errors"]) == ["list_id"]
    assert (await client.data("GET", f"/lists/{list_id}"))["total_subscribers"] == 0


async def test_an_id_that_is_none_is_not_found(client: Client) -> None:
    for path in ("/lists/1", "/lists/sub_01k9x3v7m8e5tbn2c4r6p0qzaw", "/subscribers/42"):
        await client.expect_error("GET", path, 404, "not_found")


async def test_idempotency_key_creates_one_list(client: Client) -> None:
    async def create() -> httpx.Response:
        return await client.post("/lists", json={"name": "x"}, headers={"Idempotency-Key": "once-1"})

    first, second = await create(), await create()
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (await client.get("/lists")).json()["meta"]["total"] == 1
