"""Changes campaigns after they were made, and hears how their mailings ended."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import queries as audience
from newsletter.audience.segments.queries import SegmentTooSlow
from newsletter.campaigns import drafting, errors, launch, queries
from newsletter.campaigns.drafting import Studio
from newsletter.campaigns.launch import touch
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.delivery import queries as books
from newsletter.delivery import service as delivery
from newsletter.delivery import utm
from newsletter.delivery.letter import merge_values
from newsletter.delivery.models import MailingKind, MailingStatus
from newsletter.delivery.service import Order, Started
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, jobs, versions
from newsletter.kit.address import Address
from newsletter.kit.db import Database, db_in, db_now
from newsletter.kit.errors import NewsletterError, NotFound, VersionConflict
from newsletter.kit.jobs import Again
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Catalogue, Plan, Resource
from newsletter.settings import Settings
from newsletter.templates import service as templates
from newsletter.templates.compile import Compiled
from newsletter.templates.service import Frame

SLOW_AGAIN = (60, 300, 900)
"""Seconds after which a scheduled launch is tried again whose segment took too long, since the database may
have been busy. It fails after the last, or when the next would come later than a campaign may begin."""

log = structlog.get_logger(__name__)


async def frame_of(session: AsyncSession, project: Project, campaign: Campaign, studio: Studio) -> Frame:
    """Raises `TemplateMissing` when the campaign outlived its template."""
    names = await audience.custom_field_names(session, project)
    return await templates.frame(session, project, studio.shelf, campaign.template_id, names)


async def update(
    session: AsyncSession,
    project: Project,
    campaign_id: UUID,
    changes: Mapping[str, Any],
    *,
    version: int | None,
) -> Campaign:
    """Changes a campaign that has not begun; ``changes`` has columns of the campaign.

    Raises `CannotChange`, `ValidationFailed` for a segment that is not of its list, `SubjectMissing` for one
    that is scheduled without, or `VersionConflict` when it is not of ``version`` any more.
    """
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if not queries.has_not_begun(campaign):
        raise errors.CannotChange()
    versions.check(campaign.version, version)
    for column, value in changes.items():
        if column not in ("scheduled_at", "scheduled_timezone"):
            setattr(campaign, column, value)
    if changes.keys() & {"list_id", "segment_id"}:
        # With the list, too: it may be one that the segment is not of.
        await launch.segment_of(session, project, campaign.list_id, campaign.segment_id, share=True)
    if "scheduled_at" in changes:
        await _reschedule(
            session, project, campaign, changes["scheduled_at"], changes.get("scheduled_timezone")
        )
    if campaign.status is CampaignStatus.scheduled and changes.keys() & {"scheduled_at", "subject"}:
        launch.check_subject(campaign)
    touch(campaign)
    await session.flush()
    return campaign


async def schedule(
    session: AsyncSession, project: Project, campaign: Campaign, at: datetime, zone: str | None
) -> None:
    """Has a locked campaign launched at ``at``; a second schedule replaces the first. ``zone`` is how
    its author thinks of that moment, the project's own when None."""
    launch.check_sendable(campaign)
    launch.check_subject(campaign)
    await _reschedule(session, project, campaign, at, zone)
    touch(campaign)
    await session.flush()


async def _reschedule(
    session: AsyncSession, project: Project, campaign: Campaign, at: datetime | None, zone: str | None
) -> None:
    key = launch.schedule_key(campaign.id)
    await jobs.cancel(session, key)
    campaign.scheduled_at = at
    campaign.scheduled_timezone = None
    campaign.status = CampaignStatus.draft if at is None else CampaignStatus.scheduled
    campaign.status_reason = None
    if at is not None:
        campaign.scheduled_timezone = zone or (await accounts.profile(session, project)).time_zone
        await jobs.enqueue(session, "campaigns.launch", _launch_payload(campaign), run_at=at, key=key)


async def remove(session: AsyncSession, project: Project, campaign_id: UUID, *, version: int | None) -> None:
    """Deletes a draft, or what failed before it began. Raises `CannotDelete` for anything else, and
    `VersionConflict` when it is not of ``version`` any more."""
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if campaign.status is CampaignStatus.scheduled or not queries.has_not_begun(campaign):
        raise errors.CannotDelete()
    versions.check(campaign.version, version)
    await session.delete(campaign)
    await plans.give_back(session, project.quota_owner_id, Resource.campaigns, 1)


async def send_test(
    session: AsyncSession,
    project: Project,
    campaign: Campaign,
    addresses: list[Address],
    mail: Compiled,
    *,
    plan: Plan,
    settings: Settings,
) -> Started:
    """Sends a copy to a few addresses: a mailing of its own, which leaves the campaign as it is."""
    listed = await audience.find_list(session, project, campaign.list_id)
    list_name = listed.name if listed else None
    sender = await launch.sender_of(session, project, campaign, settings, list_name=list_name)
    parameters = launch.utm_of(campaign, await accounts.profile(session, project), list_name)
    tagged = await asyncio.to_thread(utm.tagged, mail, parameters)
    order = Order(MailingKind.test, campaign.id, campaign.list_id, tagged.to_json(), sender)
    limit = plan.limits[Resource.mails]
    return await delivery.start_to(
        session, project, order, addresses, mail_limit=limit, settings=settings.delivery
    )


async def launch_scheduled(
    db: Database, studio: Studio, catalogue: Catalogue, project_id: UUID, campaign_id: UUID, slow_tries: int
) -> Again | None:
    """The job of a schedule. A launch that is refused, or that nobody was there to begin in time,
    becomes ``failed`` with its reason, and may be sent again; one that was launched or unscheduled
    meanwhile is left alone. One whose segment takes too long is tried again by a job of its own, which knows
    how many tries were too slow before it."""
    async with db.read() as session:
        project = await accounts.project_by_id(session, project_id)
        campaign = await session.get(Campaign, campaign_id)
        if project is None or campaign is None:
            return None
        late = await _seconds_late(session, campaign)
        if late is None:
            return None
        if late < 0:
            # Never dropped while it is scheduled: clocks may have been set back.
            return Again(-late)
        plan = catalogue[await accounts.plan_name(session, project)]
    grace = 60 * studio.settings.campaigns.grace_minutes
    if late > grace:
        message = _missed(late, studio.settings, slow_tries)
        await _fail_due(db, project, campaign_id, "schedule_missed", message)
        return None
    try:
        await launch_now(db, project, plan, studio, campaign_id, only_due=True)
    except VersionConflict:
        return Again(0)  # Changed while it was compiled.
    except SegmentTooSlow as slow:
        if slow_tries < len(SLOW_AGAIN) and late + SLOW_AGAIN[slow_tries] <= grace:
            await _try_later(db, project, campaign_id, slow, slow_tries)
        else:
            message = f"{slow.message} It is not tried again: send it when the database is less busy."
            await _fail_due(db, project, campaign_id, slow.code, message)
    except NewsletterError as refusal:
        await _fail_due(db, project, campaign_id, refusal.code, refusal.message)
    return None


async def _fail_due(db: Database, project: Project, campaign_id: UUID, code: str, message: str) -> None:
    """Only while its time has come: somebody may have set another one since."""
    async with db.unit_of_work() as session:
        campaign = await queries.one(session, project, campaign_id, lock=True)
        if await _is_due(session, campaign):
            log.warning("a scheduled launch failed", campaign_id=str(campaign_id), code=code)
            await _fail(session, campaign, code, message)


async def _try_later(
    db: Database, project: Project, campaign_id: UUID, slow: SegmentTooSlow, slow_tries: int
) -> None:
    """Under the key of its schedule: whoever sends, cancels or reschedules it takes this job away as well."""
    async with db.unit_of_work() as session:
        campaign = await queries.one(session, project, campaign_id, lock=True)
        if not await _is_due(session, campaign):
            return
        again_at = (await session.execute(select(db_in(SLOW_AGAIN[slow_tries])))).scalar_one()
        log.warning("a scheduled launch is tried again", campaign_id=str(campaign_id), code=slow.code)
        message = f"{slow.message} It is tried again at {again_at:%H:%M:%S} UTC."
        campaign.status_reason = {"code": slow.code, "message": message}
        touch(campaign)
        payload = _launch_payload(campaign) | {"slow_tries": slow_tries + 1}
        key = launch.schedule_key(campaign.id)
        await jobs.enqueue(session, "campaigns.launch", payload, run_at=again_at, key=key)


def _launch_payload(campaign: Campaign) -> dict[str, Any]:
    return {"project_id": str(campaign.project_id), "campaign_id": str(campaign.id)}


def _missed(late: float, settings: Settings, slow_tries: int) -> str:
    why = "Its segment took too long" if slow_tries else "Nothing was running"
    return (
        f"{why} at its time, and {late / 60:,.0f} minutes later it is too late: "
        f"{settings.campaigns.grace_minutes:g} are allowed. Send it, or set another time."
    )


async def launch_now(
    db: Database,
    project: Project,
    plan: Plan,
    studio: Studio,
    campaign_id: UUID,
    *,
    only_due: bool = False,
) -> None:
    """Compiles outside of any transaction, then launches what was compiled.

    Raises `VersionConflict` when the campaign changed in between.
    """
    async with db.read() as session:
        campaign = await queries.one(session, project, campaign_id)
        launch.check_sendable(campaign)
        frame = await frame_of(session, project, campaign, studio)
    mail = await compile_campaign(frame, campaign)
    async with launch.unit_of_work(db, project, campaign.segment_id, studio.settings) as session:
        locked = await queries.one(session, project, campaign_id, lock=True)
        if only_due and not await _is_due(session, locked):
            return
        launch.check_sendable(locked)
        versions.check(locked.version, campaign.version)
        await launch.start(session, project, locked, mail, plan=plan, settings=studio.settings)


async def compile_campaign(frame: Frame, campaign: Campaign) -> Compiled:
    return await drafting.compiled_in(frame, campaign.subject, campaign.preheader, campaign.content)


async def utm_parameters(session: AsyncSession, project: Project, campaign: Campaign) -> dict[str, str]:
    """What a launch now would add to its links."""
    listed = await audience.find_list(session, project, campaign.list_id)
    profile = await accounts.profile(session, project)
    return launch.utm_of(campaign, profile, listed.name if listed else None)


async def sample_values(
    session: AsyncSession,
    project: Project,
    campaign: Campaign,
    subscriber_id: UUID | None,
    public_url: str,
) -> dict[str, str]:
    """What a preview is merged with: a subscriber's own values, or those of nobody in particular.

    Raises `NotFound`.
    """
    links = templates.preview_links(public_url)
    if subscriber_id is None:
        return {"email": "reader@example.com", "first_name": "Alex", "last_name": "Reader"} | links
    people = await audience.merge_data(session, project.id, [subscriber_id])
    if subscriber_id not in people:
        raise NotFound()
    person = people[subscriber_id]
    return merge_values(person.email, person) | links


async def on_mailing_closed(session: AsyncSession, mailing_id: UUID) -> None:
    """Ends the campaign whose mailing closed. Safe to run twice, and late: a mailing that was
    opened again since closes again."""
    campaign = await queries.by_mailing(session, mailing_id, lock=True)
    if campaign is None or campaign.status not in (CampaignStatus.sending, CampaignStatus.paused):
        return
    if await books.status(session, mailing_id) is not MailingStatus.closed:
        return
    counts = (await books.counts(session, [mailing_id]))[mailing_id]
    if counts.failed and not counts.sent and not counts.unknown:
        reasons = await books.reasons(session, mailing_id)
        await _fail(session, campaign, "all_failed", "; ".join(reasons) or "Every recipient failed.")
        return
    campaign.status = CampaignStatus.sent
    campaign.status_reason = None
    campaign.sent_at = clock.now()
    touch(campaign)
    await session.flush()
    data = {"campaign": await queries.event_data(session, campaign)}
    await events.record_many(session, campaign.project_id, EventType.campaign_sent, [data])


async def _fail(session: AsyncSession, campaign: Campaign, code: str, message: str) -> None:
    campaign.status = CampaignStatus.failed
    campaign.status_reason = {"code": code, "message": message}
    touch(campaign)
    await session.flush()
    data = {"campaign": await queries.event_data(session, campaign)}
    await events.record_many(session, campaign.project_id, EventType.campaign_failed, [data])


async def _is_due(session: AsyncSession, campaign: Campaign) -> bool:
    late = await _seconds_late(session, campaign)
    return late is not None and late >= 0


async def _seconds_late(session: AsyncSession, campaign: Campaign) -> float | None:
    """Since its time by the database's clock, which rings for it; None when it is not scheduled."""
    if campaign.status is not CampaignStatus.scheduled or campaign.scheduled_at is None:
        return None
    now = (await session.execute(select(db_now()))).scalar_one()
    return (now - campaign.scheduled_at).total_seconds()
