"""Example answers of analytics, for `newsletter.api.examples`."""

from typing import Final

from newsletter.api.example_parts import AT, JSON, SUBSCRIBER

_CAMPAIGN: Final = "cmp_01k9x3v7m8e5tbn2c4r6p0qzaw"
_COUNTS: Final[JSON] = {
    "sent": 12_000,
    "failed": 30,
    "suppressed": 10,
    "skipped": 4,
    "unknown": 0,
    "delivered": 11_700,
    "bounced": 120,
    "complained": 3,
    "unsubscribed": 25,
    "opens": 6_210,
    "unique_opens": 4_356,
    "machine_opens": 3_980,
    "clicks": 1_020,
    "unique_clicks": 832,
    "machine_clicks": 410,
    "open_rate": 0.3667,
    "click_rate": 0.07,
    "click_to_open_rate": 0.191,
    "bounce_rate": 0.01,
    "complaint_rate": 0.0003,
    "unsubscribe_rate": 0.0021,
}

_HEALTH: Final[JSON] = {
    "day": "2026-11-21",
    "score": 91,
    "grade": "A",
    "sent": 12_000,
    "bounce_rate": 0.01,
    "complaint_rate": 0.0013,
    "unsubscribe_rate": 0.0021,
    "open_rate": 0.3667,
    "click_rate": 0.07,
    "calculated_at": AT,
}
_COMPLAINTS: Final[JSON] = {
    "judged": "complaints",
    "level": "warning",
    "value": 0.0013,
    "weight": 30,
    "points": 25.5,
    "advice": "Mail only who asked for it, and make leaving as easy as the spam button.",
}

ANSWERS: Final[dict[str, JSON]] = {
    "get_health_score": {"data": _HEALTH | {"insights": [_COMPLAINTS]}},
    "refresh_health_score": {"data": _HEALTH | {"insights": [_COMPLAINTS]}},
    "get_health_history": {"data": {"period_days": 30, "history": [_HEALTH]}},
    "get_summary": {
        "data": {
            "since": "2026-11-01",
            "until": "2026-11-30",
            "time_zone": "Europe/Berlin",
            "group_by": "campaign",
            "total": _COUNTS,
            "rows": [_COUNTS | {"key": _CAMPAIGN, "name": "Weekly roundup"}],
        }
    },
    "list_events": {
        "data": [
            {
                "id": "evt_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "type": "message.clicked",
                "created_at": AT,
                "data": {
                    "message": {
                        "id": "msg_01k9x3v7m8e5tbn2c4r6p0qzaw000001",
                        "campaign_id": _CAMPAIGN,
                        "subscriber_id": SUBSCRIBER,
                        "to": "alice@example.com",
                        "from": "news@example.com",
                        "tags": [],
                        "sending_server": None,
                        "provider": None,
                        "status": "sent",
                    },
                    "click": {
                        "by": "human",
                        "reason": "no_sign_of_a_machine",
                        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0",
                        "network": "192.0.2.0/24",
                        "url": "https://shop.example.com/beans",
                    },
                },
            }
        ],
        "meta": {"per_page": 20, "next_cursor": None},
    },
    "get_delivery_stats": {
        "data": {
            "time_zone": "Europe/Berlin",
            "delivery_stats": [
                {
                    "day": "2026-11-21",
                    "sent": 12_000,
                    "delivered": 11_700,
                    "bounced": 120,
                    "complained": 3,
                    "unsubscribed": 25,
                    "opens": 4_356,
                    "clicks": 832,
                }
            ],
        }
    },
    "get_campaign_report": {
        "data": _COUNTS
        | {
            "campaign_id": _CAMPAIGN,
            "name": "Weekly roundup",
            "subject": "Your weekly update",
            "status": "sent",
            "recipient_count": 12_044,
            "pending": 0,
            "started_at": AT,
            "finished_at": AT,
            "time_zone": "Europe/Berlin",
            "days": [_COUNTS | {"day": "2026-11-21"}],
        }
    },
    "get_stats": {
        "data": {
            "contacts": 1_500,
            "campaigns": {"total": 45, "sending": 1, "completed": 40},
            "emails_this_month": 12_500,
            "domains": 2,
        }
    },
}
