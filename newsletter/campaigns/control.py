"""Pauses, resumes and cancels a campaign that is on its way.

Each call is safe to repeat: what already is as it asks stays as it is, its version too.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.campaigns import errors, launch, queries
from newsletter.campaigns.launch import check_version, touch
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.delivery import steering
from newsletter.kit import jobs


async def pause(session: AsyncSession, project: Project, campaign_id: UUID, version: int | None) -> Campaign:
    """Begins no further mail. Raises `CannotPause` for what is not being sent."""
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if campaign.status is CampaignStatus.paused:
        return campaign
    if campaign.status is not CampaignStatus.sending or campaign.mailing_id is None:
        raise errors.CannotPause()
    check_version(campaign, version)
    if not await steering.pause(session, project, campaign.mailing_id):
        raise errors.CannotPause("Its last mail has just gone out.")
    campaign.status = CampaignStatus.paused
    campaign.status_reason = {"code": "paused", "message": "Paused by a call of the API."}
    touch(campaign)
    await session.flush()
    return campaign


async def resume(session: AsyncSession, project: Project, campaign_id: UUID, version: int | None) -> Campaign:
    """Goes on where a pause stopped. Raises `CannotResume` for what is not paused."""
    campaign = await queries.one(session, project, campaign_id, lock=True)
    if campaign.status is CampaignStatus.sending:
        return campaign
    if campaign.status is not CampaignStatus.paused or campaign.mailing_id is None:
        raise errors.CannotResume()
    check_version(campaign, version)
    if not await steering.resume(session, project, campaign.mailing_id):
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
    check_version(campaign, version)
    if campaign.status is CampaignStatus.scheduled:
        await jobs.cancel(session, launch.schedule_key(campaign.id))
        campaign.scheduled_at = None
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
