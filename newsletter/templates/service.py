"""Writes templates, and frames copy in them.

Compiling takes up to a second of a processor. So a `Frame` is read in a short transaction,
and the compiling that follows runs in a thread with no transaction open.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts import service as projects
from newsletter.accounts.project import Profile, Project
from newsletter.kit import clock, ids
from newsletter.kit.errors import Conflict, NotFound, ValidationFailed
from newsletter.settings import LimitSettings, Settings
from newsletter.templates import content_score, extent, lint, queries
from newsletter.templates.branding import Branding
from newsletter.templates.compile import Compiled, Content, Merged, TemplateInvalid, compile_content
from newsletter.templates.content_score import Scored
from newsletter.templates.expressions import as_text
from newsletter.templates.merge import BUILT_IN_FIELDS, MergeTagInvalid
from newsletter.templates.models import Template
from newsletter.templates.queries import Shelf, Source
from newsletter.templates.remembered import Remembered
from newsletter.templates.schemas import (
    ContentScoreCreate,
    SampleSubscriber,
    TemplateCreate,
    TemplateRender,
    TemplateUpdate,
)
from newsletter.templates.schemas import Variable as VariableBody
from newsletter.templates.starters import Variable
from newsletter.templates.whole import compile_text, compile_whole

SAMPLE_BODY = (
    '<p>Hello {{ first_name | default: "there" }},</p>'
    "<h2>This is where your words go</h2>"
    "<p>A paragraph of the body, as wide as a reader will see it, with <strong>bold</strong> and "
    '<a href="https://example.com/">a link</a> in it.</p>'
    "<ul><li>A first point</li><li>A second point</li></ul>"
    "<p>See you next time.</p>"
)
"""The body of a preview that was given none."""
ALWAYS_FILLED = ("email", "unsubscribe_url", "view_in_browser_url")
"""What every mail may show without a variable of its caller's."""
_FIELDS = {
    "subject": "subject",
    "preheader": "preheader",
    "body": "html",
    "text": "text",
    "variables": "variables",
}
"""Of a call, by the part of a mail that an error speaks of."""
_LATELY = Remembered()
Result = TypeVar("Result")
SAMPLE_SUBJECT = "A look at this template"


class TemplateIsSystem(Conflict):
    code, status = "template_is_system", 409
    summary = "System templates come with the service and cannot be changed. Create one of your own."


class TemplateMissing(Conflict):
    code, status = "template_missing", 409
    summary = "The template is gone. Choose another one with template_id."


@dataclass(frozen=True, slots=True)
class CustomFields:
    """The names of a project's custom fields.

    The audience stands above and cannot be asked from here: whoever wires the routes passes
    its query.
    """

    names: Callable[[AsyncSession, Project], Awaitable[frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Frame:
    """All that is around a body, read at one moment."""

    template_id: UUID
    layout: str
    variables: tuple[Variable, ...]
    branding: Branding
    fields: frozenset[str]
    """The project's custom fields."""

    def around(
        self,
        subject: str,
        preheader: str,
        body: str,
        values: Mapping[str, str] | None = None,
        *,
        names: Collection[str] = (),
        has_footer: bool = True,
    ) -> Content:
        """``values`` are those of declared variables, in the place of their defaults; ``names`` are
        variables that each recipient has a value of."""
        defaults = {one.name: one.default for one in self.variables if one.name not in names}
        return Content(
            subject=subject,
            preheader=preheader,
            body=body,
            layout=self.layout,
            branding=self.branding,
            fields=self.fields.union(names),
            defaults=defaults | dict(values or {}),
            has_footer=has_footer,
        )


async def frame(
    session: AsyncSession, project: Project, shelf: Shelf, template_id: UUID, fields: frozenset[str]
) -> Frame:
    """A template with the project's look and its custom fields.

    Raises `TemplateMissing`: a draft may outlive its template.
    """
    source = await queries.find(session, project, shelf, template_id)
    if source is None:
        raise TemplateMissing()
    return await frame_of(session, project, source, fields)


async def frame_of(session: AsyncSession, project: Project, source: Source, fields: frozenset[str]) -> Frame:
    """The same for a template that need not be saved yet."""
    profile = await accounts.profile(session, project)
    return Frame(source.id, source.mjml, source.variables, branding_of(profile), fields)


async def compile_in(
    frame: Frame,
    *,
    subject: str,
    preheader: str,
    body: str,
    values: Mapping[str, str] | None = None,
    names: Collection[str] = (),
    template_field: str = "template_id",
) -> Compiled:
    """Compiles copy in its frame, in a thread, with a slot for each of the variables ``names``; call it
    with no transaction open.

    Raises `ValidationFailed` on ``subject``, ``preheader``, ``html`` or ``template_field``.
    """
    content = frame.around(subject, preheader, body, values, names=names)
    return await asyncio.to_thread(lambda: _compiled(lambda: compile_content(content), template_field))


def compile_single(
    subject: str,
    html: str | None,
    text: str | None,
    names: Collection[str],
    frame: Frame | None,
    branding: Branding | None,
) -> Compiled:
    """Compiles a single mail, with a slot for each of the variables ``names``; takes milliseconds with
    a new ``frame``, so call it in a thread. ``branding`` is that of the footer, None for no footer.

    Raises `ValidationFailed` on ``subject``, ``html``, ``text``, ``variables`` or ``template_id``.
    """
    allowed = {*names, *ALWAYS_FILLED}
    if frame is None:
        return _compiled(
            lambda: compile_whole(subject=subject, html=html, text=text, allowed=allowed, branding=branding)
        )
    around = frame.around(subject, "", html or "", names=names, has_footer=branding is not None)
    unfilled = (BUILT_IN_FIELDS | frame.fields).difference(allowed, around.defaults)
    content = replace(around, unfilled=unfilled)
    compiled = _compiled(lambda: _LATELY.compiled(content))
    if text is None:
        return compiled
    written = _compiled(lambda: compile_text(text, allowed, branding, content.known))
    return replace(compiled, text=written)


def _compiled(make: Callable[[], Result], template_field: str = "template_id") -> Result:
    """What ``make`` returns; its errors name the field that they speak of."""
    try:
        return make()
    except TemplateInvalid as error:
        raise ValidationFailed.of(template_field, _at(error.line, error.message)) from None
    except MergeTagInvalid as error:
        # Only a body and a template have lines that their author counts.
        line = None if error.part in ("subject", "preheader") else error.line
        name = _FIELDS.get(error.part or "", template_field)
        raise ValidationFailed.of(name, _at(line, error.message)) from None


async def score(wanted: ContentScoreCreate, limits: LimitSettings) -> Scored:
    """Raises `ValidationFailed` for what is larger than any mail may be."""
    errors = extent.excess(wanted.html, wanted.text, limits)
    if wanted.html is None and wanted.text is None:
        errors["html"] = ["is missing: send 'html' or 'text'"]
    if errors:
        raise ValidationFailed(errors=errors)
    try:
        return await asyncio.to_thread(
            content_score.score, wanted.subject, wanted.html, wanted.text, wanted.attachments
        )
    except MergeTagInvalid as error:
        raise ValidationFailed.of("html", _at(error.line, error.message)) from None


async def check(frame: Frame, limits: LimitSettings) -> None:
    """Whether the frame's template compiles; call it with no transaction open.

    Raises `ValidationFailed` on ``mjml`` with every problem that `lint.check` finds at once.
    """
    size = len(frame.layout.encode(errors="replace"))
    if size > limits.html_bytes:
        raise ValidationFailed.of("mjml", f"must have at most {limits.html_bytes:,} bytes; it has {size:,}")
    variables = frozenset(one.name for one in frame.variables)
    problems = await asyncio.to_thread(lint.check, frame.layout, BUILT_IN_FIELDS | frame.fields, variables)
    if problems:
        raise ValidationFailed(errors={"mjml": [_at(one.line, one.message) for one in problems]})
    # What only the renderer finds.
    await compile_in(frame, subject=SAMPLE_SUBJECT, preheader="", body=SAMPLE_BODY, template_field="mjml")


async def render(frame: Frame, wanted: TemplateRender, settings: Settings) -> Merged:
    """The mail as one reader would get it, but for the links of its footer.

    Call it with no transaction open. Raises `ValidationFailed`.
    """
    declared = {one.name for one in frame.variables}
    errors = {
        f"variables.{name}": ["the template declares no variable of this name"]
        for name in sorted(wanted.variables.keys() - declared)
    }
    body = wanted.html or SAMPLE_BODY
    limit = settings.limits.html_bytes
    if len(body.encode(errors="replace")) > limit:
        errors["html"] = [f"must have at most {limit:,} bytes"]
    if errors:
        raise ValidationFailed(errors=errors)
    compiled = await compile_in(
        frame,
        subject=wanted.subject or SAMPLE_SUBJECT,
        preheader=wanted.preheader or "",
        body=body,
        values=wanted.variables,
        template_field="mjml",
    )
    return compiled.merge(_values(wanted.subscriber) | preview_links(settings.public_url))


def preview_links(public_url: str) -> dict[str, str]:
    """The links of a mail that nobody is sent: they lead to pages that exist and change nothing."""
    # The token is `newsletter.delivery.links.PREVIEW`, which stands above.
    return {
        "unsubscribe_url": f"{public_url}/u/preview",
        "view_in_browser_url": f"{public_url}/v/preview",
    }


def new(body: TemplateCreate) -> Source:
    """The template that a call asks for, not saved yet."""
    now = clock.now()
    return Source(
        id=ids.uuid7(),
        name=body.name,
        category=body.category,
        description=body.description,
        is_system=False,
        is_default=body.is_default,
        mjml=body.mjml,
        variables=_declared(body.variables),
        created_at=now,
        updated_at=now,
    )


def changed(before: Source, body: TemplateUpdate) -> Source:
    """The template as it is to be, not saved yet. Raises `TemplateIsSystem`.

    ``is_default`` is the project's choice rather than a part of the template, so system
    templates take it too; ``false`` returns to the packaged default.
    """
    values = {name: getattr(body, name) for name in body.model_fields_set}
    if before.is_system and values.keys() - {"is_default"}:
        raise TemplateIsSystem()
    if "variables" in values:
        values["variables"] = _declared(body.variables)
    return replace(before, **values)


async def create(session: AsyncSession, project: Project, shelf: Shelf, source: Source) -> Source:
    """Saves a template whose frame went through `check`."""
    session.add(
        Template(id=source.id, project_id=project.id, created_at=source.created_at, **_columns(source))
    )
    await session.flush()
    if source.is_default:
        await projects.set_default_template(session, project, source.id)
    return await queries.one(session, project, shelf, source.id)


async def update(
    session: AsyncSession, project: Project, shelf: Shelf, before: Source, after: Source
) -> Source:
    """Saves ``after``, whose frame went through `check` where it differs from ``before``.

    Raises `NotFound`, or `Conflict` when another call has changed the template meanwhile:
    only the whole that was checked is saved.
    """
    if not before.is_system:
        row = await queries.find_own(session, project, before.id, lock=True)
        if row is None:
            raise NotFound()
        if row.updated_at != before.updated_at:
            raise Conflict("The template was changed by another call just now. Read it again.")
        if replace(after, is_default=before.is_default) != before:
            for name, value in _columns(after).items():
                setattr(row, name, value)
            row.updated_at = clock.now()
            await session.flush()
    if after.is_default and not before.is_default:
        await projects.set_default_template(session, project, before.id)
    elif before.is_default and not after.is_default:
        await projects.clear_default_template(session, project, before.id)
    return await queries.one(session, project, shelf, before.id)


async def remove(session: AsyncSession, project: Project, shelf: Shelf, template_id: UUID) -> None:
    """Deletes a template of the project; as its default it gives way to the packaged one.

    Raises `TemplateIsSystem` or `NotFound`.
    """
    if shelf.find(template_id) is not None:
        raise TemplateIsSystem()
    statement = (
        delete(Template)
        .where(Template.id == template_id, Template.project_id == project.id)
        .returning(Template.id)
    )
    if (await session.execute(statement)).first() is None:
        raise NotFound()
    await projects.clear_default_template(session, project, template_id)


def _declared(variables: Sequence[VariableBody]) -> tuple[Variable, ...]:
    return tuple(Variable(one.name, one.default, one.description) for one in variables)


def _columns(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "category": source.category,
        "description": source.description,
        "mjml": source.mjml,
        "variables": [asdict(variable) for variable in source.variables],
        "updated_at": source.updated_at,
    }


def branding_of(profile: Profile) -> Branding:
    given = {name: value for name, value in profile.branding.items() if value is not None}
    return Branding(
        brand_name=profile.brand_name,
        website_url=profile.website_url,
        postal_address=profile.postal_address,
        locale=profile.locale,
        **given,
    )


def _values(reader: SampleSubscriber) -> dict[str, str]:
    given = reader.model_dump(exclude={"custom_fields"}) | reader.custom_fields
    return {name: as_text(value) for name, value in given.items() if value is not None}


def _at(line: int | None, message: str) -> str:
    return message if line is None else f"line {line}: {message}"
