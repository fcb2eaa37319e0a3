"""What a launch needs, checked before anything is spent, and the launch itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Profile, Project
from newsletter.audience import conditions
from newsletter.audience import queries as audience
from newsletter.audience.conditions import Condition
from newsletter.audience.segments import queries as segments
from newsletter.campaigns import acting, errors, local_time, queries
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.delivery import senders, utm
from newsletter.delivery import service as delivery
from newsletter.delivery.models import MailingKind
from newsletter.delivery.service import Order, QuotaExceeded, Sender
from newsletter.kit import clock, ids, jobs
from newsletter.kit.address import domain_of
from newsletter.kit.db import Database, db_now
from newsletter.kit.errors import ValidationFailed
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Plan, Resource
from newsletter.settings import Settings
from newsletter.suppressions import queries as suppressions
from newsletter.templates.compile import Compiled


def schedule_key(campaign_id: UUID) -> str:
    """The one waiting launch of a campaign."""
    return f"campaigns.launch:{campaign_id}"


async def check_quota(
    session: AsyncSession,
    project: Project,
    list_id: UUID,
    segment: Condition | None,
    from_email: str,
    plan: Plan,
) -> None:
    """Raises `QuotaExceeded` when a launch now would. Only the launch itself reserves."""
    limit = plan.limits[Resource.mails]
    if limit is None:
        return
    usage = await plans.usage(session, project.quota_owner_id, Resource.mails, limit)
    chosen = (await within(session, project, recipients(project, list_id, from_email), segment)).subquery()
    count = (await session.execute(select(func.count()).select_from(chosen))).scalar_one()
    if usage.used + usage.reserved + count > limit:
        raise QuotaExceeded(retry_after=clock.seconds_to_next_month(clock.now()))


def check_sendable(campaign: Campaign) -> None:
    """Raises the 409 of what was sent, or is over."""
    if campaign.status is CampaignStatus.cancelled:
        raise errors.CampaignCancelled()
    if not queries.has_not_begun(campaign):
        raise errors.AlreadySent()


def recipients(
    project: Project, list_id: UUID, from_email: str, moments: audience.Moments | None = None
) -> Select[*tuple[Any, ...]]:
    chosen = audience.recipients(project, list_id, moments)
    return suppressions.without(chosen, project.id, list_id, domain_of(from_email))


async def within(
    session: AsyncSession, project: Project, chosen: Select[*tuple[Any, ...]], segment: Condition | None
) -> Select[*tuple[Any, ...]]:
    """Those of the `recipients` who meet a segment's conditions: in the same statement, so at the moment at
    which the audience is frozen."""
    if segment is None:
        return chosen
    acted = await acting.acted(session, project, [segment])
    return chosen.where(conditions.holds(session, project, segment, acted))


def reading(
    db: Database, project: Project, segment_id: UUID | None, settings: Settings
) -> AbstractAsyncContextManager[AsyncSession]:
    """A session for `check_quota`; with a segment as `segments.reading`."""
    return db.read() if segment_id is None else segments.reading(db, project, settings)


@asynccontextmanager
async def unit_of_work(
    db: Database, project: Project, segment_id: UUID | None, settings: Settings
) -> AsyncIterator[AsyncSession]:
    """The transaction of a launch. One to a segment has a `segments.place`, since it keeps a connection, and
    on SQLite every writer, waiting for its conditions. Raises `SegmentTooSlow`."""
    place = nullcontext() if segment_id is None else segments.place(project, settings)
    async with place, db.unit_of_work() as session:
        yield session


def bounded(
    session: AsyncSession, segment: Condition | None, settings: Settings
) -> AbstractAsyncContextManager[None]:
    """Around what asks a segment's conditions: raises `SegmentTooSlow` for what takes longer than it may."""
    return segments.bounded(session, settings) if segment is not None else nullcontext()


async def segment_of(
    session: AsyncSession, project: Project, list_id: UUID, segment_id: UUID | None, *, share: bool = False
) -> Condition | None:
    """The conditions of a segment that a body names. ``share`` keeps it as it is until the transaction ends.
    Raises `ValidationFailed` for one that is not of this list."""
    if segment_id is None:
        return None
    found = await segments.find(session, project, segment_id, share=share)
    if found is None or found.list_id != list_id:
        raise ValidationFailed.of("segment_id", "is not a segment of the campaign's list")
    return segments.condition_of(found)


async def _taken(session: AsyncSession, project: Project, campaign: Campaign) -> Condition | None:
    """The conditions of the campaign's segment, which are kept with it from now on. Raises `SegmentGone`."""
    if campaign.segment_id is None:
        return None
    found = await segments.find(session, project, campaign.segment_id, share=True)
    if found is None or found.list_id != campaign.list_id:
        raise errors.SegmentGone()
    campaign.segment = {"name": found.name, "conditions": found.conditions}
    return segments.condition_of(found)


async def at_local_hour(
    session: AsyncSession, project: Project, campaign: Campaign, time_zone: str, hour: int
) -> audience.Moments:
    """When it is this hour on the clocks of the list's readers, from the launch on.

    A scheduled launch begins a moment after its time, or later when nothing was running: its time
    counts, so that nine o'clock is today's for whom it was scheduled at nine.
    """
    now = (await session.execute(select(db_now()))).scalar_one()
    is_scheduled = campaign.status is CampaignStatus.scheduled and campaign.scheduled_at is not None
    start = min(now, campaign.scheduled_at or now) if is_scheduled else now
    zones = await audience.time_zones(session, project, campaign.list_id)
    default = ZoneInfo(time_zone)
    by_moment = local_time.hours_of(zones, hour, start, default)
    return audience.Moments(by_moment, local_time.next_at(hour, default, start))


async def start(
    session: AsyncSession,
    project: Project,
    campaign: Campaign,
    compiled: Compiled,
    *,
    plan: Plan,
    settings: Settings,
) -> None:
    """Launches a campaign whose row is locked, in a `unit_of_work` of this module. Raises the 409 or 429 that
    stands in its way."""
    check_sendable(campaign)
    profile = await accounts.profile(session, project)
    listed = await audience.find_list(session, project, campaign.list_id, share=True)
    sender = await sender_of(session, project, campaign, settings, list_name=listed.name if listed else None)
    if listed is None:
        raise errors.ListGone()
    segment = await _taken(session, project, campaign)
    moments, hour = None, campaign.send_at_local_hour
    if hour is not None:
        moments = await at_local_hour(session, project, campaign, profile.time_zone, hour)
    tagged = await asyncio.to_thread(utm.tagged, compiled, utm_of(campaign, profile, listed.name))
    order = Order(
        kind=MailingKind.campaign,
        source_id=campaign.id,
        list_id=campaign.list_id,
        content=tagged.to_json(),
        sender=sender,
        track_opens=profile.track_opens if campaign.track_opens is None else campaign.track_opens,
        track_clicks=profile.track_clicks if campaign.track_clicks is None else campaign.track_clicks,
    )
    everybody = recipients(project, campaign.list_id, sender.from_email, moments)
    async with bounded(session, segment, settings):
        started = await delivery.start(
            session,
            project,
            order,
            await within(session, project, everybody, segment),
            mail_limit=plan.limits[Resource.mails],
            settings=settings.delivery,
        )
    await jobs.cancel(session, schedule_key(campaign.id))
    campaign.mailing_id = started.mailing_id
    campaign.status = CampaignStatus.sending
    campaign.status_reason = None
    campaign.scheduled_at = campaign.scheduled_timezone = None
    touch(campaign)
    await session.flush()


async def sender_of(
    session: AsyncSession, project: Project, campaign: Campaign, settings: Settings, *, list_name: str | None
) -> Sender:
    """Who the campaign is from. Raises the 409 that names what is missing of sender or subject."""
    profile = await accounts.profile(session, project)
    from_email = await senders.check(session, project, profile, campaign.from_email, settings)
    check_subject(campaign)
    return Sender(
        from_email=from_email,
        from_name=campaign.from_name or profile.from_name,
        reply_to=campaign.reply_to or profile.reply_to,
        list_name=list_name,
    )


def check_subject(campaign: Campaign) -> None:
    """What the campaign itself lacks is told to who schedules it; the project may be set up until then."""
    if not campaign.subject:
        raise errors.SubjectMissing()


def utm_of(campaign: Campaign, profile: Profile, list_name: str | None) -> dict[str, str]:
    """The UTM parameters of the project, with what the campaign changes of them."""
    values = {
        "campaign_id": ids.public("cmp", campaign.id),
        "campaign_name": campaign.name,
        "list_name": list_name or "",
    }
    return utm.parameters(profile.utm, campaign.utm, values=values)


def touch(campaign: Campaign) -> None:
    campaign.version += 1
    campaign.updated_at = clock.now()
