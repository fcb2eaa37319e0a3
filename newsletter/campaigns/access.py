"""Which campaigns a key may use."""

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.campaigns import queries
from newsletter.campaigns.models import Campaign
from newsletter.kit import ids
from newsletter.kit.errors import Forbidden


async def campaign_of_path(session: AsyncSession, principal: Principal, campaign_id: str) -> Campaign:
    """The campaign that a path names. Raises `NotFound`, or `Forbidden` for a list outside the key's."""
    campaign = await queries.one(session, principal.project, ids.in_path("cmp", campaign_id))
    return _allowed(principal, campaign)


async def campaign_to_read(session: AsyncSession, principal: Principal, campaign_id: str) -> Campaign:
    """As `campaign_of_path`, for a call that only shows it."""
    campaign = await queries.one_to_read(session, principal.project, ids.in_path("cmp", campaign_id))
    return _allowed(principal, campaign)


def _allowed(principal: Principal, campaign: Campaign) -> Campaign:
    if not principal.may_use_list(campaign.list_id):
        raise Forbidden("This key may not use that campaign's list.")
    return campaign


def allow_addresses(principal: Principal) -> None:
    """Recipients are shown with their addresses, so the key must be one that may read those."""
    if not principal.has_scope("subscribers:read"):
        raise Forbidden("This key lacks the scope 'subscribers:read', and recipients have addresses.")
