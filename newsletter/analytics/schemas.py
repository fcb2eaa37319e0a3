"""Analytics as the API shows them."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from newsletter.analytics.health import Judged, Level
from newsletter.analytics.models import HealthScore
from newsletter.campaigns.models import CampaignStatus
from newsletter.delivery.schemas import CampaignId
from newsletter.events.vocabulary import EventType
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Schema, Time
from newsletter.tallies.models import Metric
from newsletter.tallies.queries import Tallied

EventId = Annotated[UUID, IdField("evt")]


class Grouping(StrEnum):
    """By what a summary has its rows."""

    hour = "hour"
    day = "day"
    month = "month"
    campaign = "campaign"
    tag = "tag"
    domain = "domain"
    sending_server = "sending_server"


class Counts(Schema):
    """What was counted. Of opens and clicks, those of people, unless a name says otherwise."""

    sent: int
    """Taken over by a sending server."""
    failed: int
    suppressed: int
    skipped: int
    unknown: int
    """Handed over when the answer was lost: perhaps sent. Below zero in a period in which more of
    them turned out to be sent than were lost."""
    delivered: int
    """Confirmed by the reader's server, where a provider says so."""
    bounced: int
    """Came back after they were taken over, for good or for now."""
    complained: int
    unsubscribed: int
    """Subscriptions that ended by the link or the button of a mail."""
    opens: int
    """All of people; the ``opens`` of a campaign are ``unique_opens`` here."""
    unique_opens: int
    """Messages, each at its first open."""
    machine_opens: int
    clicks: int
    """All of people; the ``clicks`` of a campaign are ``unique_clicks`` here."""
    unique_clicks: int
    """Messages, each at its first click."""
    machine_clicks: int
    open_rate: float | None
    """``unique_opens`` of those sent that did not bounce, as are all rates that say nothing else; null
    where there are none. In a period there are opens of earlier mails, so it may be above 1."""
    click_rate: float | None
    click_to_open_rate: float | None
    """``unique_clicks`` of ``unique_opens``."""
    bounce_rate: float | None
    """Of those sent."""
    complaint_rate: float | None
    unsubscribe_rate: float | None

    @classmethod
    def of(cls, numbers: Tallied, **more: object) -> Self:
        counted = {metric.value: numbers.get(metric, 0) for metric in Metric}
        arrived = counted["sent"] - counted["bounced"]
        rates = {
            "open_rate": _rate(counted["unique_opens"], arrived),
            "click_rate": _rate(counted["unique_clicks"], arrived),
            "click_to_open_rate": _rate(counted["unique_clicks"], counted["unique_opens"]),
            "bounce_rate": _rate(counted["bounced"], counted["sent"]),
            "complaint_rate": _rate(counted["complained"], arrived),
            "unsubscribe_rate": _rate(counted["unsubscribed"], arrived),
        }
        return cls.model_validate({**counted, **rates, **more})


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole > 0 else None


class SummaryRow(Counts):
    key: str | None
    """A day ``2026-11-21``, a month ``2026-11``, the start of an hour with its offset, the id of a
    campaign or sending server (null: the operator's own server), a tag, or the domain of the From address."""
    name: str | None
    """Of a campaign or sending server, unless it was deleted."""


class Summary(Schema):
    since: date
    until: date
    """The first and the last day, in the project's time zone."""
    time_zone: str
    group_by: Grouping
    total: Counts
    """Of the whole time, as `rows` may be those of one campaign, tag, domain or server."""
    rows: list[SummaryRow]
    """Each period, those without a number included; or each value, the one most sent first."""


class DayStats(Schema):
    day: date
    """In the project's time zone."""
    sent: int
    delivered: int
    bounced: int
    complained: int
    unsubscribed: int
    opens: int
    """People, each message at its first open."""
    clicks: int
    """People, each message at its first click."""


class DeliveryStats(Schema):
    time_zone: str
    delivery_stats: list[DayStats]
    """Oldest first, days without mail included."""


class ReportDay(Counts):
    day: date


class Report(Counts):
    """A campaign's numbers. The outcomes are those of its books and add up to ``recipient_count`` when
    it is over."""

    campaign_id: CampaignId
    name: str
    subject: str | None
    status: CampaignStatus
    recipient_count: int
    pending: int
    """Recipients that are not decided yet."""
    started_at: Time | None
    finished_at: Time | None
    time_zone: str
    days: list[ReportDay]
    """In the project's time zone, from the first day on which anything was counted to the last, at
    most a year."""


class CampaignNumbers(Schema):
    total: int
    sending: int
    """On their way, paused ones included."""
    completed: int
    """Sent."""


class EventOut(Schema):
    """One event of the log, in the form in which webhooks send it."""

    id: EventId
    type: EventType
    created_at: Time
    """When it happened. The log is in the order in which it came in, a moment later as a rule."""
    data: dict[str, Any]


class Stats(Schema):
    """The numbers of the account at a glance."""

    contacts: int
    """Active and pending subscribers, as the plan counts them: of all live projects of the account,
    or of this test project."""
    campaigns: CampaignNumbers
    """Of this project."""
    emails_this_month: int
    """As the plan counts them, in the month of UTC; of the same projects as ``contacts``."""
    domains: int
    """Sending domains of this project."""


class InsightOut(Schema):
    """One thing that was judged, and what to do about it."""

    judged: Judged
    level: Level
    """``good``: full points; ``bad``: none, or a threshold of the mailbox providers is reached."""
    value: float
    """A share, as ``0.003`` is 0.3 %; of ``steadiness`` how many times the median day the largest had."""
    weight: int
    """The most points that it may bring."""
    points: float
    advice: str | None
    """Null where all is well."""


class HealthDay(Schema):
    day: date
    """Of UTC."""
    score: int | None
    """0 to 100; null where too little was sent to judge."""
    grade: str | None
    """``A+``, ``A``, ``B``, ``C``, ``D`` or ``F``."""
    sent: int
    """In the 30 days that the score is of, as are the rates."""
    bounce_rate: float | None
    complaint_rate: float | None
    unsubscribe_rate: float | None
    open_rate: float | None
    click_rate: float | None
    calculated_at: Time

    @classmethod
    def of(cls, row: HealthScore) -> Self:
        return cls.model_validate(_of_day(row))


class HealthOut(HealthDay):
    insights: list[InsightOut]
    """What was judged, the heaviest first."""

    @classmethod
    def of(cls, row: HealthScore) -> Self:
        return cls.model_validate({**_of_day(row), "insights": row.insights})


class HealthHistory(Schema):
    period_days: int
    history: list[HealthDay]
    """Oldest first; days without a score are left out."""


def _of_day(row: HealthScore) -> dict[str, Any]:
    return {
        "day": row.day,
        "score": row.score,
        "grade": row.grade,
        "calculated_at": row.calculated_at,
        **row.rates,
    }
