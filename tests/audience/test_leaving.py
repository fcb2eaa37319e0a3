"""Unsubscribes, bounces and complaints."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.audience import service
from newsletter.audience.models import Status
from newsletter.kit import ids
from newsletter.kit.db import Database
from tests.audience.conftest import Events, MakeList
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

Counted = Callable[[], Awaitable[int]]
Suppressed = Callable[[], Awaitable[set[tuple[str, str, str]]]]
ALICE = "alice@example.com"


@pytest.fixture
async def lists(client: Client, make_list: MakeList) -> dict[str, str]:
    """Two lists with Alice on them: list id to subscriber id."""
    made = {}
    for name in ("One", "Two"):
        list_id = await make_list(name)
        row = await client.data(
            "POST", "/subscribers", 201, json={"email": "Alice@example.com", "list_id": list_id}
        )
        made[list_id] = row["id"]
    return made


async def statuses(client: Client, lists: dict[str, str]) -> list[str]:
    return [(await client.data("GET", f"/subscribers/{row}"))["status"] for row in lists.values()]


async def last_consent(client: Client, subscriber_id: str) -> Any:
    return (await client.data("GET", f"/subscribers/{subscriber_id}/consents"))[0]


def kinds(found: list[tuple[str, str]]) -> list[str]:
    return [kind for kind, _ in found if kind != "subscriber.created"]


async def test_unsubscribe_from_one_list(
    client: Client, lists: dict[str, str], events: Events, counted: Counted, suppressed: Suppressed
) -> None:
    one = next(iter(lists))
    for _ in range(2):
        response = await client.delete("/subscribers/ALICE@example.com", params={"list_id": one})
        assert (response.status_code, response.content) == (204, b"")
    assert await statuses(client, lists) == ["unsubscribed", "active"]
    assert kinds(await events()) == ["subscriber.unsubscribed"]
    assert await counted() == 1
    assert await suppressed() == {("list", ALICE, "unsubscribe")}
    row = await client.data("GET", f"/subscribers/{lists[one]}")
    assert row["unsubscribed_at"] >= row["subscribed_at"]
    consents = await client.data("GET", f"/subscribers/{lists[one]}/consents")
    assert [each["action"] for each in consents] == ["unsubscribed", "subscribed"]


async def test_unsubscribe_from_every_list(
    client: Client, lists: dict[str, str], events: Events, counted: Counted
) -> None:
    assert (await client.delete(f"/subscribers/{ALICE}")).status_code == 204
    assert await statuses(client, lists) == ["unsubscribed", "unsubscribed"]
    assert kinds(await events()) == ["subscriber.unsubscribed"] * 2
    assert await counted() == 0


@pytest.mark.parametrize("path", ["nobody@example.com", "j%C3%BCrgen%2Btag@b%C3%BCcher.example"])
async def test_unsubscribing_who_is_not_there_is_done_already(
    client: Client, list_id: str, path: str
) -> None:
    assert (await client.delete(f"/subscribers/{path}")).status_code == 204
    assert (await client.delete(f"/subscribers/{path}", params={"list_id": list_id})).status_code == 204


@pytest.mark.parametrize(
    ("email", "path"),
    [
        ("a+b@example.com", "a+b@example.com"),
        ("a+b@example.com", "A%2BB%40example.com"),
        ("50%25@example.com", "50%2525%40example.com"),
        ("jürgen@bücher.example", "j%C3%BCrgen@xn--bcher-kva.example"),
        ("o'hara@example.com", "o%27hara@example.com"),
    ],
)
async def test_the_address_in_the_path_is_url_encoded(
    client: Client, list_id: str, email: str, path: str
) -> None:
    made = await client.data("POST", "/subscribers", 201, json={"email": email, "list_id": list_id})
    assert (await client.delete(f"/subscribers/{path}")).status_code == 204
    assert (await client.data("GET", f"/subscribers/{made['id']}"))["status"] == "unsubscribed"


async def test_what_is_no_address_or_list_is_refused(client: Client, list_id: str) -> None:
    for path, field in (
        ("/subscribers/sub_01k9x3v7m8e5tbn2c4r6p0qzaw", "email"),
        ("/subscribers/a%00@example.com", "email"),
        (f"/subscribers/{ALICE}?list_id=7", "list_id"),
        (f"/subscribers/{ALICE}?list_id=lst_01k9x3v7m8e5tbn2c4r6p0qzaw", "list_id"),
    ):
        error = await client.expect_error("DELETE", path, 422, "validation_failed")
        assert list(error["errors"]) == [field]


async def test_remove_a_subscriber_from_a_list_by_id(client: Client, lists: dict[str, str]) -> None:
    (one, first), (two, _) = lists.items()
    await client.expect_error("DELETE", f"/lists/{two}/subscribers/{first}", 404, "not_found")
    for _ in range(2):
        assert (await client.delete(f"/lists/{one}/subscribers/{first}")).status_code == 204
    assert await statuses(client, lists) == ["unsubscribed", "active"]


async def test_the_link_of_a_mail_unsubscribes_with_its_source_and_ip(
    db: Database, client: Client, lists: dict[str, str], events: Events
) -> None:
    first = next(iter(lists.values()))
    for left in (1, 0):
        async with db.unit_of_work() as session:
            ended = await service.unsubscribe_by_id(
                session, ids.private("sub", first), source="one-click", ip="192.0.2.1"
            )
        assert ended == left
    consent = await last_consent(client, first)
    assert (consent["action"], consent["source"], consent["ip"], consent["key_id"]) == (
        "unsubscribed",
        "one-click",
        "192.0.2.1",
        None,
    )
    assert kinds(await events()) == ["subscriber.unsubscribed"]
    async with db.unit_of_work() as session:
        assert await service.unsubscribe_by_id(session, ids.uuid7(), source="one-click") == 0


@pytest.mark.parametrize("status", [Status.bounced, Status.complained])
async def test_a_bounce_or_complaint_holds_on_every_list_once(
    db: Database,
    project: Project,
    client: Client,
    lists: dict[str, str],
    events: Events,
    counted: Counted,
    suppressed: Suppressed,
    status: Status,
) -> None:
    one = next(iter(lists))
    await client.delete(f"/subscribers/{ALICE}", params={"list_id": one})
    mark = service.mark_bounced if status is Status.bounced else service.mark_complained
    for changed in (2, 0):
        async with db.unit_of_work() as session:
            assert await mark(session, project, ALICE, source="inbound") == changed
    assert await statuses(client, lists) == [status] * 2
    assert await counted() == 0
    assert kinds(await events())[1:] == [f"subscriber.{status}"] * 2
    reason = "hard_bounce" if status is Status.bounced else "complaint"
    assert ("project", ALICE, reason) in await suppressed()
    for row in lists.values():
        consent = await last_consent(client, row)
        assert (consent["action"], consent["source"]) == (status, "inbound")


async def test_an_address_on_no_list_is_suppressed_all_the_same(
    db: Database, project: Project, client: Client, list_id: str, suppressed: Suppressed
) -> None:
    async with db.unit_of_work() as session:
        assert await service.mark_bounced(session, project, ALICE, source="send") == 0
    assert await suppressed() == {("project", ALICE, "hard_bounce")}
    made = await client.data("POST", "/subscribers", 201, json={"email": ALICE, "list_id": list_id})
    assert made["status"] == "bounced"
    [consent] = await client.data("GET", f"/subscribers/{made['id']}/consents")
    assert (consent["action"], consent["source"]) == ("bounced", "suppressed: hard_bounce")


async def test_a_complaint_takes_the_place_of_a_bounce_not_the_other_way_round(
    db: Database, project: Project, client: Client, lists: dict[str, str], suppressed: Suppressed
) -> None:
    for mark in (service.mark_bounced, service.mark_complained, service.mark_bounced):
        async with db.unit_of_work() as session:
            await mark(session, project, ALICE, source="inbound")
    assert await statuses(client, lists) == ["complained", "complained"]
    assert await suppressed() == {("project", ALICE, "complaint")}


async def test_nothing_of_this_crosses_projects(
    db: Database,
    project: Project,
    client: Client,
    lists: dict[str, str],
    make_project: MakeProject,
    make_client: MakeClient,
) -> None:
    stranger = await make_project()
    other = await make_client(stranger)
    assert (await other.delete(f"/subscribers/{ALICE}")).status_code == 204
    for row in lists.values():
        await other.expect_error("GET", f"/subscribers/{row}", 404, "not_found")
        await other.expect_error("GET", f"/subscribers/{row}/consents", 404, "not_found")
        await other.expect_error("PATCH", f"/subscribers/{row}", 404, "not_found", json={"first_name": "x"})
        await other.expect_error("POST", f"/subscribers/{row}/erase", 404, "not_found")
    async with db.unit_of_work() as session:
        assert await service.mark_bounced(session, stranger, ALICE, source="x") == 0
    assert await statuses(client, lists) == ["active", "active"]
    theirs = (await other.data("POST", "/lists", 201, json={"name": "x"}))["id"]
    ours = await client.data("POST", "/subscribers", 200, json={"email": ALICE, "list_id": next(iter(lists))})
    assert ours["status"] == "active"
    assert (await other.data("POST", "/subscribers", 201, json={"email": ALICE, "list_id": theirs}))[
        "status"
    ] == "bounced"


@pytest.mark.parametrize(
    ("email", "path"),
    [
        ("ada+news@example.com", "ada+news@example.com"),
        ("ada+news@example.com", "ada%2Bnews%40example.com"),
        ("a/b@example.com", "a%2Fb@example.com"),
        ("a%2Fb@example.com", "a%252Fb@example.com"),
        ("ünï@exämple.com", "%C3%BCn%C3%AF@ex%C3%A4mple.com"),
    ],
)
async def test_an_address_in_the_path_is_what_was_encoded(client: Client, email: str, path: str) -> None:
    list_id = (await client.data("POST", "/lists", 201, json={"name": "Newsletter"}))["id"]
    body = {"list_id": list_id, "email": email}
    known = await client.data("POST", "/subscribers", 201, json=body)
    response = await client.request("DELETE", f"/subscribers/{path}")
    assert response.status_code == 204, response.text
    assert (await client.data("GET", f"/subscribers/{known['id']}"))["status"] == "unsubscribed"
