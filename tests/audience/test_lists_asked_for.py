"""A list that conditions of other lists ask for stays. Where they leave out who is on it, nobody would be
left out any more, and mail would go to those whom it was to spare."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from newsletter.accounts.project import Project
from newsletter.audience import keeping
from newsletter.audience.conditions import Condition
from newsletter.audience.models import Segment
from newsletter.kit import clock, ids
from newsletter.kit.errors import ValidationFailed
from newsletter.runtime import Runtime
from tests.audience.conftest import MakeList
from tests.automations.conftest import HELLO, automate
from tests.client import Client

ELSEWHERE = {"tag": "early"}


@pytest.fixture
async def customers(make_list: MakeList) -> str:
    return await make_list("Customers")


def without(customers: str) -> dict[str, Any]:
    return {"all": [ELSEWHERE, {"none": [{"list_id": customers}]}]}


async def keep_segment(client: Client, list_id: str, conditions: Any) -> str:
    body = {"list_id": list_id, "name": "No customers", "conditions": conditions}
    return str((await client.data("POST", "/segments", 201, json=body))["id"])


async def test_a_segment_of_another_list_holds_it(client: Client, list_id: str, customers: str) -> None:
    segment = await keep_segment(client, list_id, without(customers))
    error = await client.expect_error("DELETE", f"/lists/{customers}", 409, "list_in_use")
    assert segment in error["message"]
    await client.data("PATCH", f"/segments/{segment}", 200, json={"conditions": ELSEWHERE})
    assert (await client.delete(f"/lists/{customers}")).status_code == 204


async def test_a_segment_goes_with_its_own_list_and_lets_the_other_go(
    client: Client, list_id: str, customers: str
) -> None:
    await keep_segment(client, customers, without(customers))
    await keep_segment(client, customers, without(list_id))
    assert (await client.delete(f"/lists/{customers}")).status_code == 204
    assert (await client.delete(f"/lists/{list_id}")).status_code == 204


@pytest.mark.parametrize("place", ["start", "step"])
async def test_an_automation_holds_it_until_it_is_archived(
    client: Client, list_id: str, customers: str, place: str
) -> None:
    steps, start = [HELLO], None
    if place == "start":
        start = {"condition": {"when": without(customers)}}
    else:
        steps = [{"branch": {"when": without(customers), "yes": [HELLO]}}]
    automation = await automate(client, list_id, *steps, start=start)
    error = await client.expect_error("DELETE", f"/lists/{customers}", 409, "list_in_use")
    assert automation in error["message"]
    await client.delete(f"/automations/{automation}")
    assert (await client.delete(f"/lists/{customers}")).status_code == 204


async def test_an_automation_may_ask_for_its_own_list(client: Client, list_id: str) -> None:
    await automate(client, list_id, {"branch": {"when": {"list_id": list_id}, "yes": [HELLO]}})
    assert (await client.delete(f"/lists/{list_id}")).status_code == 204


async def test_conditions_are_not_kept_beside_a_list_that_is_gone(
    client: Client, list_id: str, customers: str, runtime: Runtime, project: Project
) -> None:
    """As where it was there when they were checked."""
    asking = Condition.model_validate(without(customers))
    async with runtime.db.unit_of_work() as session:
        await keeping.hold_lists(session, project, ids.in_path("lst", list_id), [asking])
    await client.delete(f"/lists/{customers}")
    with pytest.raises(ValidationFailed):
        async with runtime.db.unit_of_work() as session:
            await keeping.hold_lists(session, project, ids.in_path("lst", list_id), [asking])


@pytest.mark.usefixtures("postgresql_alone")
async def test_who_deletes_a_list_waits_for_conditions_that_are_being_kept(
    client: Client, list_id: str, customers: str, runtime: Runtime, project: Project
) -> None:
    asking = Condition.model_validate(without(customers))
    waits = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    async with runtime.db.unit_of_work() as session:
        await keeping.hold_lists(session, project, ids.in_path("lst", list_id), [asking])
        deleting = asyncio.create_task(client.delete(f"/lists/{customers}"))
        async with asyncio.timeout(20):
            while not await session.scalar(waits):
                await asyncio.sleep(0.01)
        session.add(
            Segment(
                id=ids.uuid7(),
                project_id=project.id,
                list_id=ids.in_path("lst", list_id),
                name="No customers",
                conditions=asking.model_dump(mode="json"),
                version=1,
                created_at=clock.now(),
                updated_at=clock.now(),
            )
        )
    assert (await deleting).status_code == 409


@pytest.mark.usefixtures("postgresql_alone")
async def test_conditions_do_not_hold_the_list_that_they_go_with(
    client: Client, list_id: str, runtime: Runtime, project: Project
) -> None:
    """Who deletes it locks the list before its segments, and who changes one of them the segment first."""
    asking = Condition.model_validate({"list_id": list_id})
    async with runtime.db.unit_of_work() as session, asyncio.timeout(20):
        await keeping.hold_lists(session, project, ids.in_path("lst", list_id), [asking])
        assert (await client.delete(f"/lists/{list_id}")).status_code == 204
