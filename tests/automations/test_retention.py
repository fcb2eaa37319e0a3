"""Steps of runs that are long over go; that there was a run stays while it keeps somebody from another."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from newsletter.automations import retention as ends
from newsletter.automations.models import Automation, Cause, Run, RunStatus, RunStep, StepOutcome
from newsletter.kit import clock, ids
from newsletter.kit.ids import first_of
from newsletter.privacy import retention
from newsletter.runtime import Runtime
from tests.automations.conftest import HELLO, automate, runs
from tests.client import Client


async def had_run(
    runtime: Runtime, automation_id: str, subscriber_id: str, begun: datetime, ended: datetime | None
) -> UUID:
    """A run of that time with one step."""
    run_id = UUID(int=first_of(begun).int | 1)
    async with runtime.db.unit_of_work() as session:
        automation = await session.get(Automation, ids.private("aut", automation_id))
        assert automation is not None
        session.add(
            Run(
                id=run_id,
                project_id=automation.project_id,
                automation_id=automation.id,
                subscriber_id=ids.private("sub", subscriber_id),
                entry="once",
                cause=Cause.trigger,
                status=RunStatus.completed if ended else RunStatus.running,
                step_id=None if ended else "hello",
                due_at=clock.now() + timedelta(days=1),
                taken=1,
                started_at=begun,
                ended_at=ended,
            )
        )
        await session.flush()
        step = RunStep(run_id=run_id, number=1, step_id="hello", outcome=StepOutcome.waited, at=begun)
        session.add(step)
    return run_id


@pytest.fixture
async def people(client: Client, list_id: str) -> list[str]:
    return [str(each["id"]) for each in await client.data("GET", f"/subscribers?list_id={list_id}")]


async def kept(runtime: Runtime) -> tuple[set[UUID], set[UUID]]:
    """The runs that are there, and those that have steps."""
    async with runtime.db.read() as session:
        return set(await session.scalars(select(Run.id))), set(await session.scalars(select(RunStep.run_id)))


async def test_old_steps_go_and_their_run_still_keeps_its_subscriber_from_another(
    client: Client, runtime: Runtime, list_id: str, people: list[str]
) -> None:
    now, days = clock.now(), runtime.settings.retention.run_days
    long_ago, lately = now - timedelta(days=days + 1), now - timedelta(days=days - 1)
    before = long_ago - timedelta(days=1)
    automation_id = await automate(client, list_id, HELLO)
    old = await had_run(runtime, automation_id, people[0], before, long_ago)
    young = await had_run(runtime, automation_id, people[1], before + timedelta(hours=1), lately)
    other = await automate(client, list_id, HELLO)
    waiting = await had_run(runtime, other, people[0], before + timedelta(hours=2), None)
    for _ in range(2):
        await retention.prune(runtime.db, runtime.settings)
    assert await kept(runtime) == ({old, young, waiting}, {young, waiting})
    assert not await ends.drop_steps(runtime.db, now - timedelta(days=days))
    assert [run["steps"] == [] for run in await runs(client, automation_id)] == [True, False]
    who = {"subscriber_id": people[0]}
    await client.expect_error("POST", f"/automations/{automation_id}/trigger", 409, "already_ran", json=who)


async def test_of_an_archived_automation_old_runs_go_as_a_whole(
    client: Client, runtime: Runtime, list_id: str, people: list[str]
) -> None:
    now, days = clock.now(), runtime.settings.retention.run_days
    long_ago, lately = now - timedelta(days=days + 1), now - timedelta(days=days - 1)
    before = long_ago - timedelta(days=1)
    automation_id = await automate(client, list_id, HELLO)
    await had_run(runtime, automation_id, people[0], before, long_ago)
    young = await had_run(runtime, automation_id, people[1], before + timedelta(hours=1), lately)
    assert (await client.delete(f"/automations/{automation_id}")).status_code == 204
    for _ in range(2):
        await retention.prune(runtime.db, runtime.settings)
    assert await kept(runtime) == ({young}, {young})
    assert not await ends.drop_runs(runtime.db, now - timedelta(days=days))
    assert (await client.data("GET", f"/automations/{automation_id}"))["runs"]["completed"] == 1
