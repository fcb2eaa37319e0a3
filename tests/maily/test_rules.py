"""What holds for every call of the page: keys, rates, plans, errors."""

from typing import Any

import httpx
import pytest

from newsletter.accounts.project import Project
from newsletter.kit.db import Database
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due

HTML = "<p>Hello!</p>"


async def try_key(client: Client, method: str = "GET", **options: Any) -> httpx.Response:
    """A call with nothing but the key that the options carry."""
    request = client.build_request(method, "/lists", **options)
    if "Authorization" not in (options.get("headers") or {}):
        del request.headers["Authorization"]
    return await client.send(request)


async def test_authentication_by_bearer_or_header(client: Client) -> None:
    for headers in (
        {"Authorization": f"Bearer {client.secret}"},
        {"Authorization": f"bearer {client.secret}"},
        {"X-API-Key": client.secret},
    ):
        assert (await try_key(client, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer nl_test_nonsense"}, {"Authorization": "Basic abc"}, {"X-API-Key": ""}],
)
async def test_authentication_without_a_valid_key_is_refused(client: Client, headers: dict[str, str]) -> None:
    response = await try_key(client, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"


async def test_authentication_by_two_keys_is_refused(client: Client) -> None:
    for name, value in (("Authorization", f"Bearer {client.secret}"), ("X-API-Key", client.secret)):
        request = client.build_request("GET", "/lists")
        del request.headers["Authorization"]
        headers = httpx.Headers([*request.headers.multi_items(), (name, value), (name, value)])
        response = await client.send(httpx.Request("GET", request.url, headers=headers))
        assert response.status_code == 401


async def test_authentication_by_query_is_for_reading_with_test_keys_alone(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    live = await make_client(await make_project(is_test=False))
    assert (await try_key(client, params={"api_key": client.secret})).status_code == 200
    body = {"name": "Newsletter"}
    written = await try_key(client, "POST", params={"api_key": client.secret}, json=body)
    assert written.status_code == 401
    assert (await try_key(live, params={"api_key": live.secret})).status_code == 401
    assert await live.data("GET", "/lists") == []


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("GET", "/lists", 60),
        ("POST", "/campaigns", 10),
        ("POST", "/campaigns/cmp_00000000000000000000000000/send", 5),
        ("POST", "/subscribers/batch", 20),
    ],
)
async def test_rate_limits(
    make_client: MakeClient, make_project: MakeProject, method: str, path: str, limit: int
) -> None:
    project = await make_project(plan="free")
    client, other = await make_client(project), await make_client(project)
    body: dict[str, object] | None = {} if method == "POST" else None

    answers = [await client.request(method, path, json=body) for _ in range(limit + 1)]

    assert all(answer.status_code != 429 for answer in answers[:limit])
    assert [int(answer.headers["RateLimit-Remaining"]) for answer in answers[:limit]] == list(
        range(limit - 1, -1, -1)
    )
    last = answers[-1]
    assert (last.status_code, last.json()["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    # Per key, not per address; and each class counts for itself.
    assert (await other.request(method, path, json=body)).status_code != 429
    free = "/account" if path != "/lists" else "/campaigns/cmp_00000000000000000000000000/send"
    assert (await client.request("GET" if path != "/lists" else "POST", free)).status_code != 429


async def use_up(db: Database, project: Project, resource: Resource, count: int) -> None:
    """As much as a month or a plan would have used."""
    async with db.unit_of_work() as session:
        assert await plans.use(session, project.quota_owner_id, resource, count, None)


async def new_list(client: Client) -> str:
    return str((await client.data("POST", "/lists", 201, json={"name": "Newsletter"}))["id"])


async def test_plan_limit_of_subscribers(
    db: Database, make_client: MakeClient, make_project: MakeProject
) -> None:
    project = await make_project(is_test=False, plan="free")
    client = await make_client(project)
    list_id = await new_list(client)
    rows = [{"email": f"{n}@example.com"} for n in range(502)]
    body = {"list_id": list_id, "subscribers": rows}
    numbers = await client.data("POST", "/subscribers/batch", json=body)
    assert (numbers["created"], numbers["skipped_over_cap"]) == (500, 2)
    one = {"list_id": list_id, "email": "one.more@example.com"}
    await client.expect_error("POST", "/subscribers", 402, "subscriber_limit_reached", json=one)
    usage = await client.data("GET", "/account/usage")
    assert usage["subscribers"]["used"] == 500


async def test_plan_limit_of_campaigns(make_client: MakeClient, make_project: MakeProject) -> None:
    project = await make_project(plan="free")
    body = {"list_id": await new_list(await make_client(project)), "subject": "S", "html": HTML}
    for _ in range(2):
        client = await make_client(project)
        for _ in range(5):
            await client.data("POST", "/campaigns", 201, json=body)
    client = await make_client(project)
    await client.expect_error("POST", "/campaigns", 402, "campaign_limit_reached", json=body)


async def test_plan_limit_of_generations(
    db: Database, make_client: MakeClient, make_project: MakeProject
) -> None:
    free = await make_client(await make_project(is_test=False, plan="free"))
    body = {"list_id": await new_list(free), "ai": {"prompt": "Announce our new pricing tiers."}}
    await free.expect_error("POST", "/campaigns", 402, "ai_not_available", json=body)

    project = await make_project(plan="starter")
    starter = await make_client(project)
    await use_up(db, project, Resource.generations, 50)
    body["list_id"] = await new_list(starter)
    response = await starter.post("/campaigns", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "ai_quota_exceeded")
    assert int(response.headers["Retry-After"]) > 0


async def test_plan_limit_of_mails(
    db: Database, runtime: Runtime, make_client: MakeClient, make_project: MakeProject
) -> None:
    project = await make_project(plan="free")
    client = await make_client(project)
    list_id = await new_list(client)
    for name in ("alice", "bob"):
        body = {"email": f"{name}@example.com", "list_id": list_id}
        await client.data("POST", "/subscribers", 201, json=body)
    campaign = {"list_id": list_id, "subject": "S", "html": HTML}
    await use_up(db, project, Resource.mails, 998)
    first = await client.data("POST", "/campaigns", 201, json={**campaign, "send": True})
    await run_due(runtime)
    assert (await client.data("GET", f"/campaigns/{first['id']}"))["status"] == "sent"

    draft = await client.data("POST", "/campaigns", 201, json=campaign)
    response = await client.post(f"/campaigns/{draft['id']}/send")
    assert (response.status_code, response.json()["error"]["code"]) == (429, "quota_exceeded")
    assert int(response.headers["Retry-After"]) > 0


async def test_error_envelope(client: Client) -> None:
    response = await client.post("/subscribers", json={})
    assert response.status_code == 422
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"code", "message", "request_id", "errors"}
    assert (error["code"], error["message"]) == ("validation_failed", "One or more fields are invalid.")
    assert set(error["errors"]) == {"email", "list_id"}
    assert all(isinstance(text, str) for texts in error["errors"].values() for text in texts)

    other = (await client.get("/lists/lst_00000000000000000000000000")).json()["error"]
    assert set(other) == {"code", "message", "request_id"}


async def test_error_of_another_tenant_s_resource_does_not_reveal_it(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    stranger = await make_client(await make_project())
    list_id = await new_list(client)
    campaign = await client.data(
        "POST", "/campaigns", 201, json={"list_id": list_id, "subject": "S", "html": HTML}
    )
    path = f"/campaigns/{campaign['id']}"
    for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/send")):
        await stranger.expect_error(method, where, 404, "not_found")
    body = {"list_id": list_id, "email": "alice@example.com"}
    error = await stranger.expect_error("POST", "/subscribers", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["list_id"]
    assert (await client.data("GET", path))["status"] == "draft"
