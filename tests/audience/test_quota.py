"""The plan's subscribers, counted exactly under any concurrency."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import func, select

from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import service
from newsletter.audience.models import Status, Subscriber
from newsletter.audience.quota import SubscriberLimitReached
from newsletter.audience.schemas import ListCreate, ListSubscriberCreate
from newsletter.audience.service import Target
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

Counted = Callable[[], Awaitable[int]]


async def active(db: Database, project: Project) -> int:
    async with db.read() as session:
        statement = select(func.count()).where(
            Subscriber.project_id == project.id, Subscriber.status == Status.active
        )
        return (await session.execute(statement)).scalar_one()


async def target(db: Database, project: Project, limit: int | None) -> Target:
    async with db.unit_of_work() as session:
        row = await service.create_list(session, project, ListCreate(name="x"))
    return Target(project, row.id, limit, key_id=None, policy=Resubscribe.allow)


async def test_of_two_hundred_at_once_on_a_hundred_left_exactly_a_hundred_get_in(
    runtime: Runtime, project: Project, counted: Counted
) -> None:
    db, to = runtime.db, await target(runtime.db, project, 100)

    async def add(number: int) -> bool:
        body = ListSubscriberCreate(email=f"u{number}@example.com")
        try:
            async with db.unit_of_work() as session:
                await service.subscribe(session, runtime.vault, to, body, runtime.settings.limits)
        except SubscriberLimitReached:
            return False
        return True

    made = await asyncio.gather(*(add(number) for number in range(200)))
    assert sum(made) == 100
    assert await counted() == 100
    assert await active(db, project) == 100


async def test_one_address_added_fifty_times_at_once_is_one_subscriber(
    client: Client, list_id: str, db: Database, project: Project, counted: Counted
) -> None:
    async def add(number: int) -> int:
        body = {"email": f"{'aA'[number % 2]}lice@example.com", "list_id": list_id, "tags": [str(number)]}
        return (await client.post("/subscribers", json=body)).status_code

    codes = await asyncio.gather(*(add(number) for number in range(50)))
    assert sorted(codes) == [200] * 49 + [201]
    assert await active(db, project) == await counted() == 1


async def test_all_ways_in_and_out_at_once_keep_the_count_exact(
    runtime: Runtime, project: Project, counted: Counted
) -> None:
    """Upserts, batches, departures, bounces, erasures and corrections, racing on ten addresses."""
    db, vault, limits = runtime.db, runtime.vault, runtime.settings.limits
    first, second = await target(db, project, 12), await target(db, project, 12)
    people = [f"u{number}@example.com" for number in range(10)]

    async def act(number: int) -> None:
        email, to = people[number % 10], (first, second)[number // 10 % 2]
        async with db.unit_of_work() as session:
            match number % 7:
                case 0 | 1:
                    body = ListSubscriberCreate(email=email, custom_fields={f"f{number}": 1})
                    await service.subscribe(session, vault, to, body, limits)
                case 2:
                    rows = [{"email": each, "custom_fields": {f"g{number}": 1}} for each in reversed(people)]
                    await service.import_batch(
                        session, vault, to, service.read_batch(to, rows, limits), limits
                    )
                case 3 | 4:
                    await service.unsubscribe(session, project, source="test", address_key=email)
                case 5:
                    await service.mark_bounced(session, project, email, source="test")
                case _:
                    row = (
                        await session.scalars(
                            select(Subscriber.id).where(Subscriber.address_key == email).limit(1)
                        )
                    ).one_or_none()
                    await service.erase(session, vault, project, row or ids.uuid7(), key_id=None)

    results = await asyncio.gather(*(act(number) for number in range(140)), return_exceptions=True)
    unexpected = [
        error
        for error in results
        if isinstance(error, BaseException)
        and type(error).__name__ not in ("SubscriberLimitReached", "NotFound")
    ]
    assert unexpected == []
    assert await active(db, project) == await counted() <= 12
    async with db.unit_of_work() as session:
        fresh = [{"email": f"fresh{number}@example.com"} for number in range(20)]
        sheet = service.read_batch(first, fresh, limits)
        done = await service.import_batch(session, vault, first, sheet, limits)
    assert done.skipped_over_cap >= 8
    assert await active(db, project) == await counted() == 12


async def test_a_full_plan_answers_402_and_makes_room_when_somebody_leaves(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    client = await make_client(await make_project(plan="free", is_test=False))
    list_id = (await client.data("POST", "/lists", 201, json={"name": "x"}))["id"]
    rows = [{"email": f"u{number}@example.com"} for number in range(500)]
    await client.data("POST", "/subscribers/batch", json={"list_id": list_id, "subscribers": rows})
    new = {"email": "new@example.com", "list_id": list_id}
    for method in ("POST", "PUT"):
        await client.expect_error(method, "/subscribers", 402, "subscriber_limit_reached", json=new)
    known = {"email": "u1@example.com", "list_id": list_id, "first_name": "U"}
    await client.data("POST", "/subscribers", 200, json=known)
    await client.data(
        "PUT", "/subscribers", 201, json={**new, "email": "off@example.com", "status": "unsubscribed"}
    )
    await client.delete("/subscribers/u0@example.com")
    await client.data("POST", "/subscribers", 201, json=new)
    back = {"email": "u0@example.com", "list_id": list_id}
    await client.expect_error("POST", "/subscribers", 402, "subscriber_limit_reached", json=back)
    [row] = (await client.get("/subscribers", params={"search": "u0@"})).json()["data"]
    assert row["status"] == "unsubscribed"
    path = f"/subscribers/{row['id']}"
    await client.expect_error("PATCH", path, 402, "subscriber_limit_reached", json={"status": "active"})
    assert (await client.data("GET", "/account/usage"))["subscribers"]["used"] == 500


async def test_a_test_project_has_a_counter_of_its_own(
    make_project: MakeProject, make_client: MakeClient, client: Client, list_id: str, counted: Counted
) -> None:
    other = await make_client(await make_project())
    theirs = (await other.data("POST", "/lists", 201, json={"name": "x"}))["id"]
    await other.data("POST", "/subscribers", 201, json={"email": "a@example.com", "list_id": theirs})
    assert await counted() == 0
