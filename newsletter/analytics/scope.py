"""What a summary was asked for: days, grouping, and of which mails."""

from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.analytics.queries import Days, Part
from newsletter.analytics.schemas import Grouping
from newsletter.campaigns import queries as campaigns
from newsletter.kit import clock, ids
from newsletter.kit.address import domain_name
from newsletter.kit.errors import Forbidden, NotFound, ValidationFailed
from newsletter.kit.schema import without_nul
from newsletter.settings import LimitSettings
from newsletter.tallies.models import Dimension

DEFAULT_DAYS = 30
_PERIODS = {Grouping.hour: 24.0, Grouping.day: 1.0, Grouping.month: 1 / 28}
"""How many of them a day has."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What a call asks for; of the last four, one at most."""

    since: date | None
    until: date | None
    group_by: Grouping
    campaign_id: str | None
    tag: str | None
    domain: str | None
    sending_server_id: str | None


def allow_everything(principal: Principal) -> None:
    """Counts are of whole projects. Raises `Forbidden` for a key that is restricted to lists."""
    if principal.list_ids:
        raise Forbidden("This key is restricted to lists; ask for the reports of their campaigns.")


def days(since: date | None, until: date | None, zone: ZoneInfo, limits: LimitSettings) -> Days:
    """The last 30 days where nothing else is asked for. Raises `ValidationFailed`."""
    until = until or clock.now().astimezone(zone).date()
    if not 1971 <= until.year <= 9998:
        raise ValidationFailed.of("until", "must be between the years 1971 and 9998")
    since = since or until - timedelta(days=DEFAULT_DAYS - 1)
    if since > until:
        raise ValidationFailed.of("since", "must not be after 'until'")
    if (until - since).days >= limits.summary_days:
        raise ValidationFailed.of("since", f"must be less than {limits.summary_days} days before 'until'")
    return Days(since, until, zone)


def check_rows(group_by: Grouping, asked: Days, limits: LimitSettings) -> None:
    """Raises `ValidationFailed` for more periods than one summary shows."""
    number = ((asked.until - asked.since).days + 1) * _PERIODS.get(group_by, 0)
    if number > limits.summary_rows:
        text = f"must be so that there are at most {limits.summary_rows} rows: ask for fewer days"
        raise ValidationFailed.of("group_by", text)


async def part(session: AsyncSession, principal: Principal, sought: Sought) -> Part:
    """Raises `ValidationFailed` for more than one of them, and where the rows are no periods."""
    asked = {
        "campaign_id": sought.campaign_id,
        "tag": sought.tag,
        "domain": sought.domain,
        "sending_server_id": sought.sending_server_id,
    }
    given = [name for name, value in asked.items() if value is not None]
    if not given:
        return Part()
    if len(given) > 1:
        raise ValidationFailed.of(given[1], f"must not come with '{given[0]}'")
    if sought.group_by not in _PERIODS:
        raise ValidationFailed.of(given[0], "goes with 'group_by' hour, day or month")
    if sought.campaign_id is not None:
        return Part(Dimension.campaign, (await _campaign(session, principal, sought.campaign_id)).hex)
    if sought.tag is not None:
        without_nul("tag", sought.tag)
        return Part(Dimension.tag, sought.tag)
    if sought.domain is not None:
        return Part(Dimension.domain, _domain(sought.domain))
    if sought.sending_server_id == OWN_SERVER:
        return Part(Dimension.server, "")
    server_id = ids.in_query("srv", "sending_server_id", sought.sending_server_id)
    return Part(Dimension.server, server_id.hex if server_id else "")


OWN_SERVER = "default"
"""Stands for the operator's own server, which has no id."""


async def _campaign(session: AsyncSession, principal: Principal, campaign_id: str) -> UUID:
    found = ids.in_query("cmp", "campaign_id", campaign_id)
    try:
        return (await campaigns.one(session, principal.project, found or UUID(int=0))).id
    except NotFound:
        raise ValidationFailed.of("campaign_id", "there is no such campaign in this project") from None


def _domain(text: str) -> str:
    try:
        return domain_name(text)
    except ValueError as error:
        raise ValidationFailed.of("domain", str(error)) from None
