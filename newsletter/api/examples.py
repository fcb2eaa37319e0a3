"""Example calls and answers of the documentation. Tests send the calls and check the answers."""

from typing import Final

from newsletter.api import analytics_examples as analytics
from newsletter.api import automation_examples as automations
from newsletter.api import mail_examples as mails
from newsletter.api import segment_examples as segments
from newsletter.api.example_parts import AT, JSON, LATER, LIST, SUBSCRIBER, TEMPLATE, call

REQUEST_ID: Final = "req_01k9x3v7m8e5tbn2c4r6p0qzaw"
_SERVER: Final = "srv_01k9x3v7m8e5tbn2c4r6p0qzaw"


REQUESTS: Final[dict[str, JSON]] = {
    "create_list": {"list": call("A list", name="Newsletter", description="Everyone who signed up.")},
    "create_subscriber": {
        "person": call(
            "Somebody who signed up",
            list_id=LIST,
            email="alice@example.com",
            first_name="Alice",
            tags=["website"],
            custom_fields={"city": "Paris"},
            consent={"source": "signup form", "ip": "192.0.2.10", "text": "Send me the newsletter."},
        )
    },
    "batch_subscribers": {
        "rows": call(
            "An import",
            list_id=LIST,
            subscribers=[
                {"email": "alice@example.com", "first_name": "Alice", "tags": ["imported"]},
                {"email": "bob@example.com", "custom_fields": {"city": "Oslo"}},
            ],
        )
    },
    "create_suppression": {
        "address": call("An address that must not be mailed", email="alice@example.com", source="support"),
        "bounce": call("A bounce that another system saw", email="bob@example.com", reason="hard_bounce"),
    },
    "batch_suppressions": {
        "rows": call(
            "An import",
            suppressions=[
                {"email": "alice@example.com", "reason": "complaint"},
                {"email": "bob@example.com", "level": "domain", "domain": "shop.example.com"},
            ],
        )
    },
    "create_unsubscribe": {
        "all": call("From all lists", email="alice@example.com", source="preference page"),
        "one": call("From one list", email="alice@example.com", list_id=LIST),
    },
    "create_campaign": {
        "topic": call(
            "A draft from a topic",
            list_id=LIST,
            ai={"prompt": "Announce our new pricing tiers and free 14-day trial."},
        ),
        "topic_sent": call(
            "From a topic, sent at once",
            list_id=LIST,
            ai={"prompt": "Announce our new pricing tiers and free 14-day trial."},
            send=True,
        ),
        "html": call(
            "From your own HTML, at a time",
            list_id=LIST,
            name="Weekly roundup",
            subject="Your weekly update",
            preheader="Three things that changed.",
            html='<p>Hello {{ first_name | default: "there" }}, here are this week\'s updates.</p>',
            scheduled_at=LATER,
            track_clicks=True,
            utm={"campaign": "weekly roundup"},
        ),
        "local_hour": call(
            "At nine in the morning of each reader",
            list_id=LIST,
            subject="Good morning",
            html="<p>Here are today's updates.</p>",
            scheduled_timezone="Europe/Berlin",
            scheduled_at="2030-01-07T00:00:00",
            send_at_local_hour=9,
        ),
    },
    "update_campaign": {
        "words": call(
            "Other words", subject="Your update of the week", preheader="Four things that changed."
        ),
        "draft": call("Not at a time any more", scheduled_at=None),
    },
    "send_campaign": {"now": call("Now"), "later": call("At a time", scheduled_at=LATER)},
    **automations.REQUESTS,
    **segments.REQUESTS,
    **mails.REQUESTS,
    "test_campaign": {"me": call("To yourself", emails=["me@example.com"])},
    "create_template": {
        "plain": call(
            "A plain frame",
            name="Plain",
            mjml="<mjml><mj-body><mj-section><mj-column>"
            "<mj-text>{{ content }}</mj-text>"
            "</mj-column></mj-section></mj-body></mjml>",
        )
    },
    "set_brand_voice": {
        "card": call(
            "A voice",
            about="We roast coffee in small batches.",
            audience="People who make coffee at home.",
            tone="Warm, brief, a little dry.",
            do=["Say what is new in the first sentence."],
            dont=["No exclamation marks."],
            banned_words=["revolutionary"],
            sign_off="See you at the bar",
        )
    },
    "create_sending_domain": {"domain": call("Signed here", domain="news.example.com", mode="rsa")},
    "update_sending_domain": {"host": call("Its tracking host", tracking_host="click.news.example.com")},
    "create_sending_server": {
        "smtp": call(
            "A mail server",
            name="Relay",
            type="smtp",
            config={
                "host": "smtp.example.com",
                "tls": "required",
                "username": "news@example.com",
                "password": "a-password-of-yours",
            },
            quota_per_day=50_000,
            rate_per_second=20,
            warm_up={"start": 200, "factor": 1.5, "until": 50_000},
        )
    },
    "create_routing_rule": {
        "transactional": call(
            "Transactional mail through a server of its own",
            server_id=_SERVER,
            priority=1,
            purpose="transactional",
        )
    },
    "explain_routing": {
        "mail": call(
            "Where a newsletter would go",
            **{"from": "news@example.com", "to": "alice@example.com", "purpose": "marketing"},
        )
    },
    "create_webhook": {
        "endpoint": call(
            "Told of campaigns and unsubscribes",
            url="https://example.com/hooks/newsletter",
            events=["campaign.sent", "campaign.failed", "subscriber.unsubscribed"],
        )
    },
    "rotate_webhook_secret": {"overlap": call("Both sign for two days", overlap_hours=48)},
    "replay_webhook_deliveries": {"dead": call("What could not be delivered", status="exhausted")},
    "update_project": {
        "sender": call(
            "Who the mail is from",
            from_email="news@example.com",
            from_name="Acme News",
            postal_address="Acme Ltd, 1 Main Street, Springfield",
            time_zone="Europe/Berlin",
            utm={"source": "acme", "medium": "email", "campaign": "{{campaign_name}}"},
        )
    },
}
"""By operation id; what OpenAPI calls ``examples`` of a media type."""

_SUBSCRIBER_OUT: Final[JSON] = {
    "id": SUBSCRIBER,
    "list_id": LIST,
    "email": "alice@example.com",
    "first_name": "Alice",
    "last_name": None,
    "tags": ["website"],
    "custom_fields": {"city": "Paris"},
    "locale": None,
    "timezone": None,
    "status": "active",
    "subscribed_at": AT,
    "unsubscribed_at": None,
    "created_at": AT,
    "updated_at": AT,
}
_CAMPAIGN_OUT: Final[JSON] = {
    "id": "cmp_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "name": "New pricing, and two weeks on us",
    "subject": "New pricing, and two weeks on us",
    "preheader": "Pick a tier today and try it free for 14 days.",
    "status": "draft",
    "status_reason": None,
    "version": 1,
    "list_id": LIST,
    "segment_id": None,
    "segment": None,
    "template_id": TEMPLATE,
    "creation_method": "ai",
    "from_email": None,
    "from_name": None,
    "reply_to": None,
    "recipient_count": 0,
    "emails_sent": 0,
    "emails_failed": 0,
    "emails_suppressed": 0,
    "emails_skipped": 0,
    "emails_unknown": 0,
    "opens": 0,
    "clicks": 0,
    "scheduled_at": None,
    "scheduled_timezone": None,
    "send_at_local_hour": None,
    "track_opens": None,
    "track_clicks": True,
    "utm": {"campaign": "weekly roundup"},
    "started_at": None,
    "sent_at": None,
    "finished_at": None,
    "created_at": AT,
    "updated_at": AT,
    "emails_pending": 0,
    "emails_per_second": None,
    "eta": None,
    "content": "<p>Hello {{ first_name | default: 'there' }}, we have new pricing tiers.</p>",
    "prompt": "Announce our new pricing tiers and free 14-day trial.",
    "generation": {"writer": "model", "model": "gpt-5-mini", "voice_version": 2},
}

_SENDING: Final[JSON] = _CAMPAIGN_OUT | {
    "status": "sending",
    "version": 2,
    "recipient_count": 12_000,
    "emails_sent": 8_950,
    "emails_failed": 40,
    "emails_suppressed": 10,
    "emails_pending": 3_000,
    "emails_per_second": 150.0,
    "started_at": AT,
    "eta": "2026-11-21T09:31:20Z",
}
_PAUSED: Final[JSON] = _SENDING | {
    "status": "paused",
    "status_reason": {"code": "paused", "message": "Paused by a call of the API."},
    "version": 3,
    "emails_per_second": None,
    "eta": None,
}

ANSWERS: Final[dict[str, JSON]] = {
    **automations.ANSWERS,
    **segments.ANSWERS,
    **mails.ANSWERS,
    **analytics.ANSWERS,
    "list_audit_entries": {
        "data": [
            {
                "id": "aud_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "seq": 1842,
                "action": "call",
                "account_id": "acc_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "project_id": "prj_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "key_id": "key_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "method": "GET",
                "route": "/api/v1/campaigns/{campaign_id}",
                "status": 200,
                "subject": "cmp_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "details": {},
                "ip": "192.0.2.10",
                "node": "api-1",
                "request_id": "req_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "duration_ms": 4,
                "created_at": AT,
                "prev_hash": "4f2c" * 16,
                "hash": "9b07" * 16,
            }
        ],
        "meta": {"per_page": 20, "next_cursor": None},
    },
    "get_audit_head": {
        "data": {
            "project_id": "prj_01k9x3v7m8e5tbn2c4r6p0qzaw",
            "seq": 1842,
            "hash": "9b07" * 16,
            "pruned_seq": 0,
            "pruned_hash": "0" * 64,
            "signed_at": AT,
            "signed": '{"hash":"9b07…","project_id":"prj_…","pruned_hash":"0000…","pruned_seq":0,…}',
            "signature": "5ad1" * 32,
            "public_key": "c83e" * 16,
        }
    },
    "verify_sending_domain": {
        "data": {
            "id": "dom_01k9x3v7m8e5tbn2c4r6p0qzaw",
            "domain": "news.example.com",
            "mode": "rsa",
            "status": "verified",
            "selector": "nlq3vt7k2a",
            "records": [
                {
                    "purpose": "dkim",
                    "type": "TXT",
                    "name": "nlq3vt7k2a._domainkey.news.example.com",
                    "value": "v=DKIM1; k=rsa; p=MIIBIjANBgkq…IDAQAB",
                    "is_required": True,
                    "status": "found",
                    "found": ["v=DKIM1; k=rsa; p=MIIBIjANBgkq…IDAQAB"],
                    "reason": None,
                },
                {
                    "purpose": "dmarc",
                    "type": "TXT",
                    "name": "_dmarc.news.example.com",
                    "value": "v=DMARC1; p=none",
                    "is_required": False,
                    "status": "missing",
                    "found": [],
                    "reason": "There is no DMARC record for this domain.",
                },
            ],
            "checked_at": AT,
            "absent_since": None,
            "tracking_host": None,
            "tracking_verified_at": None,
            "created_at": AT,
        }
    },
    "create_list": {
        "data": {
            "id": LIST,
            "name": "Newsletter",
            "description": "Everyone who signed up.",
            "opt_in": "single",
            "total_subscribers": 0,
            "active_subscribers": 0,
            "segment_count": 0,
            "created_at": AT,
            "updated_at": AT,
        }
    },
    "create_subscriber": {"data": _SUBSCRIBER_OUT},
    "get_subscriber": {"data": _SUBSCRIBER_OUT},
    "batch_subscribers": {
        "data": {
            "list_id": LIST,
            "created": 1,
            "updated": 1,
            "reactivated": 0,
            "invalid": 0,
            "skipped_over_cap": 0,
            "invalid_examples": [],
        },
        "meta": {"received": 2, "processed": 2},
    },
    "take_in_mail": {"data": {"status": "accepted"}},
    "export_subscriber": {
        "data": {
            "email": "alice@example.com",
            "exported_at": AT,
            "is_complete": True,
            "subscribers": [_SUBSCRIBER_OUT],
            "consents": [],
            "suppressions": [],
            "soft_bounces": 0,
            "messages": [],
            "runs": [],
            "events": [],
        }
    },
    "create_campaign": {"data": _CAMPAIGN_OUT},
    "get_campaign": {"data": _SENDING},
    "pause_campaign": {"data": _PAUSED},
    "resume_campaign": {"data": _SENDING | {"version": 4}},
    "resend_unknown": {"data": _SENDING | {"version": 5}},
    "list_campaign_recipients": {
        "data": [
            {
                "id": "msg_01k9x3v7m8e5tbn2c4r6p0qzaw000001",
                "address": "alice@example.com",
                "subscriber_id": SUBSCRIBER,
                "outcome": "failed",
                "attempts": 1,
                "reason": "550 5.1.1 no such user",
                "server_id": "srv_01k9x3v7m8e5tbn2c4r6p0qzaw",
                "next_attempt_at": None,
                "decided_at": AT,
                "feedback": None,
                **dict.fromkeys(("opens", "clicks", "machine_opens", "machine_clicks"), 0),
                **dict.fromkeys(("first_opened_at", "last_opened_at", "first_clicked_at", "last_clicked_at")),
            }
        ],
        "meta": {"per_page": 20, "next_cursor": None},
    },
    "test_campaign": {"data": {"status": "queued", "emails": ["me@example.com"]}},
}
"""By operation id: one answer with its success status."""
