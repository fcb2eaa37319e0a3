"""The raw log of a project, as pages and as files."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal, Project
from newsletter.analytics import export
from newsletter.analytics.schemas import EventOut
from newsletter.campaigns import queries as campaigns
from newsletter.delivery import history as messages
from newsletter.events import queries as events
from newsletter.events.queries import Wanted
from newsletter.events.vocabulary import EventType
from newsletter.kit import address, ids, sheets
from newsletter.kit.db import Database
from newsletter.kit.errors import Forbidden, NewsletterError, NotFound, ValidationFailed
from newsletter.kit.schema import instant, without_nul

LOOK_AT = 5_000
"""Events that one page reads at most where what is asked for is in no index."""
MAX_MESSAGES = 1_000
"""Of an address, the newest messages whose events are shown."""
ROWS_PER_READ = 1_000


class EventHistoryNotAvailable(NewsletterError):
    code, status = "event_history_not_available", 402
    summary = "Your plan has no history of single events. Upgrade, or read GET /analytics/summary."


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters of a call; None does not filter."""

    types: Collection[EventType] | None = None
    campaign_id: str | None = None
    message_id: str | None = None
    email: str | None = None
    tag: str | None = None
    since: str | None = None
    """As the caller wrote it, and so is the other."""
    until: str | None = None


def allow(principal: Principal) -> None:
    """Raises `EventHistoryNotAvailable`; a test project is there to try everything."""
    if not principal.plan.has_raw_events and not principal.project.is_test:
        raise EventHistoryNotAvailable()


async def wanted(session: AsyncSession, principal: Principal, asked: Asked) -> Wanted | None:
    """None where nothing can match. Raises `ValidationFailed`, and `Forbidden` for a key that is
    restricted to lists and asks for more than a campaign of one of them."""
    project = principal.project
    since, until = instant("since", asked.since), instant("until", asked.until)
    for field, text in (("tag", asked.tag), ("email", asked.email), ("message_id", asked.message_id)):
        without_nul(field, text)
    mailing_id = await _mailing(session, principal, asked.campaign_id)
    if principal.list_ids and asked.campaign_id is None:
        raise Forbidden("This key is restricted to lists; name a campaign of one of them.")
    message_ids = await _messages(session, project, asked)
    is_not_sent = asked.campaign_id is not None and mailing_id is None
    if is_not_sent or (message_ids is not None and not message_ids):
        return None
    return Wanted(
        kinds=None if asked.types is None else [kind.value for kind in asked.types],
        mailing_id=mailing_id,
        message_ids=message_ids,
        tag=asked.tag,
        since=since,
        until=until,
    )


async def _mailing(session: AsyncSession, principal: Principal, campaign_id: str | None) -> UUID | None:
    found = ids.in_query("cmp", "campaign_id", campaign_id)
    if found is None:
        return None
    try:
        campaign = await campaigns.one(session, principal.project, found)
    except NotFound:
        raise ValidationFailed.of("campaign_id", "there is no such campaign in this project") from None
    if not principal.may_use_list(campaign.list_id):
        raise Forbidden("This key may not use that campaign's list.")
    return campaign.mailing_id


async def _messages(session: AsyncSession, project: Project, asked: Asked) -> list[str] | None:
    """Their public ids; None: of all."""
    address_key = address.key_in_query("email", asked.email)
    if address_key is None:
        return None if asked.message_id is None else [asked.message_id]
    wanted = messages.Wanted(address_key=address_key)
    found = await messages.listed(session, project, wanted, after=None, limit=MAX_MESSAGES)
    return [each.id for each in found if asked.message_id in (None, each.id)]


async def page(
    session: AsyncSession, project: Project, sought: Wanted | None, *, before: UUID | None, limit: int
) -> tuple[list[EventOut], str | None]:
    """And the cursor of the next one."""
    if sought is None:
        return [], None
    found = await events.page(session, project.id, sought, before=before, limit=limit, look_at=LOOK_AT)
    shown = [EventOut.model_validate(each) for each in found.events]
    return shown, found.next_before.hex if found.next_before else None


async def lines(
    db: Database, project: Project, sought: Wanted | None, *, as_csv: bool, is_raw: bool = False
) -> AsyncIterator[bytes]:
    """All of them, a thousand at a time, in constant memory. Each page is read by itself: one
    transaction over the whole export would hold back the database's housekeeping."""
    if as_csv:
        yield export.events_csv((), has_header=True)
    before: UUID | None = None
    while True:
        async with db.read() as session:
            rows, cursor = await page(session, project, sought, before=before, limit=ROWS_PER_READ)
        if rows:
            shown = [row.model_dump(mode="json") for row in rows]
            yield export.events_csv(shown, is_raw=is_raw) if as_csv else sheets.json_lines(shown)
        if cursor is None:
            return
        before = UUID(hex=cursor)
