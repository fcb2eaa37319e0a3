"""Campaigns as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from newsletter.accounts.schemas import UTM, ShownName, TimeZone
from newsletter.audience.conditions import Condition
from newsletter.audience.schemas import ListId, SubscriberId
from newsletter.audience.segments.schemas import SegmentId
from newsletter.campaigns import local_time
from newsletter.campaigns.models import CampaignStatus, CreationMethod
from newsletter.delivery.models import Feedback, Outcome
from newsletter.delivery.schemas import CampaignId, MessageId
from newsletter.kit import clock
from newsletter.kit.address import EmailAddress, SenderAddress
from newsletter.kit.schema import Body, Line, LocalTime, Schema, Switch, Time, in_utc
from newsletter.routing.schemas import ServerId
from newsletter.templates.schemas import TemplateId

Subject = Annotated[Line, Field(min_length=1, max_length=300, examples=["Our new pricing tiers"])]
Preheader = Annotated[Line, Field(max_length=150, examples=["Plus a free 14-day trial."])]


def _whole(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number from 0 to 23")
    return value


LocalHour = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=23, examples=[9])]
"""Each reader gets the mail when it is this hour on their own clock: within a day of the launch."""
Name = Annotated[Line, Field(min_length=1, max_length=200)]


def _moment(at: datetime | None, info: ValidationInfo) -> datetime | None:
    """The instant of a schedule: by its own zone, else by the one in ``scheduled_timezone``."""
    if "scheduled_timezone" not in info.data:  # It is wrong itself, which is told.
        return at
    zone = info.data["scheduled_timezone"]
    if at is None:
        if zone is not None:
            raise ValueError("must come with 'scheduled_timezone'")
        return None
    if at.tzinfo is None:
        if zone is None:
            raise ValueError(
                "must have a zone, as in 2026-11-21T09:00:00+01:00, or come with 'scheduled_timezone'"
            )
        at = local_time.instant(at, ZoneInfo(zone))
    at = in_utc(at)
    if at <= clock.now():
        raise ValueError("must be in the future")
    return at


class Scheduled(Body):
    """When to send."""

    scheduled_timezone: Annotated[TimeZone, Field(examples=["Europe/Berlin"])] | None = None
    """The zone that ``scheduled_at`` is meant in; kept and shown. The project's when left out."""
    scheduled_at: Annotated[LocalTime | None, Field(validate_default=True)] = None
    """A time in the future: with its offset, or the local time of ``scheduled_timezone``. A local time
    that its clocks skip or show twice is refused, with both ways to write it."""

    _future = field_validator("scheduled_at")(_moment)


class Topic(Body):
    """What the model is to write about."""

    prompt: Annotated[
        str,
        StringConstraints(strip_whitespace=True),
        Field(
            min_length=5,
            max_length=2000,
            examples=["Announce our new pricing tiers and free 14-day trial."],
        ),
    ]


class CampaignCreate(Scheduled):
    """Exactly one of ``ai`` and ``html``. A draft, unless ``send`` or ``scheduled_at`` says otherwise."""

    list_id: ListId
    segment_id: SegmentId | None = None
    """A segment of the list; who meets its conditions is asked at the launch. Left out: all of the list."""
    name: Name | None = None
    """For your own eyes; the subject when left out."""
    subject: Subject | None = None
    """Written by the model when left out with ``ai``."""
    preheader: Preheader | None = None
    template_id: TemplateId | None = None
    """The project's default template when left out."""
    from_email: SenderAddress | None = None
    from_name: ShownName | None = None
    reply_to: SenderAddress | None = None
    send: Switch = False
    """Send at once, unless ``scheduled_at`` says when."""
    send_at_local_hour: LocalHour | None = None
    """Each reader gets it when it is this hour on their own clock, within a day of the launch."""
    track_opens: Switch | None = None
    """Null: as the project has it when the campaign is launched."""
    track_clicks: Switch | None = None
    utm: UTM | None = None
    """What is left out of it is the project's; a member that is null takes a parameter away."""
    ai: Topic | None = None
    html: Annotated[
        str | None, Field(validate_default=True, examples=["<p>Hello! Here are this week's updates.</p>"])
    ] = None
    """The body; your template goes around it."""

    @field_validator("html")
    @classmethod
    def _one_source(cls, html: str | None, info: ValidationInfo) -> str | None:
        if "ai" in info.data and (html is None) == (info.data["ai"] is None):
            raise ValueError("send exactly one of 'ai' and 'html'")
        return html


class CampaignUpdate(Scheduled):
    """Fields that are left out stay as they are. ``scheduled_at: null`` makes it a draft again."""

    list_id: ListId | None = None
    segment_id: SegmentId | None = None
    """Null: all of the list."""
    name: Name | None = None
    subject: Subject | None = None
    preheader: Preheader | None = None
    template_id: TemplateId | None = None
    from_email: SenderAddress | None = None
    from_name: ShownName | None = None
    reply_to: SenderAddress | None = None
    html: Annotated[str, Field(min_length=1)] | None = None
    send_at_local_hour: LocalHour | None = None
    track_opens: Switch | None = None
    track_clicks: Switch | None = None
    utm: UTM | None = None
    """Replaces what the campaign had."""


class CampaignSend(Scheduled):
    """Empty: send now."""


class CampaignTest(Body):
    """Who gets a copy; their addresses need not be on any list."""

    emails: Annotated[list[EmailAddress], Field(min_length=1, max_length=5)]


class TestSent(Schema):
    status: str
    """``queued``: workers send it now."""
    emails: list[str]


class StatusReason(Schema):
    code: str
    message: str


class CampaignSummary(Schema):
    id: CampaignId
    name: str
    subject: str | None
    preheader: str | None
    status: CampaignStatus
    status_reason: StatusReason | None
    version: int
    """Grows with each change; send it as ``If-Match`` to change only what you saw."""
    list_id: ListId
    segment_id: SegmentId | None
    """The segment of the list that it goes to; null: all of the list."""
    template_id: TemplateId
    creation_method: CreationMethod
    from_email: str | None
    from_name: str | None
    reply_to: str | None
    track_opens: bool | None
    """Null: as the project has it when the campaign is launched."""
    track_clicks: bool | None
    utm: dict[str, str | None]
    """What it changes of the project's."""
    recipient_count: int
    emails_sent: int
    emails_failed: int
    emails_suppressed: int
    emails_skipped: int
    emails_unknown: int
    opens: int
    """Recipients who opened it, each once; machines are left out."""
    clicks: int
    """Recipients who followed a link, each once; machines are left out."""
    scheduled_at: Time | None
    scheduled_timezone: str | None
    """The zone that the schedule was meant in."""
    send_at_local_hour: int | None
    """Each reader's own hour; null: all at once."""
    started_at: Time | None
    """When its audience was frozen and the first mails could go out."""
    sent_at: Time | None
    finished_at: Time | None
    """When nothing was left to do: sent, failed or cancelled."""
    created_at: Time
    updated_at: Time


class SegmentTaken(Schema):
    """A segment as it was when an audience was frozen."""

    name: str
    conditions: Condition


class CampaignOut(CampaignSummary):
    segment: SegmentTaken | None
    """What its segment was at the launch; later changes of the segment change nothing here."""
    emails_pending: int
    """Recipients that are not decided yet."""
    emails_per_second: float | None
    """Decided in the last minute; null unless it is being sent."""
    eta: Time | None
    """When it will be over at that rate; null unless it is being sent and something moves."""
    content: str
    """The body, as it stands in the template."""
    prompt: str | None
    generation: dict[str, Any] | None
    """Who wrote it: writer, model, prompt, voice version, tokens, and what was removed."""


class RecipientOut(Schema):
    """What became of one recipient."""

    id: MessageId
    address: str | None
    """Null when the person has been erased."""
    subscriber_id: SubscriberId | None
    outcome: Outcome
    """``pending``, ``sending`` and ``deferred`` are not decided yet."""
    attempts: int
    reason: str | None
    """Why, in the words of the server where it had any."""
    server_id: ServerId | None
    """The sending server that had the last word; null where it was the operator's own."""
    next_attempt_at: Time | None
    """Of what is not decided yet: not before this moment."""
    decided_at: Time | None
    feedback: Feedback | None
    """What came back after the mail was accepted."""
    opens: int
    """By people, as the clicks and all four times."""
    clicks: int
    machine_opens: int
    machine_clicks: int
    first_opened_at: Time | None
    last_opened_at: Time | None
    first_clicked_at: Time | None
    last_clicked_at: Time | None


class Preview(Schema):
    subject: str
    preheader: str
    html: str
    text: str
