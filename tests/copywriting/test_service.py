"""The books of generations: a unit is used or given back exactly once, whatever happens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import select, update

from newsletter.accounts.project import Project
from newsletter.copywriting import queries, service
from newsletter.copywriting.models import Generation, GenerationStatus
from newsletter.copywriting.prompts import Task
from newsletter.copywriting.schemas import VoiceBody
from newsletter.copywriting.service import (
    AINotAvailable,
    AIQuotaExceeded,
    Desk,
    Order,
    Written,
)
from newsletter.copywriting.writer import AIFailed, AINotConfigured
from newsletter.kit import clock
from newsletter.kit.db import Database, db_in
from newsletter.llm import Model
from newsletter.llm.client import OpenAIModel
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.settings import AISettings
from tests.conftest import MakeProject
from tests.fake_model import FakeModel, fails, slowly, well

ORDER = Order(prompt="Announce our autumn lamps.")


@dataclass(frozen=True)
class Books:
    """What the counter of one project says."""

    db: Database
    project: Project

    async def __call__(self) -> tuple[int, int]:
        """Used and reserved."""
        async with self.db.read() as session:
            usage = await plans.usage(session, self.project.quota_owner_id, Resource.generations, None)
        return usage.used, usage.reserved

    async def rows(self) -> list[Generation]:
        async with self.db.read() as session:
            mine = select(Generation).where(Generation.project_id == self.project.id).order_by(Generation.id)
            return list(await session.scalars(mine))


MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(task: Task, limits: Callable[..., AISettings]) -> MakeDesk:
    def make(model: Model | None = None) -> Desk:
        return Desk(model, task, limits())

    return make


async def write(db: Database, project: Project, desk: Desk, limit: int | None = 50) -> Written:
    """What a caller does: reserve, have it written, settle in its own last transaction."""
    async with db.unit_of_work() as session:
        ticket = await service.reserve(session, project, desk, ORDER, limit)
    async with service.draft(db, desk, ticket) as written, db.unit_of_work() as session:
        await service.finish(session, written)
    return written


async def test_a_generation_is_reserved_while_it_is_written_and_used_once_it_is_settled(
    db: Database, make_project: MakeProject, make_desk: MakeDesk, model: OpenAIModel
) -> None:
    project = await make_project(is_test=False)
    desk, books = make_desk(model), Books(db, project)
    async with db.unit_of_work() as session:
        ticket = await service.reserve(session, project, desk, ORDER, 50)
    assert await books() == (0, 1)
    async with service.draft(db, desk, ticket) as written:
        assert await books() == (0, 1)
        async with db.unit_of_work() as session:
            await service.finish(session, written)
    assert await books() == (1, 0)

    [row] = await books.rows()
    assert row.status is GenerationStatus.succeeded
    assert (row.calls, row.input_tokens, row.output_tokens) == (1, 100, 50)
    assert (row.model, row.prompt_name, row.prompt_hash) == ("fake-1", "newsletter", desk.task.hash)
    assert row.finished_at is not None
    assert (row.period, row.owner_id) == (clock.month(clock.now()), project.account_id)


async def test_the_facts_beside_the_copy_name_its_voice_and_what_was_removed(
    db: Database, project: Project, make_desk: MakeDesk, model: OpenAIModel, fake_server: FakeModel
) -> None:
    fake_server.script(well(body_html='<p>See <a href="https://evil.example/x">this</a> {{ salary }}</p>'))
    async with db.unit_of_work() as session:
        await service.set_voice(session, project, VoiceBody(tone="warm"))
    facts = (await write(db, project, make_desk(model))).facts
    assert (facts["writer"], facts["model"], facts["voice_version"]) == ("model", "fake-1", 1)
    assert facts["removed_links"] == ["https://evil.example/x"]
    assert facts["removed_tags"] == ["{{ salary }}"]
    assert "warm" in fake_server.requests[0].prompt


async def test_thirty_at_once_on_ten_left_are_exactly_ten(
    db: Database, make_project: MakeProject, make_desk: MakeDesk, model: OpenAIModel, fake_server: FakeModel
) -> None:
    project = await make_project(is_test=False)
    fake_server.script(slowly(0.2))
    outcomes = await asyncio.gather(
        *(write(db, project, make_desk(model), limit=10) for _ in range(30)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, AIQuotaExceeded)]
    written = [outcome for outcome in outcomes if isinstance(outcome, Written)]
    assert (len(written), len(refused)) == (10, 20)
    assert len(fake_server.requests) == 10
    assert await Books(db, project)() == (10, 0)
    wait = refused[0].retry_after
    assert wait is not None
    assert abs(wait - clock.seconds_to_next_month(clock.now())) <= 60


async def test_a_failed_generation_gives_its_unit_back_and_says_what_it_spent(
    db: Database, project: Project, make_desk: MakeDesk, model: OpenAIModel, fake_server: FakeModel
) -> None:
    fake_server.script(fails(401))
    with pytest.raises(AIFailed):
        await write(db, project, make_desk(model), limit=1)
    books = Books(db, project)
    assert await books() == (0, 0)
    [row] = await books.rows()
    assert (row.status, row.calls) == (GenerationStatus.failed, 1)
    assert row.error is not None
    assert "credentials" in row.error
    fake_server.script(well())
    await write(db, project, make_desk(model), limit=1)
    assert await books() == (1, 0)


async def test_what_fails_after_the_writing_gives_the_unit_back_too(
    db: Database, project: Project, make_desk: MakeDesk, model: OpenAIModel
) -> None:
    desk, books = make_desk(model), Books(db, project)

    async def create_that_fails(*, is_late: bool) -> None:
        async with db.unit_of_work() as session:
            ticket = await service.reserve(session, project, desk, ORDER, 50)
        async with service.draft(db, desk, ticket) as written, db.unit_of_work() as session:
            if is_late:
                await service.finish(session, written)
            raise LookupError("the template does not compile")

    for is_late in (False, True):
        with pytest.raises(LookupError):
            await create_that_fails(is_late=is_late)
        assert await books() == (0, 0)
    assert {(row.status, row.error) for row in await books.rows()} == {
        (GenerationStatus.failed, "LookupError")
    }


async def test_a_cancelled_call_does_not_leave_without_giving_its_unit_back(
    db: Database, project: Project, make_desk: MakeDesk, model: OpenAIModel, fake_server: FakeModel
) -> None:
    fake_server.script(slowly(5))
    call = asyncio.create_task(write(db, project, make_desk(model)))
    while not fake_server.requests:
        await asyncio.sleep(0.01)
    while not call.done():  # A server that stops is not patient with what it has cancelled once.
        call.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await call
    books = Books(db, project)
    async with asyncio.timeout(60):
        while await books() != (0, 0):
            await asyncio.sleep(0.01)
    assert [row.status for row in await books.rows()] == [GenerationStatus.failed]


async def test_the_unit_of_a_killed_process_comes_back_once_and_only_after_its_deadline(
    db: Database, project: Project, make_desk: MakeDesk
) -> None:
    desk, books = make_desk(), Books(db, project)
    async with db.unit_of_work() as session:
        killed = await service.reserve(session, project, desk, ORDER, 50)
        await service.reserve(session, project, desk, ORDER, 50)
    async with db.unit_of_work() as session:
        assert await service.release_lapsed(session) == 0
    assert await books() == (0, 2)

    async with db.unit_of_work() as session:
        mine = update(Generation).where(Generation.id == killed.generation_id)
        await session.execute(mine.values(deadline=db_in(-1)))
    for expected in (1, 0):
        async with db.unit_of_work() as session:
            assert await service.release_lapsed(session) == expected
        assert await books() == (0, 1)


async def test_a_draft_that_comes_after_its_reservation_lapsed_is_refused(
    db: Database, project: Project, make_desk: MakeDesk
) -> None:
    desk, books = make_desk(), Books(db, project)
    async with db.unit_of_work() as session:
        ticket = await service.reserve(session, project, desk, ORDER, 50)
        await session.execute(update(Generation).values(deadline=db_in(-1)))

    async def finish_late() -> None:
        async with service.draft(db, desk, ticket) as written:
            async with db.unit_of_work() as session:
                await service.release_lapsed(session)
            async with db.unit_of_work() as session:
                await service.finish(session, written)

    with pytest.raises(AIFailed):
        await finish_late()
    assert await books() == (0, 0)


async def test_settling_twice_is_impossible(db: Database, project: Project, make_desk: MakeDesk) -> None:
    written = await write(db, project, make_desk())
    with pytest.raises(AIFailed):
        async with db.unit_of_work() as session:
            await service.finish(session, written)
    async with db.unit_of_work() as session:
        await service.give_back(session, written.generation_id, "late", written.draft.usage)
    books = Books(db, project)
    assert await books() == (1, 0)
    assert [row.status for row in await books.rows()] == [GenerationStatus.succeeded]


async def test_a_plan_without_generations_is_told_to_upgrade_before_anything_else(
    db: Database, make_project: MakeProject, make_desk: MakeDesk, model: OpenAIModel
) -> None:
    live, trial = await make_project(is_test=False), await make_project(is_test=True)
    for project, desk in ((live, make_desk(model)), (live, make_desk()), (trial, make_desk(model))):
        with pytest.raises(AINotAvailable):
            await write(db, project, desk, limit=0)
        assert await Books(db, project).rows() == []


async def test_the_sandbox_writer_serves_test_projects_of_any_plan(
    db: Database, project: Project, make_desk: MakeDesk
) -> None:
    written = await write(db, project, make_desk(), limit=0)
    assert (written.draft.writer, written.facts["model"]) == ("sandbox", "sandbox-writer")
    assert "autumn lamps" in written.draft.body
    [row] = await Books(db, project).rows()
    assert (row.model, row.prompt_name, row.calls) == ("sandbox-writer", "sandbox-writer", 0)


async def test_the_sandbox_writer_keeps_to_the_limit_of_a_plan_that_has_one(
    db: Database, project: Project, make_desk: MakeDesk
) -> None:
    await write(db, project, make_desk(), limit=1)
    with pytest.raises(AIQuotaExceeded):
        await write(db, project, make_desk(), limit=1)


async def test_a_live_project_without_a_model_reserves_nothing(
    db: Database, make_project: MakeProject, make_desk: MakeDesk
) -> None:
    project = await make_project(is_test=False)
    with pytest.raises(AINotConfigured):
        await write(db, project, make_desk())
    assert await Books(db, project).rows() == []
    assert await Books(db, project)() == (0, 0)


async def test_test_projects_count_for_themselves(
    db: Database, make_project: MakeProject, make_desk: MakeDesk
) -> None:
    one, other = await make_project(), await make_project()
    await write(db, one, make_desk(), limit=1)
    await write(db, other, make_desk(), limit=1)
    assert await Books(db, one)() == await Books(db, other)() == (1, 0)


async def test_the_brief_tells_field_names_and_the_projects_own_links_but_no_subscriber(
    db: Database, project: Project, make_desk: MakeDesk
) -> None:
    order = Order(prompt="Our news.", subject="Hello", custom_fields=frozenset({"company"}))
    async with db.unit_of_work() as session:
        brief = (await service.reserve(session, project, make_desk(), order, 50)).brief
    assert brief.fields == {"first_name", "last_name", "company"}
    assert (brief.subject, brief.preheader, brief.brand_name, brief.locale) == ("Hello", None, "Acme", "en")
    assert brief.voice.version is None


async def test_two_who_write_the_voice_at_once_make_two_versions(db: Database, project: Project) -> None:
    async def put(tone: str) -> int:
        async with db.unit_of_work() as session:
            return (await service.set_voice(session, project, VoiceBody(tone=tone))).version

    versions = await asyncio.gather(*(put(f"tone {number}") for number in range(8)))
    assert sorted(versions) == list(range(1, 9))
    async with db.read() as session:
        assert (await queries.voice(session, project)).version == 8
