"""``/suppressions`` and ``/unsubscribes``: what customers tell us, and what it does."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.suppressions import queries, service
from newsletter.suppressions.models import Reason
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.mailbox import send_campaign, subscribed_list

Status = Callable[[str], Awaitable[str]]


@pytest.fixture
async def list_id(client: Client) -> str:
    return await subscribed_list(client, "Ada", "Grace")


@pytest.fixture
def status(client: Client, list_id: str) -> Status:
    async def read(email: str) -> str:
        [row] = await client.data("GET", "/subscribers", params={"search": email})
        return str(row["status"])

    return read


async def mailed(client: Client) -> set[str]:
    return {mail["to_email"] for mail in await client.data("GET", "/sandbox/messages")}


async def push(client: Client, expected: int = 201, **body: Any) -> Any:
    return await client.data("POST", "/suppressions", expected, json=body)


async def test_a_suppressed_address_gets_no_campaign(
    client: Client, runtime: Runtime, list_id: str, status: Status
) -> None:
    made = await push(client, email="ADA@example.com")
    assert made["id"].startswith("sup_")
    assert (made["email"], made["level"], made["reason"]) == ("ada@example.com", "project", "manual")
    await send_campaign(client, runtime, list_id)
    assert await mailed(client) == {"grace@example.com"}
    assert await status("ada@example.com") == "active"  # By hand, so nothing is said of the person.


async def test_the_same_push_is_known_the_second_time(client: Client) -> None:
    first = await push(client, email="ada@example.com")
    assert (await push(client, 200, email="Ada@Example.com"))["id"] == first["id"]


@pytest.mark.parametrize(("reason", "becomes"), [("hard_bounce", "bounced"), ("complaint", "complained")])
async def test_a_pushed_bounce_or_complaint_changes_the_subscriber(
    client: Client, status: Status, reason: str, becomes: str
) -> None:
    await push(client, email="ada@example.com", reason=reason)
    assert await status("ada@example.com") == becomes


async def test_a_level_reaches_as_far_as_it_says(client: Client, runtime: Runtime, list_id: str) -> None:
    other = await subscribed_list(client, "Ada")
    await push(client, email="ada@example.com", level="list", list_id=list_id)
    elsewhere = "elsewhere.example.com"
    await push(client, email="grace@example.com", reason="unsubscribe", level="domain", domain=elsewhere)
    await send_campaign(client, runtime, list_id)
    assert await mailed(client) == {"grace@example.com"}
    await send_campaign(client, runtime, other)
    assert "ada@example.com" in await mailed(client)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "ada@example.com", "level": "list"}, "list_id"),
        ({"email": "ada@example.com", "level": "domain"}, "domain"),
        ({"email": "ada@example.com", "domain": "example.com"}, "domain"),
        ({"email": "ada@example.com", "level": "global"}, "level"),
        ({"email": "ada@example.com", "reason": "erased"}, "reason"),
        (
            {"email": "ada@example.com", "reason": "complaint", "level": "domain", "domain": "example.com"},
            "level",
        ),
        ({"email": "ada@example.com", "source": "a\nb"}, "source"),
    ],
)
async def test_bad_input_is_named(client: Client, body: Any, field: str) -> None:
    error = await client.expect_error("POST", "/suppressions", 422, "validation_failed", json=body)
    assert list(error["errors"]) == [field]


async def test_a_foreign_list_is_a_bad_field(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    stranger = await make_client(await make_project(name="Other"))
    foreign = await subscribed_list(stranger, "Eve")
    body = {"email": "ada@example.com", "level": "list", "list_id": foreign}
    error = await client.expect_error("POST", "/suppressions", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["list_id"]


async def test_a_batch_counts_bad_rows_and_fails_no_other(client: Client) -> None:
    await push(client, email="known@example.com")
    rows = [
        {"email": "a@example.com"},
        {"email": "b@example.com", "reason": "complaint"},
        {"email": "known@example.com"},
        {"email": "nobody"},
        {"email": "c@example.com", "level": "list"},
        "text",
    ]
    done = await client.data("POST", "/suppressions/batch", json={"suppressions": rows})
    assert {name: done[name] for name in ("received", "created", "known", "invalid")} == {
        "received": 6,
        "created": 2,
        "known": 1,
        "invalid": 3,
    }
    assert done["invalid_examples"] == [json.dumps(row) for row in rows[3:]]
    found = await client.data("GET", "/suppressions", params={"reason": "complaint"})
    assert [row["email"] for row in found] == ["b@example.com"]


@pytest.mark.parametrize("rows", [[], [{"email": "a@example.com"}] * 1_001])
async def test_a_batch_has_1_to_1000_rows(client: Client, rows: list[Any]) -> None:
    body = {"suppressions": rows}
    await client.expect_error("POST", "/suppressions/batch", 422, "validation_failed", json=body)


async def test_a_cursor_leads_through_all_once(client: Client) -> None:
    for number in range(5):
        await push(client, email=f"p{number}@example.com")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        params = {"per_page": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/suppressions", params=params)).json()
        seen += [row["email"] for row in page["data"]]
        cursor = page["meta"]["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"p{number}@example.com" for number in reversed(range(5))]


async def test_a_removed_suppression_lets_mail_through(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    made = await push(client, email="ada@example.com")
    response = await client.delete(f"/suppressions/{made['id']}")
    assert response.status_code == 204
    await client.expect_error("GET", f"/suppressions/{made['id']}", 404, "not_found")
    await send_campaign(client, runtime, list_id)
    assert "ada@example.com" in await mailed(client)


async def test_an_erased_person_is_shown_without_address_and_stays(
    client: Client, list_id: str, status: Status
) -> None:
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada@example.com"})
    await client.post(f"/subscribers/{ada['id']}/erase", json={})
    [row] = await client.data("GET", "/suppressions", params={"reason": "erased"})
    assert row["email"] is None
    await client.expect_error("DELETE", f"/suppressions/{row['id']}", 409, "suppression_permanent")


async def test_the_installations_own_are_shown_to_who_asks_for_the_address_and_to_nobody_else(
    client: Client, runtime: Runtime
) -> None:
    async with runtime.db.unit_of_work() as session:
        await service.suppress(
            session,
            project_id=None,
            scope=queries.GLOBAL_SCOPE,
            address_keys=["spamtrap@example.com"],
            reason=Reason.manual,
            source="operator",
        )
    assert await client.data("GET", "/suppressions") == []
    [row] = await client.data("GET", "/suppressions", params={"email": "SpamTrap@example.com"})
    assert row["level"] == "global"
    await client.expect_error("DELETE", f"/suppressions/{row['id']}", 404, "not_found")


async def test_another_project_sees_and_changes_nothing(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    made = await push(client, email="ada@example.com")
    stranger = await make_client(await make_project(name="Other"))
    assert await stranger.data("GET", "/suppressions", params={"email": "ada@example.com"}) == []
    for method in ("GET", "DELETE"):
        await stranger.expect_error(method, f"/suppressions/{made['id']}", 404, "not_found")
    await client.data("GET", f"/suppressions/{made['id']}")


async def test_a_key_of_one_list_keeps_to_it(
    client: Client, make_client: MakeClient, project: Any, list_id: str
) -> None:
    narrow = await make_client(project, list_ids=(ids.private("lst", list_id),))
    wide = await push(client, email="ada@example.com")
    await narrow.expect_error("POST", "/suppressions", 403, "forbidden", json={"email": "x@example.com"})
    await narrow.expect_error("DELETE", f"/suppressions/{wide['id']}", 403, "forbidden")
    mine = await push(narrow, email="grace@example.com", level="list", list_id=list_id)
    assert [row["id"] for row in await narrow.data("GET", "/suppressions")] == [mine["id"]]


# ``/unsubscribes``


async def test_an_unsubscribe_from_one_list_ends_that_subscription(
    client: Client, list_id: str, status: Status
) -> None:
    body = {"email": "ada@example.com", "list_id": list_id, "source": "preference page"}
    made = await client.data("POST", "/unsubscribes", 201, json=body)
    assert (made["list_id"], made["source"]) == (list_id, "preference page")
    assert await status("ada@example.com") == "unsubscribed"
    assert (await client.data("POST", "/unsubscribes", 200, json=body))["id"] == made["id"]


async def test_an_unsubscribe_from_all_lists_holds_for_lists_to_come(
    client: Client, runtime: Runtime, list_id: str, status: Status
) -> None:
    await client.data("POST", "/unsubscribes", 201, json={"email": "ada@example.com"})
    assert await status("ada@example.com") == "unsubscribed"
    later = await subscribed_list(client, "Ada", "Ken")
    await send_campaign(client, runtime, later)
    assert await mailed(client) == {"ken@example.com"}


async def test_an_unsubscribe_from_all_lists_ends_with_the_consent_to_a_new_one(
    client: Client, runtime: Runtime
) -> None:
    await client.data("POST", "/unsubscribes", 201, json={"email": "ada@example.com"})
    later = await subscribed_list(client, "Ken")
    consent = {"source": "sign-up form"}
    body = {"list_id": later, "email": "ada@example.com", "consent": consent}
    await client.data("POST", "/subscribers", 201, json=body)
    await send_campaign(client, runtime, later)
    assert await mailed(client) == {"ada@example.com", "ken@example.com"}


async def test_unsubscribes_are_listed_corrected_and_forgotten(client: Client, list_id: str) -> None:
    body = {"email": "ada@example.com", "list_id": list_id}
    made = await client.data("POST", "/unsubscribes", 201, json=body)
    await push(client, email="grace@example.com")
    assert [row["id"] for row in await client.data("GET", "/unsubscribes")] == [made["id"]]
    path = f"/unsubscribes/{made['id']}"
    assert (await client.data("PATCH", path, json={"source": "phone"}))["source"] == "phone"
    assert (await client.data("GET", path))["source"] == "phone"
    assert (await client.delete(path)).status_code == 204
    await client.expect_error("GET", path, 404, "not_found")


async def test_a_suppression_for_another_reason_is_no_unsubscribe(client: Client) -> None:
    made = await push(client, email="ada@example.com")
    await client.expect_error("GET", f"/unsubscribes/{made['id']}", 404, "not_found")


async def test_a_page_unsubscribe_shows_up_with_its_source(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    await client.delete("/subscribers/ada@example.com", params={"list_id": list_id})
    [row] = await client.data("GET", "/unsubscribes", params={"email": "ada@example.com"})
    assert row["list_id"] == list_id
