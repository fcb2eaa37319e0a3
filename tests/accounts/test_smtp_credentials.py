"""SMTP credentials as the API makes, lists, rotates and revokes them. In tests/smtpd they sign in."""

from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.settings import Settings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

NAMED = {"name": "shop"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    limits = settings.limits.model_copy(update={"smtp_credentials": 2})
    return settings.model_copy(update={"limits": limits})


async def make(client: Client, **body: Any) -> Any:
    return await client.data("POST", "/smtp-credentials", 201, json=NAMED | body)


async def test_a_project_has_so_many_in_force(client: Client) -> None:
    first, _ = await make(client), await make(client)
    await client.expect_error("POST", "/smtp-credentials", 409, "smtp_credential_limit_reached", json=NAMED)
    assert (await client.delete(f"/smtp-credentials/{first['id']}")).status_code == 204
    await make(client)
    gone = f"/smtp-credentials/{first['id']}"
    await client.expect_error("DELETE", gone, 404, "not_found")
    await client.expect_error("POST", f"{gone}/rotate", 404, "not_found", json={})


async def test_rotating_makes_no_more_than_a_successor_of_each(client: Client) -> None:
    newest = (await make(client))["id"]
    for _ in range(3):
        path = f"/smtp-credentials/{newest}/rotate"
        newest = (await client.data("POST", path, 201, json={}))["id"]
    refused = f"/smtp-credentials/{newest}/rotate"
    await client.expect_error("POST", refused, 409, "smtp_credential_limit_reached", json={})


async def test_another_project_s_credential_is_not_there(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    made = await make(client)
    stranger = await make_client(await make_project(name="Other"))
    path = f"/smtp-credentials/{made['id']}"
    await stranger.expect_error("DELETE", path, 404, "not_found")
    await stranger.expect_error("POST", f"{path}/rotate", 404, "not_found", json={"overlap_hours": 0})
    assert await stranger.data("GET", "/smtp-credentials") == []
    [row] = await client.data("GET", "/smtp-credentials")
    assert (row["id"], row["expires_at"]) == (made["id"], None)
    # Nor is a key that is no credential of SMTP.
    key_id = (await client.data("GET", "/audit-log"))[0]["key_id"]
    await client.expect_error("DELETE", f"/smtp-credentials/{key_id}", 404, "not_found")


async def test_a_credential_may_do_no_more_than_the_key_that_made_it(
    client: Client, make_client: MakeClient, project: Project
) -> None:
    bound = await make_client(project, from_domains=("acme.example.com", "shop.example.com"))
    assert (await make(bound))["from_domains"] == ["acme.example.com", "shop.example.com"]
    assert (await make(bound, from_domains=["SHOP.example.com"]))["from_domains"] == ["shop.example.com"]
    beyond = NAMED | {"from_domains": ["shop.example.com", "other.example.com"]}
    error = await bound.expect_error("POST", "/smtp-credentials", 422, "validation_failed", json=beyond)
    assert error["errors"] == {"from_domains": ["this key may not send from other.example.com"]}
    narrow = await make_client(project, scopes=("smtp_credentials:read", "send"))
    await narrow.expect_error("POST", "/smtp-credentials", 403, "forbidden", json=NAMED)


@pytest.mark.parametrize("wide", [[], ["acme.example.com", "other.example.com"]])
async def test_nor_do_those_that_it_rotates(
    client: Client, make_client: MakeClient, project: Project, wide: list[str]
) -> None:
    """The answer holds the new password."""
    beyond, within = (
        await make(client, from_domains=wide),
        await make(client, from_domains=["acme.example.com"]),
    )
    bound = await make_client(project, from_domains=("acme.example.com", "shop.example.com"))
    path = "/smtp-credentials/{}/rotate"
    await bound.expect_error("POST", path.format(beyond["id"]), 403, "forbidden", json={})
    made = await bound.data("POST", path.format(within["id"]), 201, json={})
    assert made["from_domains"] == ["acme.example.com"]


async def test_who_made_and_ended_it_is_noted(client: Client) -> None:
    made = await make(client)
    new = await client.data("POST", f"/smtp-credentials/{made['id']}/rotate", 201, json={"overlap_hours": 3})
    logged = await client.data("GET", "/audit-log")
    found = [row for row in logged if row["action"] != "call"]
    own = found[0]["key_id"]
    assert [(row["action"], row["subject"], row["key_id"], row["ip"]) for row in found[:3]] == [
        ("key.revoked", made["id"], own, "127.0.0.1"),
        ("key.created", new["id"], own, "127.0.0.1"),
        ("key.created", made["id"], own, "127.0.0.1"),
    ]
    assert found[0]["details"] == {"after_hours": 3}
    assert all(made["password"] not in str(row) for row in found)
    again = await client.data(
        "POST", f"/smtp-credentials/{made['id']}/rotate", 201, json={"overlap_hours": 9}
    )
    listed = {row["id"]: row["expires_at"] for row in await client.data("GET", "/smtp-credentials")}
    assert [listed[each["id"]] is None for each in (made, new, again)] == [False, True, True]


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "a", "from_domains": ["no"]}, {"name": "a", "x": 1}]
)
async def test_a_body_that_is_none(client: Client, body: dict[str, Any]) -> None:
    await client.expect_error("POST", "/smtp-credentials", 422, "validation_failed", json=body)
