"""Reads campaigns."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.accounts.project import Principal, Project
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.campaigns.schemas import CampaignOut, CampaignSummary, RecipientOut
from newsletter.delivery import progress
from newsletter.delivery import queries as delivery
from newsletter.delivery.queries import Counts, FoundRecipient
from newsletter.feedback import queries as feedback
from newsletter.kit import ids
from newsletter.kit.bulk import among
from newsletter.kit.clock import rfc3339
from newsletter.kit.db import JSONObject
from newsletter.kit.errors import NotFound
from newsletter.kit.prepared import Prepared
from newsletter.tallies import queries as tallies
from newsletter.tallies.models import Metric
from newsletter.tallies.queries import Tallied

T = TypeVar("T")

_NOTHING = Counts(0, 0, 0, 0, 0, 0)
WAITING = (CampaignStatus.draft, CampaignStatus.scheduled)
"""Still to be launched."""
UNFINISHED = (*WAITING, CampaignStatus.sending, CampaignStatus.paused)


def has_not_begun(campaign: Campaign) -> bool:
    """Whether nothing of it was sent and it may still be: also when its launch was refused or missed."""
    is_refused_launch = campaign.status is CampaignStatus.failed and campaign.mailing_id is None
    return campaign.status in WAITING or is_refused_launch


# Made once: with the statement and its many columns made anew each time a call that reads a campaign took
# 0.3 ms more.
_ONE = select(Campaign).where(
    Campaign.id == bindparam("campaign_id"), Campaign.project_id == bindparam("project_id")
)
_ONE_LOCKED = _ONE.with_for_update().execution_options(populate_existing=True)


async def one(session: AsyncSession, project: Project, campaign_id: UUID, *, lock: bool = False) -> Campaign:
    """Raises `NotFound` for a campaign that is not of this project. ``lock`` holds its row."""
    statement = _ONE_LOCKED if lock else _ONE
    named = {"campaign_id": campaign_id, "project_id": project.id}
    found = (await session.scalars(statement, named)).one_or_none()
    if found is None:
        raise NotFound()
    return found


_COLUMNS = tuple(Campaign.__table__.columns)
_ONE_TO_READ = Prepared(
    lambda _: select(*_COLUMNS).where(
        Campaign.id == bindparam("campaign_id"), Campaign.project_id == bindparam("project_id")
    )
)


async def one_to_read(session: AsyncSession, project: Project, campaign_id: UUID) -> Campaign:
    """As `one`, for who changes nothing: the session does not know what it returns."""
    found = await _ONE_TO_READ.rows(session, campaign_id=campaign_id, project_id=project.id)
    if not found:
        raise NotFound()
    names = (column.key for column in _COLUMNS)
    return Campaign(**dict(zip(names, found[0], strict=True)))


async def by_mailing(session: AsyncSession, mailing_id: UUID, *, lock: bool = False) -> Campaign | None:
    """For jobs, which bring the mailing. ``lock`` holds its row."""
    statement = select(Campaign).where(Campaign.mailing_id == mailing_id)
    return (await session.scalars(statement.with_for_update() if lock else statement)).one_or_none()


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


async def count_by_status(session: AsyncSession, project: Project) -> Mapping[CampaignStatus, int]:
    counted = select(Campaign.status, func.count()).where(Campaign.project_id == project.id)
    return dict((await session.execute(counted.group_by(Campaign.status))).all())


async def mailings(
    session: AsyncSession, project: Project, campaign_ids: Collection[UUID]
) -> Mapping[UUID, UUID | None]:
    """Of those that are there; None for one that was not launched."""
    return await _of_each(session, project, campaign_ids, Campaign.mailing_id)


async def list_ids(
    session: AsyncSession, project: Project, campaign_ids: Collection[UUID]
) -> Mapping[UUID, UUID]:
    """The lists of those that are there."""
    return await _of_each(session, project, campaign_ids, Campaign.list_id)


async def names(
    session: AsyncSession, project: Project, campaign_ids: Collection[UUID]
) -> Mapping[UUID, str]:
    """Of those that are there."""
    return await _of_each(session, project, campaign_ids, Campaign.name)


async def _of_each(
    session: AsyncSession, project: Project, campaign_ids: Collection[UUID], column: InstrumentedAttribute[T]
) -> Mapping[UUID, T]:
    mine = select(Campaign.id, column).where(Campaign.project_id == project.id)
    return dict((await session.execute(mine.where(among(session, Campaign.id, campaign_ids)))).all())


async def recipients_shown(session: AsyncSession, rows: Sequence[FoundRecipient]) -> list[RecipientOut]:
    engaged = await feedback.engaged(session, [(row.mailing_id, row.seq) for row in rows])
    return [
        RecipientOut.model_validate(
            asdict(row)
            | asdict(engaged.get((row.mailing_id, row.seq), feedback.NOT_ENGAGED))
            | {"id": row.id, "address": None if row.is_erased else row.address}
        )
        for row in rows
    ]


async def uses_list(session: AsyncSession, project: Project, list_id: UUID) -> bool:
    """Whether a campaign that is not over still needs the list."""
    statement = select(Campaign.id).where(
        Campaign.project_id == project.id, Campaign.list_id == list_id, Campaign.status.in_(UNFINISHED)
    )
    return (await session.execute(statement.limit(1))).first() is not None


async def uses_segment(session: AsyncSession, project: Project, list_id: UUID, segment_id: UUID) -> bool:
    """Whether a campaign that is still to be launched goes to this segment of the list."""
    statement = select(Campaign.id).where(
        Campaign.project_id == project.id,
        # Its index leads to the campaigns of the list.
        Campaign.list_id == list_id,
        Campaign.status.in_(WAITING),
        Campaign.segment_id == segment_id,
    )
    return (await session.execute(statement.limit(1))).first() is not None


async def shown(session: AsyncSession, campaign: Campaign) -> CampaignOut:
    counts = await _counts(session, [campaign])
    counted = await _counted(session, [campaign])
    pace = None
    if campaign.status is CampaignStatus.sending and campaign.mailing_id:
        pace = await progress.of(session, campaign.mailing_id)
    return CampaignOut.model_validate(
        _fields(campaign, counts, counted)
        | {
            "segment": campaign.segment,
            "emails_pending": _pending(_of(campaign, counts)),
            "emails_per_second": pace.per_second if pace else None,
            "eta": pace.eta if pace else None,
            "content": campaign.content,
            "prompt": campaign.prompt,
            "generation": campaign.generation,
        }
    )


def _pending(books: Counts) -> int:
    decided = books.sent + books.failed + books.suppressed + books.skipped + books.unknown
    return books.recipient_count - decided


async def shown_many(session: AsyncSession, campaigns: Sequence[Campaign]) -> list[CampaignSummary]:
    counts = await _counts(session, campaigns)
    counted = await _counted(session, campaigns)
    return [CampaignSummary.model_validate(_fields(campaign, counts, counted)) for campaign in campaigns]


async def _counted(session: AsyncSession, campaigns: Sequence[Campaign]) -> Mapping[UUID, Tallied]:
    """What came back of campaigns of one project."""
    mailings = {campaign.id: campaign.mailing_id for campaign in campaigns if campaign.mailing_id}
    return await tallies.of_campaigns(session, campaigns[0].project_id, mailings) if mailings else {}


async def _counts(session: AsyncSession, campaigns: Sequence[Campaign]) -> dict[UUID, Counts]:
    mailings = [campaign.mailing_id for campaign in campaigns if campaign.mailing_id]
    return dict(await delivery.counts(session, mailings))


def _of(campaign: Campaign, counts: Mapping[UUID, Counts]) -> Counts:
    return counts.get(campaign.mailing_id, _NOTHING) if campaign.mailing_id else _NOTHING


def _fields(
    campaign: Campaign, counts: Mapping[UUID, Counts], counted: Mapping[UUID, Tallied]
) -> dict[str, object]:
    books, back = _of(campaign, counts), counted.get(campaign.id, {})
    names = CampaignSummary.model_fields.keys() & Campaign.__table__.columns.keys()
    return {name: getattr(campaign, name) for name in names} | {
        "recipient_count": books.recipient_count,
        "emails_sent": books.sent,
        "emails_failed": books.failed,
        "emails_suppressed": books.suppressed,
        "emails_skipped": books.skipped,
        "emails_unknown": books.unknown,
        "started_at": books.started_at,
        "finished_at": books.finished_at,
        "opens": back.get(Metric.unique_opens, 0),
        "clicks": back.get(Metric.unique_clicks, 0),
    }


async def event_data(session: AsyncSession, campaign: Campaign) -> JSONObject:
    """The campaign as webhooks show it, with its numbers of this moment."""
    return described(campaign, _of(campaign, await _counts(session, [campaign])))


def described(campaign: Campaign, counts: Counts = _NOTHING) -> JSONObject:
    return {
        "id": ids.public("cmp", campaign.id),
        "list_id": ids.public("lst", campaign.list_id),
        "name": campaign.name,
        "subject": campaign.subject,
        "status": campaign.status.value,
        "status_reason": campaign.status_reason,
        "recipient_count": counts.recipient_count,
        "emails_sent": counts.sent,
        "emails_failed": counts.failed,
        "emails_suppressed": counts.suppressed,
        "emails_skipped": counts.skipped,
        "emails_unknown": counts.unknown,
        "sent_at": rfc3339(campaign.sent_at) if campaign.sent_at else None,
    }
