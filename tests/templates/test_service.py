"""What is around a body: read at one moment, compiled with no transaction open."""

import threading
from uuid import uuid4

import pytest
from sqlalchemy import update

from newsletter.accounts.models import ProjectRow
from newsletter.accounts.project import Project
from newsletter.kit.db import Database
from newsletter.kit.errors import Conflict, NotFound, ValidationFailed
from newsletter.runtime import Runtime
from newsletter.settings import LimitSettings
from newsletter.templates import queries, service
from newsletter.templates.compile import Compiled, Content, compile_content
from newsletter.templates.queries import Shelf, Source
from newsletter.templates.schemas import TemplateCreate, TemplateUpdate, Variable
from newsletter.templates.service import Frame, TemplateMissing
from tests.conftest import MakeProject

MJML = """<mjml><mj-body><mj-section><mj-column>
<mj-text>{{ issue }}, {{ brand_name }}</mj-text>
<mj-text>{{ content }}</mj-text>
</mj-column></mj-section></mj-body></mjml>"""
WANTED = TemplateCreate(name="Ours", mjml=MJML, variables=(Variable(name="issue", default="No. 1"),))


@pytest.fixture
def shelf(runtime: Runtime) -> Shelf:
    return runtime.shelf


async def create(db: Database, project: Project, shelf: Shelf, *, is_default: bool = False) -> Source:
    source = service.new(WANTED.model_copy(update={"is_default": is_default}))
    async with db.unit_of_work() as session:
        return await service.create(session, project, shelf, source)


async def framed(db: Database, project: Project, shelf: Shelf, source: Source) -> Frame:
    async with db.read() as session:
        return await service.frame(session, project, shelf, source.id, frozenset())


async def test_a_frame_holds_the_template_and_the_look_of_the_project(
    db: Database, project: Project, shelf: Shelf
) -> None:
    made = await create(db, project, shelf)
    look = {
        "primary_colour": "#aa0000",
        "logo_url": None,
        "social_links": {"Mastodon": "https://m.example/@a"},
    }
    async with db.unit_of_work() as session:
        await session.execute(
            update(ProjectRow).values(branding=look, locale="de", website_url="https://a.example")
        )
        frame = await service.frame(session, project, shelf, made.id, frozenset({"company"}))
    assert (frame.template_id, frame.layout, frame.fields) == (made.id, MJML, frozenset({"company"}))
    assert (frame.branding.brand_name, frame.branding.primary_colour) == ("Acme", "#aa0000")
    assert (frame.branding.locale, frame.branding.website_url) == ("de", "https://a.example")
    mail = await service.compile_in(frame, subject="Hi {{ company }}", preheader="", body="<p>Text</p>")
    merged = mail.merge({"company": "Initech", "unsubscribe_url": "https://news.test/u/1"})
    assert merged.subject == "Hi Initech"
    assert "No. 1, Acme" in merged.html
    assert "Mastodon" in merged.html
    assert "Abmelden" in merged.text


async def test_values_stand_in_for_the_defaults_of_variables(
    db: Database, project: Project, shelf: Shelf
) -> None:
    frame = await framed(db, project, shelf, await create(db, project, shelf))
    mail = await service.compile_in(
        frame, subject="{{ issue }}", preheader="", body="<p>x</p>", values={"issue": "No. 9"}
    )
    merged = mail.merge({})
    assert merged.subject == "No. 9"
    assert "No. 9, Acme" in merged.html


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": "{{ nope }}"}, "subject"),
        ({"preheader": "{{ nope }}"}, "preheader"),
        ({"body": "<p>fine</p>\n<p>{{ nope }}</p>"}, "html"),
        ({"body": "<p>{% if first_name %}open</p>"}, "html"),
    ],
)
async def test_what_copy_does_wrong_is_said_on_its_own_field(
    db: Database, project: Project, shelf: Shelf, changes: dict[str, str], field: str
) -> None:
    frame = await framed(db, project, shelf, await create(db, project, shelf))
    copy = {"subject": "Fine", "preheader": "", "body": "<p>fine</p>", **changes}
    with pytest.raises(ValidationFailed) as caught:
        await service.compile_in(
            frame, subject=copy["subject"], preheader=copy["preheader"], body=copy["body"]
        )
    assert set(caught.value.errors) == {field}
    [text] = caught.value.errors[field]
    assert ("line 2: " in text) == (changes.get("body", "").startswith("<p>fine"))


async def test_a_template_that_no_longer_compiles_is_said_on_the_field_that_named_it(
    db: Database, project: Project, shelf: Shelf
) -> None:
    source = service.new(WANTED.model_copy(update={"variables": ()}))
    async with db.unit_of_work() as session:
        frame = await service.frame_of(session, project, source, frozenset())
    with pytest.raises(ValidationFailed) as caught:
        await service.compile_in(frame, subject="x", preheader="", body="<p>x</p>")
    assert set(caught.value.errors) == {"template_id"}
    with pytest.raises(ValidationFailed) as caught:
        await service.check(frame, LimitSettings())
    assert set(caught.value.errors) == {"mjml"}


async def test_compiling_leaves_the_event_loop_to_others(
    db: Database, project: Project, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = await framed(db, project, shelf, await create(db, project, shelf))
    threads = []

    def watched(content: Content) -> Compiled:
        threads.append(threading.current_thread())
        return compile_content(content)

    monkeypatch.setattr(service, "compile_content", watched)
    await service.compile_in(frame, subject="x", preheader="", body="<p>x</p>")
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_a_draft_that_outlives_its_template_is_told_so(
    db: Database, project: Project, shelf: Shelf
) -> None:
    made = await create(db, project, shelf)
    async with db.unit_of_work() as session:
        await service.remove(session, project, shelf, made.id)
    with pytest.raises(TemplateMissing) as caught:
        await framed(db, project, shelf, made)
    assert (caught.value.status, caught.value.code) == (409, "template_missing")


async def test_a_template_of_another_project_is_as_missing_as_one_that_never_was(
    db: Database, project: Project, shelf: Shelf, make_project: MakeProject
) -> None:
    made, other = await create(db, project, shelf), await make_project()
    for template_id in (made.id, uuid4()):
        async with db.read() as session:
            assert await queries.find(session, other, shelf, template_id) is None
            with pytest.raises(TemplateMissing):
                await service.frame(session, other, shelf, template_id, frozenset())
        async with db.unit_of_work() as session:
            with pytest.raises(NotFound):
                await service.remove(session, other, shelf, template_id)


async def test_only_the_whole_that_was_checked_is_saved(db: Database, project: Project, shelf: Shelf) -> None:
    before = await create(db, project, shelf)
    first = service.changed(before, TemplateUpdate(name="First"))
    second = service.changed(before, TemplateUpdate(mjml=MJML + "\n"))
    async with db.unit_of_work() as session:
        assert (await service.update(session, project, shelf, before, first)).name == "First"
    with pytest.raises(Conflict):
        async with db.unit_of_work() as session:
            await service.update(session, project, shelf, before, second)
    async with db.read() as session:
        assert (await queries.one(session, project, shelf, before.id)).mjml == MJML


async def test_the_default_of_one_project_is_not_that_of_another(
    db: Database, project: Project, shelf: Shelf, make_project: MakeProject
) -> None:
    made, other = await create(db, project, shelf, is_default=True), await make_project()
    async with db.read() as session:
        assert await queries.default_id(session, project, shelf) == made.id
        assert await queries.default_id(session, other, shelf) == shelf.default_id
