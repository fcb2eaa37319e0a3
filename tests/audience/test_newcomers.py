"""People who are all new, in one statement: the same in the books as step by step, or nothing at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import newcomers, quota, service
from newsletter.audience.models import Subscriber
from newsletter.audience.upsert import Target
from newsletter.events import listening
from newsletter.events.models import Event
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason
from tests.audience.conftest import MakeAudience
from tests.audience.ways import KEY, UNKNOWN, Audience
from tests.conftest import MakeProject

pytestmark = pytest.mark.usefixtures("postgresql_alone")

_GATE = 4711
"""An advisory lock that the test has."""


async def test_people_who_are_all_new_leave_the_same_in_one_statement(make_audience: MakeAudience) -> None:
    one, other = await make_audience(limit=7), await make_audience(limit=7)
    # The same address again in one step changes who was added by it, and the plan has room for just these.
    bodies = [
        *UNKNOWN,
        {"email": "E@example.com", "last_name": "Twice", "tags": ["t"]},
        {"email": "f@example.com"},
    ]

    told = await one.as_newcomers(bodies)

    assert told is not None
    assert told == await other.step_by_step(bodies)
    assert await one.books() == await other.books()


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"email": "First@example.com", "first_name": "Known"}, None),
        ({"email": "bounced@example.com"}, None),
        ({"email": "complained@example.com"}, None),
        ({"email": "erased@example.com"}, None),
        ({"email": "left@example.com"}, None),
        ({"email": "x@example.com", "custom_fields": {"size": 2, "unheard_of": 1}}, None),
        ({"email": "x@example.com", "consent": {"source": "form", "text": "a\x1fb"}}, None),
        ({"email": "x@example.com"}, 2),
    ],
    ids=[
        "known",
        "bounced",
        "complained",
        "erased",
        "left",
        "a new field",
        "a strange text",
        "the plan is full",
    ],
)
async def test_one_statement_writes_nothing_where_not_all_is_plain(
    make_audience: MakeAudience, runtime: Runtime, body: dict[str, Any], limit: int | None
) -> None:
    one = await make_audience(limit=limit)
    project = one.target.project
    async with runtime.db.unit_of_work() as session:
        stones = suppressed.tombstones(runtime.vault, project.id, "erased@example.com")
        await suppressions.suppress(
            session,
            project_id=project.id,
            scope=suppressed.project_scope(project.id),
            address_keys=stones[:1],
            reason=Reason.erased,
            source="test",
        )
        await suppressions.suppress(
            session,
            project_id=project.id,
            scope=suppressed.list_scope(one.target.list_id),
            address_keys=["left@example.com"],
            reason=Reason.unsubscribe,
            source="test",
        )
    before = await one.books()

    assert await one.as_newcomers([{"email": "other@example.com"}, body]) is None

    assert await one.books() == before


async def test_one_statement_adds_nobody_to_a_list_of_others_nor_without_a_counter(
    make_audience: MakeAudience, make_project: MakeProject
) -> None:
    one, other = await make_audience(), await make_audience()
    project: Project = await make_project()
    for target in (
        Target(one.target.project, other.target.list_id, None, KEY, Resubscribe.allow),
        Target(project, one.target.list_id, None, KEY, Resubscribe.allow),
    ):
        before = await one.books(), await other.books()
        mine = Audience(one.runtime, target)
        assert await mine.as_newcomers([{"email": "x@example.com"}]) is None
        assert (await one.books(), await other.books()) == before


async def test_one_statement_waits_for_no_lock(make_audience: MakeAudience, runtime: Runtime) -> None:
    """Who has it may be about to suppress one of them, or to fill the plan."""
    one = await make_audience()
    async with runtime.db.unit_of_work() as session:
        await quota.lock(session, one.target.project)
        async with asyncio.timeout(20):
            assert await one.as_newcomers([{"email": "x@example.com"}]) is None
    assert await one.as_newcomers([{"email": "x@example.com"}]) is not None


@asynccontextmanager
async def added_late(
    one: Audience, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> AsyncIterator[asyncio.Task[Any]]:
    """One statement that has looked at the database, and takes the lock of the plan behind the block."""
    late = f"AND pg_advisory_xact_lock({_GATE}) IS NOT NULL FOR NO KEY UPDATE"
    monkeypatch.setattr(newcomers, "_ADD_ALL", newcomers._ADD_ALL.replace("FOR NO KEY UPDATE", late))
    waits = text(f"SELECT EXISTS (SELECT FROM pg_locks WHERE objid = {_GATE} AND NOT granted)")
    async with one.runtime.db.unit_of_work() as gate:
        await gate.execute(text(f"SELECT pg_advisory_xact_lock({_GATE})"))
        adding = asyncio.create_task(one.as_newcomers([body]))
        async with asyncio.timeout(20):
            while not await gate.scalar(waits):
                await asyncio.sleep(0.01)
        yield adding


async def test_one_statement_adds_nobody_on_the_word_of_a_moment_ago(
    make_audience: MakeAudience, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounce that frees its place in the plan between what the statement sees and its lock."""
    one = await make_audience()
    async with (
        added_late(one, monkeypatch, {"email": "x@example.com"}) as adding,
        runtime.db.unit_of_work() as session,
    ):
        await quota.lock(session, one.target.project)
        await service.mark_bounced(
            session, one.target.project, "first@example.com", source="test", key_id=KEY
        )

    assert await adding is None

    assert [row[1] for row in (await one.books())["subscribers"]] == ["first@example.com"]


async def test_of_two_who_add_the_same_at_once_one_is_told_to_look_again(
    make_audience: MakeAudience, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adds people without the lock of the counter, which nobody does."""
    one = await make_audience()
    own = {"id": ids.uuid7(), "email": "x@example.com", "address_key": "x@example.com"}
    async with (
        added_late(one, monkeypatch, {"email": "x@example.com"}) as adding,
        runtime.db.unit_of_work() as session,
    ):
        known = select(Subscriber).where(Subscriber.list_id == one.target.list_id)
        row = (await session.scalars(known)).one()
        values = {column.key: getattr(row, column.key) for column in Subscriber.__table__.columns}
        session.add(Subscriber(**values | own))
    before = await one.books()

    assert await adding is None

    assert await one.books() == before


@pytest.mark.parametrize("way", [Audience.straight, Audience.as_newcomers])
async def test_each_step_that_somebody_listens_to_has_one_job(
    make_audience: MakeAudience, runtime: Runtime, rings: Any, way: Any
) -> None:
    one = await make_audience()
    async with runtime.db.unit_of_work() as session:
        await listening.listen(
            session, one.target.project.id, listening.WEBHOOKS, [EventType.subscriber_created]
        )
    rings.clear()

    assert await way(one, UNKNOWN) is not None

    async with runtime.db.read() as session:
        fanned = select(Job).where(Job.name == "webhooks.fan_out").order_by(Job.id.desc())
        job = (await session.scalars(fanned)).first()
        events = set(await session.scalars(select(Event.id).where(Event.project_id == one.target.project.id)))
    assert job is not None
    assert [ring.job_id for ring in rings] == [job.id]
    assert {UUID(text) for text in job.payload["event_ids"]} < events
    assert len(job.payload["event_ids"]) == len(UNKNOWN)
    assert (job.status, job.attempts, job.token, job.unique_key) == ("queued", 0, 0, None)
    assert job.run_at <= datetime.now(UTC)


@pytest.mark.parametrize("way", [Audience.straight, Audience.as_newcomers])
async def test_what_nobody_listens_to_has_no_job(
    make_audience: MakeAudience, runtime: Runtime, rings: Any, way: Any
) -> None:
    one = await make_audience()
    rings.clear()
    assert await way(one, UNKNOWN) is not None
    assert not rings
    async with runtime.db.read() as session:
        told = select(Job).where(Job.name.in_(listening.JOBS.values()))
        assert not [job for job in await session.scalars(told) if job.run_at > one.made_at]
