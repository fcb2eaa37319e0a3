"""The one vocabulary of what can happen."""

from enum import StrEnum


class EventType(StrEnum):
    campaign_sent = "campaign.sent"
    campaign_failed = "campaign.failed"
    campaign_paused = "campaign.paused"
    subscriber_created = "subscriber.created"
    subscriber_unsubscribed = "subscriber.unsubscribed"
    subscriber_bounced = "subscriber.bounced"
    subscriber_complained = "subscriber.complained"


class Trace(StrEnum):
    """What a reader's request left in the log, as it came: kept, and announced to nobody."""

    opened = "message.opened"
    clicked = "message.clicked"
