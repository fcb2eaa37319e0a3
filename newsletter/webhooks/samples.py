"""The events of a test call: made up, and of the same form as real ones."""

from uuid import UUID

from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.db import JSONObject

_NOBODY = UUID(int=0)
"""The id of what does not exist: a test call must not look like news of a real campaign."""


def data(kind: EventType) -> JSONObject:
    """The ``data`` of a made-up event of this type."""
    if kind.value.startswith("campaign."):
        return {"campaign": _campaign(kind)}
    return {"subscriber": _subscriber(kind)}


def _campaign(kind: EventType) -> JSONObject:
    is_sent = kind is EventType.campaign_sent
    return {
        "id": ids.public("cmp", _NOBODY),
        "name": "A test call",
        "subject": "A test call",
        "list_id": ids.public("lst", _NOBODY),
        "status": "sent" if is_sent else "failed",
        "recipient_count": 2,
        "emails_sent": 2 if is_sent else 0,
        "emails_failed": 0 if is_sent else 2,
    }


def _subscriber(kind: EventType) -> JSONObject:
    status = kind.value.removeprefix("subscriber.")
    return {
        "id": ids.public("sub", _NOBODY),
        "email": "reader@example.com",
        "list_id": ids.public("lst", _NOBODY),
        "status": "active" if kind is EventType.subscriber_created else status,
        "first_name": "Test",
        "last_name": "Reader",
    }
