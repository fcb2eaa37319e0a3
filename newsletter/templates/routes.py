"""``/templates``: the shelf of a project, and previews of what is on it; ``/content-score``."""

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from newsletter.accounts.project import Principal
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data, Page, without_nul
from newsletter.settings import Settings
from newsletter.templates import queries, service
from newsletter.templates.queries import Shelf
from newsletter.templates.schemas import (
    ContentScoreCreate,
    ContentScoreOut,
    Rendered,
    TemplateCreate,
    TemplateOut,
    TemplateRender,
    TemplateSummary,
    TemplateUpdate,
)
from newsletter.templates.service import CustomFields


class TemplateController(Controller):
    path = "/templates"
    tags = ("Templates",)

    @get(
        operation_id="list_templates",
        summary="List templates",
        description="System templates first, then the project's own.",
        opt={"scope": "templates:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        shelf: NamedDependency[Shelf],
        category: FromQuery[str | None] = None,
        is_system: FromQuery[bool | None] = None,
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[TemplateSummary]:
        without_nul("category", category)
        async with db.read() as session:
            sources, meta = await queries.listed(
                session,
                principal.project,
                shelf,
                category=category,
                is_system=is_system,
                page=page,
                per_page=per_page,
            )
        return Page(data=[TemplateSummary.model_validate(source) for source in sources], meta=meta)

    @post(
        operation_id="create_template",
        summary="Create a template",
        description="MJML with `{{ content }}` where the body goes. "
        "What does not compile is refused with its line.",
        opt={"scope": "templates:write"},
    )
    async def create(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        shelf: NamedDependency[Shelf],
        field_names: NamedDependency[CustomFields],
        settings: NamedDependency[Settings],
        data: JSONBody[TemplateCreate],
    ) -> Data[TemplateOut]:
        project = principal.project
        source = service.new(data)
        if source.is_default:  # Of whatever names no template, for all lists.
            principal.require_every_list()
        async with db.read() as session:
            fields = await field_names.names(session, project)
            frame = await service.frame_of(session, project, source, fields)
        await service.check(frame, settings.limits)
        async with db.unit_of_work() as session:
            made = await service.create(session, project, shelf, source)
            out = Data[TemplateOut](data=TemplateOut.model_validate(made))
            await once.keep(session, 201, out)
        return out

    @get(
        "/{template_id:str}",
        operation_id="get_template",
        summary="Read a template",
        opt={"scope": "templates:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        shelf: NamedDependency[Shelf],
        template_id: FromPath[str],
    ) -> Data[TemplateOut]:
        async with db.read() as session:
            source = await queries.one(session, principal.project, shelf, ids.in_path("tpl", template_id))
        return Data(data=TemplateOut.model_validate(source))

    @patch(
        "/{template_id:str}",
        operation_id="update_template",
        summary="Change a template",
        description="A system template takes `is_default` alone, which is the project's choice.",
        opt={"scope": "templates:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        shelf: NamedDependency[Shelf],
        field_names: NamedDependency[CustomFields],
        settings: NamedDependency[Settings],
        template_id: FromPath[str],
        data: JSONBody[TemplateUpdate],
    ) -> Data[TemplateOut]:
        project = principal.project
        async with db.read() as session:
            before = await queries.one(session, project, shelf, ids.in_path("tpl", template_id))
            after = service.changed(before, data)
            if before.is_default or after.is_default:
                principal.require_every_list()
            fields = await field_names.names(session, project)
            frame = await service.frame_of(session, project, after, fields)
        if data.sent("mjml") or data.sent("variables"):
            await service.check(frame, settings.limits)
        async with db.unit_of_work() as session:
            changed = await service.update(session, project, shelf, before, after)
        return Data(data=TemplateOut.model_validate(changed))

    @delete(
        "/{template_id:str}",
        operation_id="delete_template",
        summary="Delete a template",
        description="Drafts that use it cannot be sent until they name another one.",
        opt={"scope": "templates:write"},
    )
    async def remove(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        shelf: NamedDependency[Shelf],
        template_id: FromPath[str],
    ) -> None:
        async with db.unit_of_work() as session:
            await service.remove(session, principal.project, shelf, ids.in_path("tpl", template_id))

    @post(
        "/{template_id:str}/render",
        operation_id="render_template",
        summary="Render a template for a preview",
        description="With your body or sample copy, as one reader would get it.",
        status_code=200,
        opt={"scope": "templates:read"},
    )
    async def render(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        shelf: NamedDependency[Shelf],
        field_names: NamedDependency[CustomFields],
        settings: NamedDependency[Settings],
        template_id: FromPath[str],
        data: JSONBody[TemplateRender | None] = None,
    ) -> Data[Rendered]:
        project, wanted = principal.project, data or TemplateRender()
        async with db.read() as session:
            source = await queries.one(session, project, shelf, ids.in_path("tpl", template_id))
            fields = await field_names.names(session, project)
            frame = await service.frame_of(session, project, source, fields)
        mail = await service.render(frame, wanted, settings)
        subject = mail.subject if wanted.subject is not None else None
        out = Data[Rendered](data=Rendered(subject=subject, html=mail.html, text=mail.text))
        async with db.unit_of_work() as session:
            await once.keep(session, 200, out)
        return out


class ContentScoreController(Controller):
    path = "/content-score"
    tags = ("Templates",)

    @post(
        operation_id="score_content",
        summary="Look for what may keep a mail from its readers",
        status_code=200,
        opt={"scope": "templates:read"},
    )
    async def create(
        self,
        db: NamedDependency[Database],
        once: NamedDependency[Once],
        settings: NamedDependency[Settings],
        data: JSONBody[ContentScoreCreate],
    ) -> Data[ContentScoreOut]:
        """From 0 to 100, with a reason and what to do for each point that is lost. Nothing is fetched or
        kept; the same mail has the same score."""
        scored = await service.score(data, settings.limits)
        out = Data[ContentScoreOut](data=ContentScoreOut.model_validate(scored))
        async with db.unit_of_work() as session:
            await once.keep(session, 200, out)
        return out
