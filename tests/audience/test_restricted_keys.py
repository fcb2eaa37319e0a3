"""A key that is restricted to lists sees and touches nothing else."""

import pytest

from newsletter.accounts.project import Project
from newsletter.kit import ids
from tests.audience.conftest import MakeList
from tests.client import Client
from tests.conftest import MakeClient

EMAIL = "alice@example.com"


@pytest.fixture
async def mine(make_list: MakeList) -> str:
    return await make_list("Mine")


@pytest.fixture
async def others(make_list: MakeList) -> str:
    return await make_list("Other")


@pytest.fixture
async def restricted(make_client: MakeClient, project: Project, mine: str) -> Client:
    return await make_client(project, list_ids=(ids.private("lst", mine),))


async def test_its_own_list_is_all_there_is(
    client: Client, restricted: Client, mine: str, others: str
) -> None:
    for list_id in (mine, others):
        await client.data("POST", "/subscribers", 201, json={"email": EMAIL, "list_id": list_id})
    assert [row["id"] for row in await restricted.data("GET", "/lists")] == [mine]
    assert [row["list_id"] for row in await restricted.data("GET", "/subscribers")] == [mine]
    made = await restricted.data(
        "POST", "/subscribers", 201, json={"email": "b@example.com", "list_id": mine}
    )
    await restricted.data("PATCH", f"/subscribers/{made['id']}", json={"first_name": "B"})
    assert (await restricted.delete(f"/subscribers/{EMAIL}")).status_code == 204
    statuses = {
        row["list_id"]: row["status"] for row in await client.data("GET", "/subscribers?search=alice")
    }
    assert statuses == {mine: "unsubscribed", others: "active"}


async def test_any_other_list_is_forbidden(client: Client, restricted: Client, others: str) -> None:
    row = await client.data("POST", "/subscribers", 201, json={"email": EMAIL, "list_id": others})
    person = {"email": EMAIL, "list_id": others}
    for method, path, body in (
        ("GET", f"/lists/{others}", None),
        ("PATCH", f"/lists/{others}", {"name": "x"}),
        ("DELETE", f"/lists/{others}", None),
        ("POST", f"/lists/{others}/subscribers", {"email": EMAIL}),
        ("DELETE", f"/lists/{others}/subscribers/{row['id']}", None),
        ("GET", f"/subscribers?list_id={others}", None),
        ("POST", "/subscribers", person),
        ("PUT", "/subscribers", person),
        ("POST", "/subscribers/batch", {"list_id": others, "subscribers": [person]}),
        ("GET", f"/subscribers/{row['id']}", None),
        ("PATCH", f"/subscribers/{row['id']}", {"first_name": "x"}),
        ("GET", f"/subscribers/{row['id']}/consents", None),
        ("DELETE", f"/subscribers/{EMAIL}?list_id={others}", None),
    ):
        await restricted.expect_error(method, path, 403, "forbidden", **({"json": body} if body else {}))
    assert await client.data("GET", f"/subscribers/{row['id']}") == row


async def test_what_concerns_the_whole_project_is_forbidden(
    client: Client, restricted: Client, mine: str
) -> None:
    row = await client.data("POST", "/subscribers", 201, json={"email": EMAIL, "list_id": mine})
    path = f"/subscribers/{row['id']}"
    await restricted.expect_error("POST", f"{path}/erase", 403, "forbidden")
    await restricted.expect_error("PATCH", path, 403, "forbidden", json={"status": "bounced"})
    await restricted.expect_error("POST", "/lists", 403, "forbidden", json={"name": "x"})
    await restricted.expect_error("PATCH", "/project", 403, "forbidden", json={"name": "x"})
    # The inbox of a test project has the mail of all lists.
    await restricted.expect_error("GET", "/sandbox/messages", 403, "forbidden")
    await restricted.expect_error("DELETE", "/sandbox/messages", 403, "forbidden")
    assert (await client.data("GET", "/project"))["inbox_url"]
    assert (await restricted.data("GET", "/project"))["inbox_url"] is None
    assert (await restricted.data("PATCH", path, json={"status": "unsubscribed"}))["status"] == "unsubscribed"


SERVER = {"name": "Mine", "type": "smtp", "config": {"host": "127.0.0.1", "port": 2525, "tls": "none"}}
MJML = "<mjml><mj-body><mj-raw>{{ content }}</mj-raw></mj-body></mjml>"


async def test_it_neither_hears_of_all_lists_nor_takes_their_mail(client: Client, restricted: Client) -> None:
    endpoint = {"url": "https://hooks.example.com/all", "events": ["subscriber.created"]}
    theirs = (await client.data("POST", "/webhooks", 201, json=endpoint))["id"]
    template = {"name": "Mine", "mjml": MJML}
    for method, path, body in (
        ("GET", "/webhooks", None),
        ("POST", "/webhooks", endpoint),
        ("GET", f"/webhooks/{theirs}", None),
        ("PATCH", f"/webhooks/{theirs}", {"url": "https://hooks.example.org/mine"}),
        ("DELETE", f"/webhooks/{theirs}", None),
        ("GET", f"/webhooks/{theirs}/deliveries", None),
        ("POST", f"/webhooks/{theirs}/rotate-secret", {"overlap_hours": 0}),
        ("POST", "/sending-servers", SERVER),
        ("POST", "/routing/rules", {"name": "Mine", "servers": []}),
        ("POST", "/sending-domains", {"domain": "mine.example.com"}),
        ("PUT", "/brand-voice", {"tone": "rude"}),
        ("POST", "/templates", template | {"is_default": True}),
    ):
        await restricted.expect_error(method, path, 403, "forbidden", **({"json": body} if body else {}))
    mine = await restricted.data("POST", "/templates", 201, json=template)
    own = f"/templates/{mine['id']}"
    await restricted.data("PATCH", own, json={"name": "Still mine"})
    await restricted.expect_error("PATCH", own, 403, "forbidden", json={"is_default": True})
    await client.data("PATCH", own, json={"is_default": True})
    await restricted.expect_error("PATCH", own, 403, "forbidden", json={"name": "No longer"})


async def test_scopes_part_reading_from_writing(make_client: MakeClient, project: Project, mine: str) -> None:
    reader = await make_client(project, scopes=("subscribers:read",))
    await reader.data("GET", "/subscribers")
    await reader.expect_error(
        "POST", "/subscribers", 403, "forbidden", json={"email": EMAIL, "list_id": mine}
    )
    await reader.expect_error("GET", "/lists", 403, "forbidden")
