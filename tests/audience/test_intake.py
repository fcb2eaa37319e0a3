"""Single calls that share a transaction: each with its own answer, and as exact as alone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import announce as announcing
from newsletter.audience import newcomers, service, single, straight
from newsletter.audience.intake import Intake
from newsletter.audience.models import Consent, CustomField, Subscriber
from newsletter.audience.rows import Row
from newsletter.audience.upsert import Target
from newsletter.kit import address, ids
from newsletter.kit.db import Database
from newsletter.kit.jobs import Job
from newsletter.plans.models import Counter as PlanCounter
from newsletter.runtime import Runtime
from tests.audience.conftest import Events
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

Counted = Callable[[], Awaitable[int]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls each transaction took."""
    made: list[int] = []
    carry_out = Intake.carry_out

    async def noted(self: Intake, target: Any, calls: Sequence[Any]) -> Any:
        made.append(len(calls))
        return await carry_out(self, target, calls)

    monkeypatch.setattr(Intake, "carry_out", noted)
    return made


async def all_at_once(
    client: Client, list_id: str, *bodies: dict[str, Any], method: str = "POST"
) -> list[Any]:
    calls = (client.request(method, "/subscribers", json={"list_id": list_id, **body}) for body in bodies)
    return list(await asyncio.gather(*calls))


async def test_calls_of_one_moment_share_transactions_and_jobs(
    client: Client, list_id: str, steps: list[int], events: Events, db: Database, counted: Counted
) -> None:
    await client.data("POST", "/webhooks", 201, json={"url": "http://hooks.example.com/"})
    answers = await all_at_once(
        client, list_id, *({"email": f"u{n}@example.com", "first_name": f"N{n}"} for n in range(40))
    )

    assert [answer.status_code for answer in answers] == [201] * 40
    assert [answer.json()["data"]["first_name"] for answer in answers] == [f"N{n}" for n in range(40)]
    assert len({answer.json()["data"]["id"] for answer in answers}) == 40
    assert sum(steps) == 40
    assert len(steps) < 20
    assert await counted() == 40
    assert Counter(await events()) == Counter(("subscriber.created", f"u{n}@example.com") for n in range(40))
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(Consent)) == 40
        fanned = select(func.count()).where(Job.name == "webhooks.fan_out")
        assert await session.scalar(fanned) == len(steps)


async def test_an_address_twice_in_one_transaction_is_added_once_and_then_updated(
    client: Client, list_id: str, steps: list[int], events: Events
) -> None:
    """Each caller sees what its own call made of it; the first is held so that the others queue."""
    first = {"email": "x@example.com"}
    same = [{"email": "Twice@example.com", "first_name": f"N{n}", "tags": [f"t{n}"]} for n in range(3)]
    answers = await all_at_once(client, list_id, first, *same)

    assert [answer.status_code for answer in answers] == [201, 201, 200, 200]
    shown = [answer.json()["data"] for answer in answers[1:]]
    assert [(row["first_name"], row["tags"]) for row in shown] == [(f"N{n}", [f"t{n}"]) for n in range(3)]
    assert len({row["id"] for row in shown}) == 1
    assert len(await events()) == 2
    row = await client.data("GET", f"/subscribers/{shown[0]['id']}")
    assert row["first_name"] == "N2"


async def test_a_put_leaves_the_status_and_a_post_brings_back(client: Client, list_id: str) -> None:
    body = {"email": "back@example.com"}
    await all_at_once(client, list_id, body)
    await client.delete("/subscribers/back@example.com")

    [put] = await all_at_once(client, list_id, body, method="PUT")
    [post] = await all_at_once(client, list_id, body)

    assert (put.status_code, put.json()["data"]["status"]) == (200, "unsubscribed")
    assert (post.status_code, post.json()["data"]["status"]) == (200, "active")


async def test_each_call_has_its_own_error(
    client: Client, list_id: str, runtime: Runtime, db: Database, counted: Counted
) -> None:
    limit = runtime.settings.limits.custom_fields
    many = {f"f{n}": 1 for n in range(limit)}
    bodies: list[dict[str, Any]] = [
        {"email": "a@example.com"},
        {"email": "no address"},
        {"email": "b@example.com", "custom_fields": many},
        {"email": "c@example.com", "custom_fields": {"f0": 1, "one_more": 1}},
        {"email": "d@example.com", "tags": [f"t{n}" for n in range(runtime.settings.limits.tags + 1)]},
        {"email": "e@example.com", "custom_fields": {"f1": "x"}},
    ]
    answers = await all_at_once(client, list_id, *bodies)

    assert [answer.status_code for answer in answers] == [201, 422, 201, 422, 422, 201]
    assert list(answers[3].json()["error"]["errors"]) == ["custom_fields.one_more"]
    assert list(answers[4].json()["error"]["errors"]) == ["tags"]
    assert await counted() == 3
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(CustomField)) == limit


async def test_a_list_that_is_not_there_is_said_to_each(client: Client, make_list: Any) -> None:
    list_id = await make_list()
    await client.request("DELETE", f"/lists/{list_id}")
    answers = await all_at_once(client, list_id, *({"email": f"u{n}@example.com"} for n in range(5)))

    assert [answer.status_code for answer in answers] == [422] * 5
    assert all(list(answer.json()["error"]["errors"]) == ["list_id"] for answer in answers)


async def test_one_bad_row_fails_alone(
    client: Client, list_id: str, monkeypatch: pytest.MonkeyPatch, counted: Counted, steps: list[int]
) -> None:
    """Whatever it is that the database refuses in it."""
    described = announcing.described

    def refuse(row: Row) -> Any:
        if row.email.startswith("bad"):
            raise ValueError("the database refused it")
        return described(row)

    for way in (announcing, newcomers, straight):
        monkeypatch.setattr(way, "described", refuse)
    emails = ["first", "u1", "u2", "bad", "u3"]
    answers = await all_at_once(client, list_id, *({"email": f"{name}@example.com"} for name in emails))

    assert [answer.status_code for answer in answers] == [201, 201, 201, 500, 201]
    assert await counted() == 4


async def test_an_outage_is_said_to_all_and_nothing_is_tried_again(
    client: Client, list_id: str, monkeypatch: pytest.MonkeyPatch, steps: list[int], counted: Counted
) -> None:
    async def away(*arguments: Any, **named: Any) -> Any:
        raise OperationalError("INSERT", {}, Exception("away"))

    for way in (single, straight):
        monkeypatch.setattr(way, "subscribe_all", away)
    answers = await all_at_once(client, list_id, *({"email": f"u{n}@example.com"} for n in range(6)))

    assert [answer.status_code for answer in answers] == [503] * 6
    assert sum(steps) == 6
    assert await counted() == 0


async def test_of_two_hundred_at_once_a_hundred_places_go_to_a_hundred(
    make_project: MakeProject, make_client: MakeClient, db: Database, runtime: Runtime
) -> None:
    """Over HTTP, with the errors of the plan, by two processes' worth of intakes."""
    project = await make_project(is_test=False, plan="free")
    one, two = await make_client(project), await make_client(project)
    list_id = str((await one.data("POST", "/lists", 201, json={"name": "x"}))["id"])
    rows = [{"email": f"known{n}@example.com"} for n in range(480)]
    await one.data("POST", "/subscribers/batch", json={"list_id": list_id, "subscribers": rows})
    for client in (one, two):
        client.headers["X-Request-Id"] = "the-same-for-all"

    halves = await asyncio.gather(
        *(
            all_at_once(client, list_id, *({"email": f"u{n}@example.com"} for n in range(25)))
            for client in (one, two)
        )
    )

    statuses = Counter(answer.status_code for half in halves for answer in half)
    assert statuses[201] == 20
    assert statuses[200] + statuses[402] == 30
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(Subscriber)) == 500


async def test_two_processes_that_add_the_same_addresses_add_each_once(
    client: Client,
    list_id: str,
    runtime: Runtime,
    make_client: MakeClient,
    project: Project,
    counted: Counted,
) -> None:
    """Each with an engine and an intake of its own, as two API processes have."""
    second = Runtime(runtime.settings, lambda rings: None)
    try:
        targets: list[Any] = []
        subscribe = Intake.subscribe

        async def keep(self: Intake, target: Any, call: Any) -> Any:
            targets.append((target, call))
            return await subscribe(self, target, call)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Intake, "subscribe", keep)
            await all_at_once(client, list_id, {"email": "first@example.com"})
        [(target, call)] = targets
        intakes = (runtime.intake, second.intake)

        calls = [
            replace(call, entry=replace(call.entry, address=address.parse(f"u{n}@example.com")))
            for n in range(30)
        ]
        results = await asyncio.gather(
            *(intake.subscribe(target, each) for each in calls for intake in intakes)
        )
    finally:
        await second.aclose()

    assert sum(result.is_new for result in results) == 30
    assert len({result.row.id for result in results}) == 30
    assert await counted() == 31


async def test_two_processes_that_import_the_same_people_add_each_once(
    client: Client, list_id: str, runtime: Runtime, project: Project, counted: Counted
) -> None:
    await client.data("POST", "/subscribers", 201, json={"list_id": list_id, "email": "first@example.com"})
    target = Target(project, ids.private("lst", list_id), None, None, Resubscribe.allow)
    rows = [{"email": f"u{n}@example.com"} for n in range(200)]
    second = Runtime(runtime.settings, lambda rings: None)
    try:
        results = await asyncio.gather(
            *(
                intake.import_batch(target, service.read_batch(target, rows, runtime.settings.limits))
                for intake in (runtime.intake, second.intake)
                for _ in range(2)
            )
        )
    finally:
        await second.aclose()

    assert sorted((result.created, result.updated) for result in results) == [(0, 200)] * 3 + [(200, 0)]
    assert await counted() == 201
    async with runtime.db.read() as session:
        used = select(PlanCounter.used).where(
            PlanCounter.owner_id == project.quota_owner_id, PlanCounter.resource == "subscribers"
        )
        assert await session.scalar(used) == 201


async def test_nobody_is_told_before_it_is_on_disk(
    client: Client, list_id: str, db: Database, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    """The next transaction goes on meanwhile."""
    is_synced = asyncio.Event()
    on_disk = db.on_disk

    async def late() -> None:
        await is_synced.wait()
        await on_disk()

    monkeypatch.setattr(db, "on_disk", late)
    calls = [
        asyncio.create_task(
            client.post("/subscribers", json={"list_id": list_id, "email": f"u{number}@example.com"})
        )
        for number in range(3)
    ]
    async with asyncio.timeout(30):
        while await counted() < 3:
            await asyncio.sleep(0.01)
    assert not any(call.done() for call in calls)
    is_synced.set()

    assert [(await call).status_code for call in calls] == [201] * 3


async def test_a_step_looks_for_newcomers_until_it_meets_somebody_known(
    client: Client, list_id: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement for people who are all new; where it writes nothing it was for nothing."""
    if db.is_sqlite:
        pytest.skip("SQLite has the one way")
    tried: list[str] = []
    subscribe_all = newcomers.subscribe_all

    async def noted(*given: Any) -> Any:
        done = await subscribe_all(*given)
        tried.append("missed" if done is None else "added")
        return done

    monkeypatch.setattr(newcomers, "subscribe_all", noted)
    waits: list[bool] = []
    on_disk = db.on_disk

    async def waited() -> None:
        waits.append(True)
        await on_disk()

    monkeypatch.setattr(db, "on_disk", waited)
    seen = []
    for name in ("first", "a", "a", "a", "b", "c"):
        tried.clear()
        waits.clear()
        [answer] = await all_at_once(client, list_id, {"email": f"{name}@example.com"})
        seen.append((answer.status_code, *tried, *waits))

    # The first of a project makes its counter. Whoever comes in one statement is on disk at once.
    assert seen == [
        (201, "missed", True),
        (201, "added"),
        (200, "missed", True),
        (200, True),
        (201, True),
        (201, "added"),
    ]


async def test_a_disk_that_nobody_heard_of_is_an_outage(
    client: Client, list_id: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(db, "on_disk", away)
    [answer] = await all_at_once(client, list_id, {"email": "x@example.com"})

    assert answer.status_code == 503


async def test_a_queue_is_forgotten_when_it_is_empty(client: Client, list_id: str, runtime: Runtime) -> None:
    await all_at_once(client, list_id, *({"email": f"u{n}@example.com"} for n in range(10)))

    await asyncio.sleep(0)
    assert len(runtime.intake._queues) <= 1


async def test_a_call_with_a_key_has_one_effect(client: Client, list_id: str, events: Events) -> None:
    async def call() -> Any:
        return await client.post(
            "/subscribers",
            json={"list_id": list_id, "email": "once@example.com"},
            headers={"Idempotency-Key": "k-1"},
        )

    answers = await asyncio.gather(
        *(call() for _ in range(10)),
        *(all_at_once(client, list_id, {"email": "o@example.com"}) for _ in range(3)),
    )

    statuses = Counter(answer.status_code for answer in answers[:10])
    assert set(statuses) <= {201, 409}
    assert (await call()).status_code == 201
    assert [email for _, email in await events()].count("once@example.com") == 1
