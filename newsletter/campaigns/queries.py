"""Reads campaigns."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal, Project
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.campaigns.schemas import CampaignOut, CampaignSummary
from newsletter.delivery import queries as delivery
from newsletter.delivery.queries import Counts
from newsletter.kit.errors import NotFound

_NOTHING = Counts(0, 0, 0, 0, 0, 0)
UNFINISHED = (
    CampaignStatus.draft,
    CampaignStatus.scheduled,
    CampaignStatus.sending,
    CampaignStatus.paused,
)


async def one(session: AsyncSession, project: Project, campaign_id: UUID, *, lock: bool = False) -> Campaign:
    """Raises `NotFound` for a campaign that is not of this project. ``lock`` holds its row."""
    statement = select(Campaign).where(Campaign.id == campaign_id, Campaign.project_id == project.id)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = (await session.scalars(statement)).one_or_none()
    if found is None:
        raise NotFound()
    return found


def listed(principal: Principal, status: CampaignStatus | None, list_id: UUID | None) -> Select[Campaign]:
    """The campaigns that the key may see, newest first."""
    statement = select(Campaign).where(Campaign.project_id == principal.project.id)
    if principal.list_ids:
        statement = statement.where(Campaign.list_id.in_(principal.list_ids))
    if status is not None:
        statement = statement.where(Campaign.status == status)
    if list_id is not None:
        statement = statement.where(Campaign.list_id == list_id)
    return statement.order_by(Campaign.id.desc())


async def uses_list(session: AsyncSession, project: Project, list_id: UUID) -> bool:
    """Whether a campaign that is not over still needs the list."""
    statement = select(Campaign.id).where(
        Campaign.project_id == project.id, Campaign.list_id == list_id, Campaign.status.in_(UNFINISHED)
    )
    return (await session.execute(statement.limit(1))).first() is not None


async def shown(session: AsyncSession, campaign: Campaign) -> CampaignOut:
    counts = await _counts(session, [campaign])
    return CampaignOut.model_validate(
        _fields(campaign, counts)
        | {"content": campaign.content, "prompt": campaign.prompt, "generation": campaign.generation}
    )


async def shown_many(session: AsyncSession, campaigns: Sequence[Campaign]) -> list[CampaignSummary]:
    counts = await _counts(session, campaigns)
    return [CampaignSummary.model_validate(_fields(campaign, counts)) for campaign in campaigns]


async def _counts(session: AsyncSession, campaigns: Sequence[Campaign]) -> dict[UUID, Counts]:
    mailings = [campaign.mailing_id for campaign in campaigns if campaign.mailing_id]
    return dict(await delivery.counts(session, mailings))


def _fields(campaign: Campaign, counts: dict[UUID, Counts]) -> dict[str, object]:
    books = counts.get(campaign.mailing_id, _NOTHING) if campaign.mailing_id else _NOTHING
    names = CampaignSummary.model_fields.keys() & Campaign.__table__.columns.keys()
    return {name: getattr(campaign, name) for name in names} | {
        "recipient_count": books.recipient_count,
        "emails_sent": books.sent,
        "emails_failed": books.failed,
        "emails_suppressed": books.suppressed,
        "emails_skipped": books.skipped,
        "emails_unknown": books.unknown,
        # Tracking is not there yet; the fields are, as clients of this API expect them.
        "opens": 0,
        "clicks": 0,
    }
