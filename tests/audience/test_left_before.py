"""Who unsubscribed before there was any row of them on the list, and then comes to it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.suppressions import queries, service
from newsletter.suppressions.models import Reason
from tests.client import Client

Suppressed = Callable[[], Awaitable[set[tuple[str, str, str]]]]
Add = Callable[..., Awaitable[dict[str, Any]]]

LEFT = "left@example.com"
CONSENT = {"source": "signup form", "text": "Yes, send me news"}


@pytest.fixture(params=["of the list", "of all lists"])
async def left(request: pytest.FixtureRequest, client: Client, list_id: str) -> None:
    of_list = {"list_id": list_id} if request.param == "of the list" else {}
    await client.data("POST", "/unsubscribes", 201, json={"email": LEFT, **of_list})


@pytest.fixture(params=["POST", "batch"])
def add(request: pytest.FixtureRequest, client: Client, list_id: str) -> Add:
    """Adds the address by either call and shows what is known of it then."""

    async def call(**fields: Any) -> dict[str, Any]:
        body = {"email": LEFT, **fields}
        answer = None
        if request.param == "POST":
            answer = (await client.post("/subscribers", json={**body, "list_id": list_id})).json()["data"]
        else:
            sheet = {"list_id": list_id, "subscribers": [{"email": "other@example.com"}, body]}
            await client.data("POST", "/subscribers/batch", json=sheet)
        [shown] = [each for each in await client.data("GET", "/subscribers") if each["email"] == LEFT]
        assert answer in (None, shown)
        return dict(shown)

    return call


async def actions(client: Client, subscriber: dict[str, Any]) -> list[str]:
    """Newest first."""
    return [row["action"] for row in await client.data("GET", f"/subscribers/{subscriber['id']}/consents")]


async def test_a_call_brings_back_who_left_the_list_as_it_does_a_known_one(
    client: Client, list_id: str, add: Add, suppressed: Suppressed
) -> None:
    await client.data("POST", "/unsubscribes", 201, json={"email": LEFT, "list_id": list_id})
    added = await add()
    assert added["status"] == "active"
    assert await suppressed() == set()
    assert await actions(client, added) == ["subscribed"]


async def test_who_left_all_lists_stays_away_from_one_they_were_never_on_until_they_agree(
    client: Client, add: Add, suppressed: Suppressed
) -> None:
    await client.data("POST", "/unsubscribes", 201, json={"email": LEFT})
    added = await add()
    assert (added["status"], added["subscribed_at"]) == ("unsubscribed", None)
    assert (await add())["status"] == "unsubscribed"
    assert await actions(client, added) == ["unsubscribed"]
    assert (await add(consent=CONSENT))["status"] == "active"
    assert await suppressed() == set()
    assert await actions(client, added) == ["resubscribed", "unsubscribed"]


async def test_a_call_brings_back_to_their_list_who_left_all_lists(
    client: Client, add: Add, suppressed: Suppressed
) -> None:
    await add()
    await client.data("POST", "/unsubscribes", 201, json={"email": LEFT})
    assert (await add())["status"] == "active"
    assert await suppressed() == set()


@pytest.mark.usefixtures("left")
async def test_where_consent_is_required_they_stay_away_until_they_agree(
    client: Client, add: Add, suppressed: Suppressed
) -> None:
    await client.data("PATCH", "/project", json={"resubscribe": "require_consent"})
    added = await add(first_name="Ann")
    assert (added["status"], added["first_name"], added["subscribed_at"]) == ("unsubscribed", "Ann", None)
    assert ("list", LEFT, "unsubscribe") in await suppressed()
    assert (await add())["status"] == "unsubscribed"
    assert (await add(consent=CONSENT))["status"] == "active"
    assert await suppressed() == set()
    assert await actions(client, added) == ["resubscribed", "unsubscribed"]


@pytest.mark.usefixtures("left")
async def test_a_consent_ends_it_at_once(client: Client, add: Add, suppressed: Suppressed) -> None:
    await client.data("PATCH", "/project", json={"resubscribe": "require_consent"})
    assert (await add(consent=CONSENT))["status"] == "active"
    assert await suppressed() == set()


@pytest.mark.usefixtures("left")
async def test_put_brings_them_back_only_when_it_says_active(
    client: Client, list_id: str, suppressed: Suppressed
) -> None:
    body = {"email": LEFT, "list_id": list_id}
    assert (await client.data("PUT", "/subscribers", 201, json=body))["status"] == "unsubscribed"
    assert await suppressed()
    shown = await client.data(
        "PUT", "/subscribers", 200, json={**body, "status": "active", "consent": CONSENT}
    )
    assert shown["status"] == "active"
    assert await suppressed() == set()


async def test_an_unsubscribe_of_another_list_holds_nobody_back(
    client: Client, list_id: str, suppressed: Suppressed
) -> None:
    other = (await client.data("POST", "/lists", 201, json={"name": "Other"}))["id"]
    await client.data("PATCH", "/project", json={"resubscribe": "require_consent"})
    await client.data("POST", "/unsubscribes", 201, json={"email": LEFT, "list_id": other})
    made = await client.data("POST", "/subscribers", 201, json={"email": LEFT, "list_id": list_id})
    assert made["status"] == "active"
    assert await suppressed() == {("list", LEFT, "unsubscribe")}


@pytest.mark.usefixtures("left")
async def test_a_bounce_is_the_stronger_reason(client: Client, add: Add, suppressed: Suppressed) -> None:
    bounced = await client.post("/suppressions", json={"email": LEFT, "reason": "hard_bounce"})
    assert bounced.is_success
    assert (await add(consent=CONSENT))["status"] == "bounced"
    assert ("project", LEFT, "hard_bounce") in await suppressed()


async def test_who_is_active_and_held_is_freed_by_a_consent_which_is_kept(
    client: Client, list_id: str, add: Add, db: Database, project: Project, suppressed: Suppressed
) -> None:
    await client.data("PATCH", "/project", json={"resubscribe": "require_consent"})
    added = await add()
    async with db.unit_of_work() as session:
        await service.suppress(
            session,
            project_id=project.id,
            scope=queries.list_scope(ids.private("lst", list_id)),
            address_keys=[LEFT],
            reason=Reason.unsubscribe,
            source="test",
        )
    await add()
    assert await suppressed() == {("list", LEFT, "unsubscribe")}
    await add(consent=CONSENT)
    assert await suppressed() == set()
    assert await actions(client, added) == ["resubscribed", "subscribed"]
