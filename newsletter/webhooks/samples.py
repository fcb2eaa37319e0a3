"""The events of a test call: made up, and of the same form as real ones."""

from uuid import UUID

from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids
from newsletter.kit.db import JSONObject

_NOBODY = UUID(int=0)
"""The id of what does not exist: a test call must not look like news of a real campaign."""


def data(kind: EventType) -> JSONObject:
    """The ``data`` of a made-up event of this type."""
    if kind in _CAMPAIGNS:
        return {"campaign": _campaign(kind)}
    return {"subscriber": _subscriber(kind)}


_CAMPAIGNS = {
    EventType.campaign_sent: None,
    EventType.campaign_failed: {"code": "all_failed", "message": "Every recipient failed."},
    EventType.campaign_paused: {"code": "too_many_bounces", "message": "Too many mails bounced."},
}
"""The ``status_reason`` of each."""


def _campaign(kind: EventType) -> JSONObject:
    is_sent = kind is EventType.campaign_sent
    return {
        "id": ids.public("cmp", _NOBODY),
        "list_id": ids.public("lst", _NOBODY),
        "name": "A test call",
        "subject": "A test call",
        "status": kind.value.partition(".")[2],
        "status_reason": _CAMPAIGNS[kind],
        "recipient_count": 2,
        "emails_sent": 2 if is_sent else 0,
        "emails_failed": 0 if is_sent else 2,
        "emails_suppressed": 0,
        "emails_skipped": 0,
        "emails_unknown": 0,
        "sent_at": clock.rfc3339(clock.now()) if is_sent else None,
    }


def _subscriber(kind: EventType) -> JSONObject:
    now = clock.rfc3339(clock.now())
    has_left = kind is EventType.subscriber_unsubscribed
    status = "active" if kind is EventType.subscriber_created else kind.value.partition(".")[2]
    return {
        "id": ids.public("sub", _NOBODY),
        "list_id": ids.public("lst", _NOBODY),
        "email": "reader@example.com",
        "first_name": "Test",
        "last_name": "Reader",
        "status": status,
        "subscribed_at": now,
        "unsubscribed_at": now if has_left else None,
        "created_at": now,
    }
