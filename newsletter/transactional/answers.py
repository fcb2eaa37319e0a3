"""What became of single mails and of messages, as the API shows it."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from newsletter.audience.schemas import SubscriberId
from newsletter.delivery.models import MailingKind, MailingStatus, Outcome, Role
from newsletter.delivery.posting import Posted
from newsletter.delivery.schemas import CampaignId, MessageId
from newsletter.delivery.statuses import MessageStatus
from newsletter.kit.schema import Schema, Time
from newsletter.providers.base import Purpose
from newsletter.routing.schemas import Explained, ServerId
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Level


class RecipientOut(Schema):
    """One recipient of a mail that was taken."""

    id: MessageId
    email: str
    role: Role
    status: MessageStatus


class Sent(Schema):
    id: MessageId
    """Of the first recipient's message."""
    status: MessageStatus
    """``queued``, ``scheduled``, or ``suppressed`` when none of its recipients may be mailed."""
    messages: list[RecipientOut]
    """One for each recipient."""

    @classmethod
    def of(cls, posted: Sequence[Posted]) -> Self:
        messages = [
            RecipientOut(
                id=each.id,
                email=each.recipient.address.spelling,
                role=each.recipient.role,
                status=_status(each),
            )
            for each in posted
        ]
        open_ = (each.status for each in messages if each.status is not MessageStatus.suppressed)
        return cls(id=messages[0].id, status=next(open_, MessageStatus.suppressed), messages=messages)


def _status(posted: Posted) -> MessageStatus:
    if posted.outcome is Outcome.suppressed:
        return MessageStatus.suppressed
    return MessageStatus.queued if posted.due_at is None else MessageStatus.scheduled


class ItemError(Schema):
    code: str
    message: str
    errors: dict[str, list[str]] | None = None
    """Each bad field, where the item is not valid."""


class ItemOut(Schema):
    """What became of one item; its ``error`` where it was not taken."""

    index: int
    """Its place in the call, from 0."""
    id: MessageId | None = None
    status: MessageStatus | None = None
    messages: list[RecipientOut] | None = None
    error: ItemError | None = None


class BulkOut(Schema):
    """``total = accepted + failed``; those that are suppressed are among the accepted."""

    total: int
    accepted: int
    suppressed: int
    failed: int
    results: list[ItemOut]
    """In the order of the call."""


class MessageSummary(Schema):
    """One mail to one recipient, of a campaign or by a call."""

    id: MessageId
    status: MessageStatus
    reason: str | None
    """Why, in the words of the server where it had any."""
    kind: MailingKind
    purpose: Purpose
    campaign_id: CampaignId | None
    subscriber_id: SubscriberId | None
    from_: Annotated[str, Field(alias="from")]
    to: str | None
    """The recipient of this message, whatever its role; null when the person has been erased."""
    role: Role | None
    """Where the header names the recipient; null in a campaign, where everybody is alone."""
    subject: str | None
    """Of a campaign, without what it says of its reader."""
    tags: list[str]
    attempts: int
    scheduled_at: Time | None
    """Not before this moment; null when it is due or over."""
    created_at: Time
    decided_at: Time | None
    """When the sending ended: taken by a server, failed, suppressed or cancelled."""
    server_id: ServerId | None
    """The sending server that had the last word; null where it was the operator's own."""
    opens: int
    """By people, as the clicks and all four times."""
    clicks: int
    machine_opens: int
    machine_clicks: int
    first_opened_at: Time | None
    last_opened_at: Time | None
    first_clicked_at: Time | None
    last_clicked_at: Time | None

    model_config = ConfigDict(populate_by_name=True)


class MessageEvent(Schema):
    type: str
    at: Time
    data: dict[str, Any]
    """What is known besides the message."""


class AttemptOut(Schema):
    """A try to hand the mail over."""

    number: int
    at: Time
    outcome: Outcome
    server_id: ServerId | None
    code: int | None
    """The SMTP reply code."""
    enhanced: str | None
    """The enhanced status code (RFC 3463)."""
    reason: str | None


class MessageOut(MessageSummary):
    recipients: list[MessageId]
    """The messages of the same mail, this one included: one for each recipient."""
    history: list[AttemptOut]
    """The tries, the first one first."""
    events: list[MessageEvent]
    """Everything that happened to it, the first one first."""


class HeldOut(Schema):
    """A suppression that stands against the address now."""

    level: Level
    reason: Reason
    source: str
    created_at: Time


class QuotaOut(Schema):
    """The mails of this month's plan; ``reserved`` are on their way, this one perhaps among them."""

    used: int
    reserved: int
    limit: int | None


class MessageExplained(Schema):
    """Why this person did or did not get this mail."""

    id: MessageId
    status: MessageStatus
    answer: str
    """The short answer, for people; it may be worded anew."""
    mailing_status: MailingStatus
    """``paused``: it waits until somebody resumes the campaign."""
    gives_up_at: Time | None
    """When it fails as expired; null when it is over."""
    suppressions: list[HeldOut]
    quota: QuotaOut
    route: Explained
    """Where it would go now, and why each other server would not take it."""
    attempts: list[AttemptOut]
