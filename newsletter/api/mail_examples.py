"""Example calls and answers of single mails, for `newsletter.api.examples`."""

from typing import Final

from newsletter.api.example_parts import AT, JSON, LATER, TEMPLATE, call

_MESSAGE: Final = "msg_01k9x3v7m8e5tbn2c4r6p0qzaw000001"
_RECIPIENT: Final[JSON] = {
    "id": _MESSAGE,
    "email": "alice@example.com",
    "role": "to",
    "status": "queued",
}
_CREDENTIAL: Final[JSON] = {
    "id": "key_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "name": "shop server",
    "username": "prj_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "prefix": "nl_live_4Tq8bX",
    "from_domains": ["example.com"],
    "created_at": AT,
    "last_used_at": None,
    "expires_at": None,
}
_BAD_ADDRESS: Final = "is not a valid e-mail address: An email address must have an @-sign."


REQUESTS: Final[dict[str, JSON]] = {
    "send_mail": {
        "html": call(
            "A mail",
            **{"from": "Acme <hello@acme.example.com>"},
            to="alice@example.com",
            subject="Welcome to Acme",
            html="<p>Thanks for joining.</p>",
            tags=["onboarding"],
            routing={"purpose": "transactional"},
        ),
        "template": call(
            "From a template, with a file, at a time",
            to=["Alice Doe <alice@example.com>"],
            cc="bob@example.com",
            subject="Your invoice {{ number }}",
            template_id=TEMPLATE,
            html="<p>Thank you, {{ name }}. Your invoice is attached.</p>",
            variables={"number": "2026-0042", "name": "Alice"},
            attachments=[{"filename": "invoice.pdf", "content": "JVBERi0xLjcK"}],
            tags={"type": "invoice"},
            scheduled_at=LATER,
        ),
    },
    "send_mails": {
        "two": call(
            "Two mails",
            messages=[
                {"to": "alice@example.com", "subject": "Hi", "html": "<p>Hello Alice</p>"},
                {"to": "bob@example.com", "subject": "Hi", "text": "Hello Bob"},
            ],
        )
    },
    "score_content": {
        "mail": call(
            "A mail with two things to mend",
            subject="Three things that changed!!",
            html="<p>Read <a href='https://news.example.com/3'>www.example.org</a></p>",
        )
    },
    "create_smtp_credential": {
        "one": call("For one program, from one domain", name="shop server", from_domains=["example.com"])
    },
    "rotate_smtp_credential": {"overlap": call("Both are taken for two days", overlap_hours=48)},
}

ANSWERS: Final[dict[str, JSON]] = {
    "send_mail": {"data": {"id": _MESSAGE, "status": "queued", "messages": [_RECIPIENT]}},
    "score_content": {
        "data": {
            "score": 95,
            "findings": [
                {
                    "check": "subject_marks",
                    "points": 5,
                    "reason": "The subject has several exclamation or question marks.",
                    "advice": "One mark is enough, none is better.",
                    "examples": [],
                }
            ],
        }
    },
    "create_smtp_credential": {"data": _CREDENTIAL | {"password": "nl_live_4Tq8bX…"}},
    "rotate_smtp_credential": {"data": _CREDENTIAL | {"password": "nl_live_4Tq8bX…"}},
    "list_smtp_credentials": {
        "data": [_CREDENTIAL],
        "meta": {"current_page": 1, "per_page": 20, "last_page": 1, "total": 1},
    },
    "send_mails": {
        "data": {
            "total": 2,
            "accepted": 1,
            "suppressed": 0,
            "failed": 1,
            "results": [
                {
                    "index": 0,
                    "id": _MESSAGE,
                    "status": "queued",
                    "messages": [_RECIPIENT],
                    "error": None,
                },
                {
                    "index": 1,
                    "id": None,
                    "status": None,
                    "messages": None,
                    "error": {
                        "code": "validation_failed",
                        "message": "One or more fields are invalid.",
                        "errors": {"to": [_BAD_ADDRESS]},
                    },
                },
            ],
        }
    },
}
