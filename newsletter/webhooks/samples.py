"""The events of a test call: made up, and of the same form as real ones."""

from uuid import UUID

from newsletter.delivery import queries as delivery
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids
from newsletter.kit.db import JSONObject

_NOBODY = UUID(int=0)
"""The id of what does not exist: a test call must not look like news of a real campaign."""


def data(kind: EventType) -> JSONObject:
    """The ``data`` of a made-up event of this type."""
    if kind in _CAMPAIGNS:
        return {"campaign": _campaign(kind)}
    if kind in _MESSAGES:
        return {"message": _message(kind), **_MESSAGES[kind]}
    if kind is EventType.automation_triggered:
        return _AUTOMATION
    return {"subscriber": _subscriber(kind)}


_AUTOMATION: JSONObject = {
    "automation": {
        "id": ids.public("aut", _NOBODY),
        "name": "A test call",
        "list_id": ids.public("lst", _NOBODY),
    },
    "run": {
        "id": ids.public("run", _NOBODY),
        "subscriber_id": ids.public("sub", _NOBODY),
        "cause": "trigger",
        "event_id": None,
        "started_at": "2026-11-21T09:30:00Z",
    },
}

_CAMPAIGNS = {
    EventType.campaign_sent: None,
    EventType.campaign_failed: {"code": "all_failed", "message": "Every recipient failed."},
    EventType.campaign_paused: {"code": "too_many_bounces", "message": "Too many mails bounced."},
}
"""The ``status_reason`` of each."""

_MESSAGES: dict[EventType, JSONObject] = {
    EventType.message_accepted: {},
    EventType.message_delivered: {},
    EventType.message_deferred: {
        "deferral": {"reason": "Greylisted, try again later", "code": 451, "enhanced_status": "4.7.1"}
    },
    EventType.message_opened: {
        "open": {
            "by": "human",
            "reason": "no_sign_of_a_machine",
            "user_agent": "Mozilla/5.0",
            "network": "192.0.2.0/24",
        }
    },
    EventType.message_clicked: {
        "click": {
            "by": "human",
            "reason": "no_sign_of_a_machine",
            "user_agent": "Mozilla/5.0",
            "network": "192.0.2.0/24",
            "url": "https://example.com/news",
        }
    },
    EventType.message_bounced: {
        "bounce": {
            "kind": "hard",
            "enhanced_status": "5.1.1",
            "reason": "550 5.1.1 No such user",
            "source": "smtp",
        }
    },
    EventType.message_complained: {"complaint": {"source": "smtp"}},
    EventType.message_failed: {
        "failure": {"reason": "Message refused", "code": 554, "enhanced_status": "5.7.1"}
    },
    EventType.message_suppressed: {"suppression": {"reason": "the address is suppressed"}},
}
"""What stands beside the ``message`` of each."""
_STATUS = {
    EventType.message_accepted: "sent",
    EventType.message_opened: "delivered",
    EventType.message_clicked: "delivered",
}


def _message(kind: EventType) -> JSONObject:
    return {
        "id": delivery.public_id(_NOBODY, 1),
        "campaign_id": ids.public("cmp", _NOBODY),
        "subscriber_id": ids.public("sub", _NOBODY),
        "to": "reader@example.com",
        "from": "news@example.com",
        "tags": [],
        "sending_server": ids.public("srv", _NOBODY),
        "provider": "smtp",
        "status": _STATUS.get(kind, kind.value.partition(".")[2]),
    }


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
