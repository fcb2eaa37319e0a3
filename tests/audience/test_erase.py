"""`POST /subscribers/{id}/erase` leaves nothing that names the person."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select, text

from newsletter.accounts.project import Project
from newsletter.events.models import Event
from newsletter.kit.db import Base, Database
from newsletter.kit.jobs import Job
from tests.audience.conftest import Events, MakeList
from tests.client import Client

Counted = Callable[[], Awaitable[int]]
Suppressed = Callable[[], Awaitable[set[tuple[str, str, str]]]]
ALICE = "alice@example.com"
CONSENT = {"source": "form", "ip": "192.0.2.7", "text": "Alice says yes"}


async def add(client: Client, list_id: str, **fields: Any) -> Any:
    body = {"email": ALICE, "list_id": list_id, **fields}
    return (await client.post("/subscribers", json=body)).json()["data"]


async def everything(db: Database) -> str:
    """All rows of all tables as text, but for the job that carries the address on."""
    found = []
    async with db.read() as session:
        for name in Base.metadata.tables:
            if name != "jobs":
                found += [str(row) for row in await session.execute(text(f'SELECT * FROM "{name}"'))]
    return "\n".join(found)


async def test_erase_leaves_nothing_that_names_the_person(
    db: Database,
    client: Client,
    make_list: MakeList,
    events: Events,
    counted: Counted,
    suppressed: Suppressed,
) -> None:
    one, two, gone = [await make_list(name) for name in ("One", "Two", "Gone")]
    first = await add(client, one, first_name="Alice", last_name="Liddell", consent=CONSENT)
    await add(client, two)
    await add(client, gone)
    await client.delete(f"/lists/{gone}")
    await client.delete(f"/subscribers/{ALICE}", params={"list_id": two})
    before = len(await events())
    assert await client.data("POST", f"/subscribers/{first['id']}/erase") == {"erased": 2}
    books = await everything(db)
    for word in ("alice", "Alice", "Liddell", "192.0.2.7"):
        assert word not in books
    assert await counted() == 0
    assert len(await events()) == before
    assert {email for _, email in await events()} == {None}
    [(scope, stone, reason)] = await suppressed()
    assert (scope, reason) == ("project", "erased")
    assert stone.startswith("#")
    await client.expect_error("GET", f"/subscribers/{first['id']}", 404, "not_found")


async def test_erase_again_is_done_already(client: Client, list_id: str) -> None:
    made = await add(client, list_id)
    path = f"/subscribers/{made['id']}/erase"
    assert await client.data("POST", path) == {"erased": 1}
    assert await client.data("POST", path) == {"erased": 0}
    await client.expect_error("POST", "/subscribers/sub_01k9x3v7m8e5tbn2c4r6p0qzaw/erase", 404, "not_found")


async def test_erase_has_the_messages_forgotten_by_a_job(
    db: Database, project: Project, client: Client, list_id: str, suppressed: Suppressed
) -> None:
    made = await add(client, list_id)
    await client.data("POST", f"/subscribers/{made['id']}/erase")
    async with db.read() as session:
        job = (await session.scalars(select(Job).where(Job.name == "delivery.forget"))).one()
    [(_, stone, _)] = await suppressed()
    assert job.payload == {
        "project_id": str(project.id),
        "address_key": ALICE,
        "replacement": stone,
        "subscriber_ids": [made["id"]],
    }


async def test_erase_leaves_other_people_alone(db: Database, client: Client, list_id: str) -> None:
    made = await add(client, list_id)
    body = {"email": "bob@example.com", "list_id": list_id, "first_name": "Bob"}
    bob = await client.data("POST", "/subscribers", 201, json=body)
    await client.data("POST", f"/subscribers/{made['id']}/erase")
    assert await client.data("GET", f"/subscribers/{bob['id']}") == bob
    async with db.read() as session:
        names = [
            row.data["subscriber"]["first_name"]
            for row in await session.scalars(select(Event).order_by(Event.id))
        ]
    assert names == [None, "Bob"]


async def test_an_import_brings_an_erased_address_back_unsubscribed(
    client: Client, list_id: str, counted: Counted
) -> None:
    made = await add(client, list_id)
    await client.data("POST", f"/subscribers/{made['id']}/erase")
    rows = {"list_id": list_id, "subscribers": [{"email": "Alice@Example.com"}]}
    done = await client.data("POST", "/subscribers/batch", json=rows)
    assert (done["created"], done["reactivated"]) == (1, 0)
    [row] = (await client.get("/subscribers")).json()["data"]
    assert row["status"] == "unsubscribed"
    assert await counted() == 0
    [consent] = await client.data("GET", f"/subscribers/{row['id']}/consents")
    assert (consent["action"], consent["source"]) == ("unsubscribed", "suppressed: erased")


async def test_consent_lifts_the_tombstone(client: Client, list_id: str, suppressed: Suppressed) -> None:
    made = await add(client, list_id)
    await client.data("POST", f"/subscribers/{made['id']}/erase")
    again = await add(client, list_id, consent=CONSENT)
    assert again["status"] == "active"
    assert again["id"] != made["id"]
    assert await suppressed() == set()


async def test_consent_lifts_the_tombstone_later_too(
    client: Client, list_id: str, make_list: MakeList, suppressed: Suppressed
) -> None:
    made = await add(client, list_id)
    await client.data("POST", f"/subscribers/{made['id']}/erase")
    assert (await add(client, list_id))["status"] == "unsubscribed"
    error = await client.expect_error(
        "PUT",
        "/subscribers",
        422,
        "validation_failed",
        json={"email": ALICE, "list_id": await make_list("Two"), "status": "active"},
    )
    assert list(error["errors"]) == ["consent"]
    assert (await add(client, list_id, consent=CONSENT))["status"] == "active"
    assert await suppressed() == set()


async def test_erase_covers_who_is_left_only_in_the_history(
    db: Database, client: Client, make_list: MakeList
) -> None:
    gone = await make_list()
    made = await add(client, gone, consent=CONSENT)
    await client.delete(f"/lists/{gone}")
    assert "alice" in await everything(db)
    assert await client.data("POST", f"/subscribers/{made['id']}/erase") == {"erased": 0}
    assert "alice" not in (await everything(db)).lower()
