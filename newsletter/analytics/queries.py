"""Reads what was counted. No question here looks at the log or at messages."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.analytics.schemas import (
    CampaignNumbers,
    Counts,
    DayStats,
    DeliveryStats,
    Grouping,
    Report,
    ReportDay,
    Stats,
    Summary,
    SummaryRow,
)
from newsletter.campaigns import queries as campaigns
from newsletter.campaigns.models import CampaignStatus
from newsletter.campaigns.schemas import CampaignOut
from newsletter.delivery import queries as delivery
from newsletter.domains import queries as domains
from newsletter.kit import clock, ids
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.routing import queries as routing
from newsletter.tallies import queries as tallies
from newsletter.tallies.models import Dimension, Metric
from newsletter.tallies.spans import Span, Step, day_of, instant_of, labels, spans

_REPORT_DAYS = 366
_DIMENSIONS: Mapping[Grouping, Dimension] = {
    Grouping.campaign: Dimension.campaign,
    Grouping.tag: Dimension.tag,
    Grouping.domain: Dimension.domain,
    Grouping.sending_server: Dimension.server,
}


@dataclass(frozen=True, slots=True)
class Part:
    """The mails of one value of one dimension; without one, all."""

    dimension: Dimension = Dimension.total
    value: str = ""


@dataclass(frozen=True, slots=True)
class Days:
    """From ``since`` to ``until``, both included, by the clocks of the project."""

    since: date
    until: date
    zone: ZoneInfo

    @property
    def spans(self) -> list[Span]:
        return spans(self.since, self.until, self.zone)


async def zone_of(session: AsyncSession, project: Project) -> ZoneInfo:
    return ZoneInfo((await accounts.profile(session, project)).time_zone)


async def summary(
    session: AsyncSession, project: Project, days: Days, group_by: Grouping, part: Part, *, most: int
) -> Summary:
    """By period of one part of the mail, or by the ``most`` values of a dimension that most was sent
    of (then ``part`` is all of it). The total is of all values."""
    dimension = _DIMENSIONS.get(group_by)
    if dimension is None:
        rows = await _by_period(session, project, days, group_by, part)
        total = tallies.summed(rows.values())
        shown = [SummaryRow.of(numbers, key=key, name=None) for key, numbers in rows.items()]
    else:
        found = await tallies.counted(session, project.id, Dimension.total, days.spans, delivery.abouts)
        total = tallies.summed(found.values())
        shown = await _by_value(session, project, days, dimension, most)
    return Summary(
        since=days.since,
        until=days.until,
        time_zone=days.zone.key,
        group_by=group_by,
        total=Counts.of(total),
        rows=shown,
    )


async def delivery_stats(session: AsyncSession, project: Project, days: Days) -> DeliveryStats:
    rows = await by_day(session, project, days, Part())
    stats = [
        DayStats(
            day=day,
            **{name: numbers[Metric(name)] for name in _DAILY},
            opens=numbers[Metric.unique_opens],
            clicks=numbers[Metric.unique_clicks],
        )
        for day, numbers in rows.items()
    ]
    return DeliveryStats(time_zone=days.zone.key, delivery_stats=stats)


_DAILY = ("sent", "delivered", "bounced", "complained", "unsubscribed")


async def report(
    session: AsyncSession, project: Project, shown: CampaignOut, mailing_id: UUID | None
) -> Report:
    """The outcomes are those of the campaign's books, what came back is what was counted."""
    zone = await zone_of(session, project)
    found: dict[date, Counter[Metric]] = {}
    if shown.started_at is not None:
        first = shown.started_at.astimezone(zone).date()
        last = min(clock.now().astimezone(zone).date(), first + timedelta(days=_REPORT_DAYS - 1))
        part = Part(Dimension.campaign, shown.id.hex)
        found = await by_day(session, project, Days(first, max(first, last), zone), part)
    counted_on = [day for day, numbers in found.items() if numbers.total()]
    books = {
        Metric.sent: shown.emails_sent,
        Metric.failed: shown.emails_failed,
        Metric.suppressed: shown.emails_suppressed,
        Metric.skipped: shown.emails_skipped,
        Metric.unknown: shown.emails_unknown,
    }
    back = await tallies.of_campaigns(session, project.id, {shown.id: mailing_id} if mailing_id else {})
    return Report.of(
        {**back.get(shown.id, {}), **books},
        campaign_id=shown.id,
        name=shown.name,
        subject=shown.subject,
        status=shown.status,
        recipient_count=shown.recipient_count,
        pending=shown.emails_pending,
        started_at=shown.started_at,
        finished_at=shown.finished_at,
        time_zone=zone.key,
        days=[
            ReportDay.of(numbers, day=day)
            for day, numbers in found.items()
            if counted_on and counted_on[0] <= day <= counted_on[-1]
        ],
    )


async def stats(session: AsyncSession, project: Project) -> Stats:
    owner = project.quota_owner_id
    by_status = await campaigns.count_by_status(session, project)
    on_their_way = (CampaignStatus.sending, CampaignStatus.paused)
    return Stats(
        contacts=(await plans.usage(session, owner, Resource.subscribers, None)).used,
        campaigns=CampaignNumbers(
            total=sum(by_status.values()),
            sending=sum(by_status.get(status, 0) for status in on_their_way),
            completed=by_status.get(CampaignStatus.sent, 0),
        ),
        emails_this_month=(await plans.usage(session, owner, Resource.mails, None)).used,
        domains=await domains.count(session, project),
    )


async def by_day(
    session: AsyncSession, project: Project, days: Days, part: Part
) -> dict[date, Counter[Metric]]:
    """What was counted of this part of the mail, each day of them."""
    parts = days.spans
    found = await tallies.counted(
        session, project.id, part.dimension, parts, delivery.abouts, step=Step.day, value=part.value
    )
    return {day_of(day): found.get((part.value, day), Counter()) for day in labels(parts, Step.day)}


async def _by_period(
    session: AsyncSession, project: Project, days: Days, group_by: Grouping, part: Part
) -> dict[str, Counter[Metric]]:
    if group_by is Grouping.hour:
        parts = days.spans
        found = await tallies.counted(
            session, project.id, part.dimension, parts, delivery.abouts, step=Step.hour, value=part.value
        )
        return {
            instant_of(hour).astimezone(days.zone).isoformat(): found.get((part.value, hour), Counter())
            for hour in labels(parts, Step.hour)
        }
    rows: dict[str, Counter[Metric]] = {}
    for day, numbers in (await by_day(session, project, days, part)).items():
        key = day.isoformat() if group_by is Grouping.day else f"{day:%Y-%m}"
        rows.setdefault(key, Counter()).update(numbers)
    return rows


async def _by_value(
    session: AsyncSession, project: Project, days: Days, dimension: Dimension, most: int
) -> list[SummaryRow]:
    found = await tallies.counted(session, project.id, dimension, days.spans, delivery.abouts)
    by_value = {value: numbers for (value, _), numbers in found.items() if any(numbers.values())}
    first = sorted(by_value, key=lambda value: (-by_value[value][Metric.sent], value))[:most]
    names = await _names(session, project, dimension, first)
    return [
        SummaryRow.of(by_value[value], key=_key(dimension, value), name=names.get(value)) for value in first
    ]


def _key(dimension: Dimension, value: str) -> str | None:
    if dimension is Dimension.campaign:
        return ids.public("cmp", UUID(value))
    if dimension is Dimension.server:
        return ids.public("srv", UUID(value)) if value else None
    return value


async def _names(
    session: AsyncSession, project: Project, dimension: Dimension, values: list[str]
) -> dict[str, str]:
    find = _NAMES.get(dimension)
    if find is None:
        return {}
    names = await find(session, project, [UUID(value) for value in values if value])
    return {each.hex: name for each, name in names.items()}


_NAMES = {Dimension.campaign: campaigns.names, Dimension.server: routing.names}
