"""``/webhooks`` over HTTP: endpoints, deliveries, who may see what."""

import asyncio
from typing import Any

import pytest

from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Happen, Register

URL = "https://app.example.com/hooks"


async def test_a_new_endpoint_shows_its_secret_once(client: Client) -> None:
    made = await client.data("POST", "/webhooks", 201, json={"url": URL})
    assert made["id"].startswith("whe_")
    assert made.pop("secret").startswith("whsec_")
    assert made | {"id": "", "created_at": "", "updated_at": ""} == {
        "id": "",
        "url": URL,
        "description": None,
        "events": [],
        "signature_style": "standard",
        "group_size": 1,
        "previous_secret_until": None,
        "is_active": True,
        "disabled_reason": None,
        "disabled_at": None,
        "owner_message_id": None,
        "owner_untold_code": None,
        "consecutive_failures": 0,
        "created_at": "",
        "updated_at": "",
    }
    assert await client.data("GET", f"/webhooks/{made['id']}") == made
    listed = (await client.get("/webhooks")).json()
    assert listed["data"] == [made]
    assert listed["meta"] == {"current_page": 1, "per_page": 20, "last_page": 1, "total": 1}


async def test_the_secret_is_not_stored_in_the_clear(
    client: Client, runtime: Runtime, register: Register
) -> None:
    secret = (await register())["secret"]
    async with runtime.db.read() as session:
        connection = await session.connection()
        rows = (await connection.exec_driver_sql("SELECT * FROM webhook_endpoints")).all()
    assert secret.removeprefix("whsec_") not in repr(rows)


async def test_the_same_key_creates_one_endpoint_and_shows_the_same_secret(client: Client) -> None:
    call: dict[str, Any] = {"json": {"url": URL}, "headers": {"Idempotency-Key": "once-and-only"}}
    first = await client.post("/webhooks", **call)
    again = await client.post("/webhooks", **call)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(await client.data("GET", "/webhooks")) == 1


async def test_every_bad_field_is_named(client: Client) -> None:
    error = await client.expect_error(
        "POST",
        "/webhooks",
        422,
        "validation_failed",
        json={
            "url": "ftp://app.example.com",
            "events": ["campaign.sent", "email.opened"],
            "signature_style": "md5",
            "description": "two\nlines",
            "secret": "whsec_mine",
        },
    )
    assert set(error["errors"]) == {"url", "events.1", "signature_style", "description", "secret"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example.com/hooks",
        "//app.example.com/hooks",
        "https://",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://user:password@app.example.com/",
        "https://app.example.com/a b",
        "https://app.example.com/\r\nX-Injected: 1",
        "https://app.example.com:99999/",
        "https://app.example.com/" + "a" * 2000,
        None,
        7,
    ],
)
async def test_an_address_that_cannot_be_called_is_refused_at_once(client: Client, url: object) -> None:
    error = await client.expect_error("POST", "/webhooks", 422, "validation_failed", json={"url": url})
    assert set(error["errors"]) == {"url"}
    made = await client.data("POST", "/webhooks", 201, json={"url": URL})
    error = await client.expect_error(
        "PATCH", f"/webhooks/{made['id']}", 422, "validation_failed", json={"url": url}
    )
    assert set(error["errors"]) == {"url"}


async def test_an_event_named_twice_is_one(client: Client) -> None:
    made = await client.data(
        "POST", "/webhooks", 201, json={"url": URL, "events": ["campaign.sent", "campaign.sent"]}
    )
    assert made["events"] == ["campaign.sent"]


async def test_endpoints_of_a_project_are_limited(client: Client, runtime: Runtime) -> None:
    limit = runtime.settings.limits.webhook_endpoints
    calls = [client.post("/webhooks", json={"url": URL}) for _ in range(limit + 5)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [201] * limit + [409] * 5
    await client.expect_error("POST", "/webhooks", 409, "webhook_endpoint_limit_reached", json={"url": URL})
    assert (await client.get("/webhooks")).json()["meta"]["total"] == limit


async def test_a_change_keeps_what_it_does_not_name(client: Client) -> None:
    made = await client.data("POST", "/webhooks", 201, json={"url": URL, "description": "CRM"})
    changed = await client.data(
        "PATCH",
        f"/webhooks/{made['id']}",
        json={"events": ["subscriber.created"], "signature_style": "hex", "is_active": False},
    )
    assert (changed["url"], changed["description"]) == (URL, "CRM")
    assert (changed["events"], changed["signature_style"]) == (["subscriber.created"], "hex")
    assert changed["is_active"] is False
    assert changed["updated_at"] > made["updated_at"]
    cleared = await client.data("PATCH", f"/webhooks/{made['id']}", json={"description": None})
    assert cleared["description"] is None
    assert cleared["is_active"] is False


async def test_a_deleted_endpoint_is_gone(client: Client, register: Register) -> None:
    path = f"/webhooks/{(await register())['id']}"
    assert (await client.delete(path)).status_code == 204
    await client.expect_error("GET", path, 404, "not_found")
    await client.expect_error("DELETE", path, 404, "not_found")


async def test_deliveries_are_paged_newest_first_and_filtered(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    path = f"/webhooks/{(await register())['id']}/deliveries"
    receiver.replies.append(Reply(500))
    await happen(times=5)
    await run_due(runtime)
    first = (await client.get(path, params={"per_page": 3})).json()
    rest = (await client.get(path, params={"per_page": 3, "cursor": first["meta"]["next_cursor"]})).json()
    found = [row["id"] for row in first["data"] + rest["data"]]
    assert len(found) == 5
    assert found == sorted(found, reverse=True)
    assert rest["meta"]["next_cursor"] is None
    by_status = {
        status: len(await client.data("GET", path, params={"status": status}))
        for status in ("pending", "succeeded", "retrying", "exhausted")
    }
    assert by_status == {"pending": 0, "succeeded": 4, "retrying": 1, "exhausted": 0}
    for bad in ({"cursor": "x"}, {"per_page": 101}, {"status": "lost"}):
        error = await client.expect_error("GET", path, 422, "validation_failed", params=bad)
        assert set(error["errors"]) == set(bad)


async def test_another_project_sees_and_changes_nothing(
    client: Client,
    runtime: Runtime,
    make_project: MakeProject,
    make_client: MakeClient,
    register: Register,
    happen: Happen,
) -> None:
    endpoint = (await register())["id"]
    await happen()
    await run_due(runtime)
    [delivery] = await client.data("GET", f"/webhooks/{endpoint}/deliveries")
    stranger = await make_client(await make_project(name="Other"))
    theirs = (await stranger.data("POST", "/webhooks", 201, json={"url": URL}))["id"]
    for method, path in _operations(endpoint, delivery["id"]):
        await stranger.expect_error(method, path, 404, "not_found", json=_body(method, path))
    # Nor by way of an endpoint of their own.
    one = f"/webhooks/{theirs}/deliveries/{delivery['id']}"
    await stranger.expect_error("GET", one, 404, "not_found")
    await stranger.expect_error("POST", f"{one}/replay", 404, "not_found")
    assert (await client.data("GET", f"/webhooks/{endpoint}"))["is_active"] is True
    [after] = await client.data("GET", f"/webhooks/{endpoint}/deliveries")
    assert after == delivery


async def test_ids_that_do_not_exist_are_not_found(client: Client, register: Register) -> None:
    endpoint = (await register())["id"]
    nothing = ids.uuid7()
    for whe in ("whe_1", "cmp_" + endpoint[4:], ids.public("whe", nothing), "%00"):
        for method, path in _operations(whe, ids.public("whd", nothing)):
            await client.expect_error(method, path, 404, "not_found", json=_body(method, path))
    for whd in ("whd_1", endpoint, ids.public("whd", nothing)):
        await client.expect_error("GET", f"/webhooks/{endpoint}/deliveries/{whd}", 404, "not_found")
        await client.expect_error("POST", f"/webhooks/{endpoint}/deliveries/{whd}/replay", 404, "not_found")


async def test_reading_needs_one_scope_and_writing_another(
    client: Client, make_client: MakeClient, project: Any, register: Register
) -> None:
    endpoint = (await register())["id"]
    reader = await make_client(project, scopes=("webhooks:read",))
    writer = await make_client(project, scopes=("webhooks:write",))
    await reader.data("GET", f"/webhooks/{endpoint}")
    await reader.data("GET", f"/webhooks/{endpoint}/deliveries")
    await writer.expect_error("GET", f"/webhooks/{endpoint}", 403, "forbidden")
    await reader.expect_error("POST", "/webhooks", 403, "forbidden", json={"url": URL})
    for method, path in _operations(endpoint, ids.public("whd", ids.uuid7())):
        if method != "GET":
            await reader.expect_error(method, path, 403, "forbidden", json=_body(method, path))


def _operations(endpoint: str, delivery: str) -> list[tuple[str, str]]:
    one = f"/webhooks/{endpoint}"
    return [
        ("GET", one),
        ("PATCH", one),
        ("POST", f"{one}/test"),
        ("POST", f"{one}/rotate-secret"),
        ("POST", f"{one}/replay"),
        ("GET", f"{one}/deliveries"),
        ("GET", f"{one}/deliveries/{delivery}"),
        ("POST", f"{one}/deliveries/{delivery}/replay"),
        ("DELETE", one),
    ]


def _body(method: str, path: str) -> dict[str, object] | None:
    if method == "PATCH":
        return {"is_active": False}
    is_empty = path.endswith(("/test", "/rotate-secret")) or path.count("/") == 3
    return {} if method == "POST" and is_empty else None
