"""Pauses, resumes and cancels a campaign on its way, and sends again what nobody knows the fate of.

Each call is safe to repeat: what already is as it asks stays as it is, its version too.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.campaigns import errors, launch, queries
from newsletter.campaigns.launch import touch
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.delivery import queries as books
from newsletter.delivery import resending, steering
from newsletter.delivery.models import MailingStatus
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import jobs, versions
from newsletter.plans.catalogue import Plan, Resource
from newsletter.settings import DeliverySettings


async def pause(session: AsyncSession, project: Project, campaign_id: UUID, version: int | None) -> Campaign:
    """Begins no further mail. Raises `CannotPause` for what is not being sent."""
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if campaign.status is CampaignStatus.paused:
        return campaign
    if campaign.status is not CampaignStatus.sending or campaign.mailing_id is None:
        raise errors.CannotPause()
    versions.check(campaign.version, version)
    if not await steering.pause(session, project, campaign.mailing_id):
        raise errors.CannotPause("Its last mail has just gone out.")
    await _paused(session, campaign, "paused", "Paused by a call of the API.")
    return campaign


async def on_mailing_paused(session: AsyncSession, mailing_id: UUID, code: str, message: str) -> None:
    """Tells the campaign whose mailing paused itself. Safe to run twice."""
    campaign = await queries.by_mailing(session, mailing_id, lock=True)
    if campaign is None or campaign.status is not CampaignStatus.sending:
        return
    # Between the pause and this, it may have been closed, or resumed and paused by a call.
    if await books.status(session, mailing_id) is MailingStatus.paused:
        await _paused(session, campaign, code, message)


async def _paused(session: AsyncSession, campaign: Campaign, code: str, message: str) -> None:
    campaign.status = CampaignStatus.paused
    campaign.status_reason = {"code": code, "message": message}
    touch(campaign)
    await session.flush()
    data = await queries.event_data(session, campaign)
    await events.record_many(session, campaign.project_id, EventType.campaign_paused, [{"campaign": data}])


async def resume(
    session: AsyncSession,
    project: Project,
    campaign_id: UUID,
    version: int | None,
    *,
    settings: DeliverySettings,
) -> Campaign:
    """Goes on where a pause stopped. Raises `CannotResume` for what is not paused.

    Where the campaign had paused itself, its share of bounces or complaints is accepted from now on
    until it has doubled.
    """
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if campaign.status is CampaignStatus.sending:
        return campaign
    if campaign.status is not CampaignStatus.paused or campaign.mailing_id is None:
        raise errors.CannotResume()
    versions.check(campaign.version, version)
    if not await steering.resume(session, project, campaign.mailing_id, settings):
        raise errors.CannotResume("Its last mail has gone out: it is about to be sent.")
    campaign.status = CampaignStatus.sending
    campaign.status_reason = None
    touch(campaign)
    await session.flush()
    return campaign


async def cancel(session: AsyncSession, project: Project, campaign_id: UUID, version: int | None) -> Campaign:
    """Ends a scheduled campaign, or one that is on its way: what is not begun is skipped.

    Raises `CannotCancel` for a draft, and for what is over.
    """
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if campaign.status is CampaignStatus.cancelled:
        return campaign
    versions.check(campaign.version, version)
    if campaign.status is CampaignStatus.scheduled:
        await jobs.cancel(session, launch.schedule_key(campaign.id))
        campaign.scheduled_at = campaign.scheduled_timezone = None
    elif campaign.status in (CampaignStatus.sending, CampaignStatus.paused) and campaign.mailing_id:
        if not await steering.cancel(session, project, campaign.mailing_id):
            raise errors.CannotCancel("Its last mail has just gone out.")
    else:
        raise errors.CannotCancel()
    campaign.status = CampaignStatus.cancelled
    campaign.status_reason = {"code": "cancelled", "message": "Cancelled by a call of the API."}
    touch(campaign)
    await session.flush()
    return campaign


async def resend_unknown(
    session: AsyncSession,
    project: Project,
    campaign_id: UUID,
    version: int | None,
    *,
    plan: Plan,
    settings: DeliverySettings,
) -> Campaign:
    """Sends again to those of whom nobody knows whether they got it; the campaign is sending again.

    A second call finds none of them. Raises `CannotResend` for what is not sent, `NothingUnknown`,
    and `QuotaExceeded` when the plan has not as many mails left.
    """
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if campaign.status is not CampaignStatus.sent or campaign.mailing_id is None:
        raise errors.CannotResend()
    versions.check(campaign.version, version)
    limit = plan.limits[Resource.mails]
    count = await resending.resend_unknown(
        session, project, campaign.mailing_id, mail_limit=limit, settings=settings
    )
    if not count:
        raise errors.NothingUnknown()
    campaign.status = CampaignStatus.sending
    campaign.sent_at = None
    touch(campaign)
    await session.flush()
    return campaign
