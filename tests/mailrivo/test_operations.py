"""Its calls in the order of the page: readers, broadcasts, and what an answer looks like."""

from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import HTML


async def test_post_subscribers(client: Client, list_id: str) -> None:
    body = {"email": "user@example.com", "list_id": list_id, "custom_fields": {"plan": "Pro"}}
    made = await client.data("POST", "/subscribers", 201, json=body)
    assert (made["email"], made["custom_fields"]) == ("user@example.com", {"plan": "Pro"})


async def test_put_upsert(client: Client, list_id: str) -> None:
    body = {"email": "ada@example.com", "list_id": list_id, "first_name": "Augusta"}
    await client.delete(f"/subscribers/ada@example.com?list_id={list_id}")
    changed = await client.data("PUT", "/subscribers", json=body)
    assert (changed["first_name"], changed["status"]) == ("Augusta", "unsubscribed")
    listed = (await client.get("/subscribers", params={"list_id": list_id})).json()
    assert listed["meta"]["total"] == 2


async def test_custom_field_mapping(client: Client, runtime: Runtime, list_id: str) -> None:
    body = {"email": "user@example.com", "list_id": list_id, "custom_fields": {"plan": "Pro"}}
    await client.data("POST", "/subscribers", 201, json=body)
    campaign = {"list_id": list_id, "subject": "Your {{ plan }}", "html": HTML, "send": True}
    await client.data("POST", "/campaigns", 201, json=campaign)
    await run_due(runtime)
    [mail] = await client.data("GET", "/sandbox/messages", params={"to": "user@example.com"})
    assert mail["subject"] == "Your Pro"


async def test_status_transitions(client: Client, list_id: str) -> None:
    [ada] = (await client.get("/subscribers", params={"search": "ada@example.com"})).json()["data"]
    path = f"/subscribers/{ada['id']}"
    for status in ("unsubscribed", "active"):
        await client.data("PATCH", path, json={"status": status})
        assert (await client.data("GET", path))["status"] == status


async def test_bulk_ingestion(client: Client, list_id: str) -> None:
    rows = [{"email": f"u{number}@example.com"} for number in range(1_000)]
    await client.data("POST", "/subscribers/batch", json={"list_id": list_id, "subscribers": rows})
    listed = (await client.get("/subscribers", params={"list_id": list_id})).json()
    assert listed["meta"]["total"] == 1_002


async def test_v1_campaigns_create_schedule_trigger(client: Client, runtime: Runtime, list_id: str) -> None:
    body = {"list_id": list_id, "subject": "News", "html": HTML}
    later = body | {
        "scheduled_at": "2099-07-01T09:00:00",
        "scheduled_timezone": "America/New_York",
        "send": True,
    }
    made = await client.data("POST", "/campaigns", 201, json=later)
    assert (made["status"], made["scheduled_at"]) == ("scheduled", "2099-07-01T13:00:00Z")
    now = await client.data("POST", "/campaigns", 201, json=body)
    await client.data("POST", f"/campaigns/{now['id']}/send", json={})
    await run_due(runtime)
    statuses = [(await client.data("GET", f"/campaigns/{each['id']}"))["status"] for each in (made, now)]
    assert statuses == ["scheduled", "sent"]


async def test_projectid_in_each_call(
    client: Client, make_client: MakeClient, make_project: MakeProject, list_id: str
) -> None:
    """A key belongs to one project, so nothing of another is in reach."""
    stranger = await make_client(await make_project(name="Other"))
    assert await stranger.data("GET", "/subscribers") == []
    await stranger.expect_error("GET", f"/lists/{list_id}", 404, "not_found")


async def test_requests_logged_with_ip_and_node(client: Client, runtime: Runtime) -> None:
    await client.get("/lists")
    [row] = await client.data("GET", "/audit-log", params={"route": "/api/v1/lists"})
    assert (row["ip"], row["node"], row["status"]) == ("127.0.0.1", runtime.settings.node_name, 200)


async def test_success_data_metadata(client: Client, list_id: str) -> None:
    answer = await client.get("/subscribers", params={"per_page": 1})
    assert (answer.status_code, answer.json().keys()) == (200, {"data", "meta"})
    assert answer.json()["meta"]["total"] == 2
    await client.expect_error("GET", f"/subscribers/{ids.public('sub', ids.uuid7())}", 404, "not_found")
