"""The one vocabulary of what can happen."""

from enum import StrEnum


class EventType(StrEnum):
    message_accepted = "message.accepted"
    message_delivered = "message.delivered"
    message_deferred = "message.deferred"
    message_opened = "message.opened"
    message_clicked = "message.clicked"
    message_bounced = "message.bounced"
    message_complained = "message.complained"
    message_failed = "message.failed"
    message_suppressed = "message.suppressed"
    campaign_sent = "campaign.sent"
    campaign_failed = "campaign.failed"
    campaign_paused = "campaign.paused"
    subscriber_created = "subscriber.created"
    subscriber_unsubscribed = "subscriber.unsubscribed"
    subscriber_bounced = "subscriber.bounced"
    subscriber_complained = "subscriber.complained"
    automation_triggered = "automation.triggered"


class Trace(StrEnum):
    """What a reader's request left in the log, with an id and a time that it had before."""

    opened = "message.opened"
    clicked = "message.clicked"
