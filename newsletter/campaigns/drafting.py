"""From a request to a checked draft: everything that can be refused is refused before the
model is called, and the copy compiles before the campaign exists."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Principal, Project
from newsletter.audience import queries as audience
from newsletter.campaigns import errors, launch
from newsletter.campaigns.models import Campaign, CampaignStatus, CreationMethod
from newsletter.campaigns.schemas import CampaignCreate
from newsletter.copywriting import service as copywriting
from newsletter.copywriting.service import Desk, Written
from newsletter.copywriting.writer import AIFailed
from newsletter.delivery import senders
from newsletter.kit import clock, ids
from newsletter.kit.address import domain_of
from newsletter.kit.db import Database
from newsletter.kit.errors import Forbidden, ValidationFailed
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.settings import Settings
from newsletter.templates import queries as shelves
from newsletter.templates import service as templates
from newsletter.templates.compile import Compiled
from newsletter.templates.queries import Shelf
from newsletter.templates.sanitise import sanitise_body
from newsletter.templates.service import Frame, TemplateMissing


@dataclass(frozen=True, slots=True)
class Studio:
    """What making a campaign needs besides the database."""

    settings: Settings
    desk: Desk
    shelf: Shelf


@dataclass(frozen=True, slots=True)
class Ready:
    """Copy that compiles, on its way into a campaign."""

    data: CampaignCreate
    frame: Frame
    compiled: Compiled
    subject: str | None
    preheader: str | None
    body: str
    written: Written | None


@asynccontextmanager
async def drafted(
    db: Database, principal: Principal, studio: Studio, data: CampaignCreate
) -> AsyncIterator[Ready]:
    """A draft for the length of the block, which calls `insert` in its transaction.

    An error in the block gives the AI unit back.
    """
    async with db.read() as session:
        frame = await _check(session, principal, studio, data)
    if data.send and data.scheduled_at is None:
        await _check_launch(db, principal, studio, data)
    async with AsyncExitStack() as stack:
        written = None
        subject, preheader, body = data.subject, data.preheader, data.html or ""
        # What the caller gave is checked before the model is asked, with no body in ai mode.
        compiled = await compiled_in(frame, subject, preheader, body)
        if data.ai is not None:
            written = await _write(db, stack, principal, studio, data.ai.prompt, data, frame)
            copy = written.draft
            subject, preheader, body = copy.subject, copy.preheader, copy.body
            compiled = await _compiled_copy(frame, subject, preheader, body)
        yield Ready(data, frame, compiled, subject, preheader, sanitise_body(body), written)


async def insert(session: AsyncSession, principal: Principal, ready: Ready) -> Campaign:
    """Writes the campaign and settles what it cost. Raises `CampaignLimitReached`."""
    project, data = principal.project, ready.data
    if await audience.find_list(session, project, data.list_id, share=True) is None:
        raise ValidationFailed.of("list_id", "is not a list of this project")
    await launch.segment_of(session, project, data.list_id, data.segment_id, share=True)
    limit = principal.plan.limits[Resource.campaigns]
    if not await plans.use(session, project.quota_owner_id, Resource.campaigns, 1, limit):
        raise errors.CampaignLimitReached()
    if ready.written is not None:
        await copywriting.finish(session, ready.written)
    now = clock.now()
    campaign = Campaign(
        id=ids.uuid7(),
        project_id=project.id,
        list_id=data.list_id,
        segment_id=data.segment_id,
        template_id=ready.frame.template_id,
        name=data.name or (ready.subject or "Untitled")[:200],
        subject=ready.subject,
        preheader=ready.preheader,
        content=ready.body,
        creation_method=CreationMethod.html if ready.written is None else CreationMethod.ai,
        prompt=data.ai.prompt if data.ai else None,
        generation=dict(ready.written.facts) if ready.written else None,
        from_email=data.from_email,
        from_name=data.from_name,
        reply_to=data.reply_to,
        send_at_local_hour=data.send_at_local_hour,
        track_opens=data.track_opens,
        track_clicks=data.track_clicks,
        utm=data.utm.given() if data.utm else {},
        status=CampaignStatus.draft,
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(campaign)
    await session.flush()
    return campaign


async def _check(session: AsyncSession, principal: Principal, studio: Studio, data: CampaignCreate) -> Frame:
    project = principal.project
    await check_list(session, principal, data.list_id)
    await launch.segment_of(session, project, data.list_id, data.segment_id)
    await check_from(session, principal, data.from_email)
    check_size(data.html, studio.settings)
    frame = await frame_of(session, project, studio, data.template_id)
    used = await plans.usage(
        session, project.quota_owner_id, Resource.campaigns, principal.plan.limits[Resource.campaigns]
    )
    if used.limit is not None and used.used >= used.limit:
        raise errors.CampaignLimitReached()
    return frame


async def _check_launch(db: Database, principal: Principal, studio: Studio, data: CampaignCreate) -> None:
    """In a session of its own, as it may have to wait for one."""
    project = principal.project
    async with launch.reading(db, project, data.segment_id, studio.settings) as session:
        profile = await accounts.profile(session, project)
        from_email = await senders.check(session, project, profile, data.from_email, studio.settings)
        if data.ai is None and not data.subject:
            raise errors.SubjectMissing()
        segment = await launch.segment_of(session, project, data.list_id, data.segment_id)
        await launch.check_quota(session, project, data.list_id, segment, from_email, principal.plan)


async def check_list(session: AsyncSession, principal: Principal, list_id: UUID) -> None:
    """A list of another tenant is as unknown as one that never was: 422, never a hint."""
    if await audience.find_list(session, principal.project, list_id) is None:
        raise ValidationFailed.of("list_id", "is not a list of this project")
    if not principal.may_use_list(list_id):
        raise Forbidden("This key may not use that list.")


async def frame_of(
    session: AsyncSession, project: Project, studio: Studio, template_id: UUID | None
) -> Frame:
    """The template that a caller names, or the project's default one."""
    chosen = template_id or await shelves.default_id(session, project, studio.shelf)
    names = await audience.custom_field_names(session, project)
    try:
        return await templates.frame(session, project, studio.shelf, chosen, names)
    except TemplateMissing:
        raise ValidationFailed.of("template_id", "is not a template of this project") from None


async def compiled_in(
    frame: Frame, subject: str | None, preheader: str | None, body: str, names: Collection[str] = ()
) -> Compiled:
    """What a draft leaves open is empty; ``names`` are variables that each recipient has a value of."""
    return await templates.compile_in(
        frame, subject=subject or "", preheader=preheader or "", body=body, names=names
    )


def check_size(html: str | None, settings: Settings) -> None:
    limit = settings.limits.html_bytes
    if html is not None and len(html.encode(errors="replace")) > limit:
        raise ValidationFailed.of("html", f"must have at most {limit:,} bytes")


async def check_from(session: AsyncSession, principal: Principal, from_email: str | None) -> None:
    """Whether the key may use this sender, or the project's where the campaign names none."""
    sender = from_email or (await accounts.profile(session, principal.project)).from_email
    if sender is not None and not principal.may_send_from(domain_of(sender)):
        raise Forbidden("This key may not send from that domain.")


async def _compiled_copy(frame: Frame, subject: str, preheader: str, body: str) -> Compiled:
    """What a model wrote and no template can hold is the model's failure, not the caller's."""
    try:
        return await compiled_in(frame, subject, preheader, body)
    except ValidationFailed as error:
        raise AIFailed("The model wrote a mail that cannot be rendered. Try again.") from error


async def _write(
    db: Database,
    stack: AsyncExitStack,
    principal: Principal,
    studio: Studio,
    prompt: str,
    data: CampaignCreate,
    frame: Frame,
) -> Written:
    order = copywriting.Order(
        prompt=prompt,
        subject=data.subject,
        preheader=data.preheader,
        custom_fields=frame.fields,
    )
    async with db.unit_of_work() as session:
        limit = principal.plan.limits[Resource.generations]
        ticket = await copywriting.reserve(session, principal.project, studio.desk, order, limit)
    return await stack.enter_async_context(copywriting.draft(db, studio.desk, ticket))
