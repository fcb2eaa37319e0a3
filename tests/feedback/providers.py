"""Reports as each provider would send them about one mail, signed as each of them signs."""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook

from newsletter.kit import clock
from newsletter.providers.registry import CONFIGS, ServerType
from tests.providers.sns import SNS

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
_SENDGRID_KEY = ec.generate_private_key(ec.SECP256R1())
_SENDGRID_PUBLIC = _SENDGRID_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
HARD = "550 5.1.1 no such user"
SOFT = "552 5.2.2 the mailbox is full"


@dataclass(frozen=True)
class Call:
    raw: bytes
    headers: dict[str, str]


def config(kind: ServerType) -> dict[str, Any]:
    extra = (
        {"webhook_public_key": b64encode(_SENDGRID_PUBLIC).decode()} if kind is ServerType.sendgrid else {}
    )
    return {**CONFIGS[kind].example, **extra}


def report(kind: ServerType, what: str, message_id: str, *, number: int = 1, text: str = HARD) -> Call:
    """``what`` is one of ``delivered bounced complained unsubscribed``; the same arguments in the
    same second give the same report."""
    return _MAKERS[kind](what, message_id, number, text, clock.now().replace(microsecond=0))


def _smtp(what: str, message_id: str, number: int, text: str, at: datetime) -> Call:
    event = {"id": str(number), "type": what, "at": at.isoformat(), "message_id": message_id, "reason": text}
    return _standard({"events": [event]}, f"call-{number}", at, "webhook")


def _ses(what: str, message_id: str, number: int, text: str, at: datetime) -> Call:
    kinds = {"delivered": "Delivery", "bounced": "Bounce", "complained": "Complaint"}
    mail = {"destination": ["ada@example.com"], "tags": {"message_id": [message_id]}}
    body = {
        "eventType": kinds.get(what, "Subscription"),
        "mail": mail,
        "delivery": {},
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [{"emailAddress": "ada@example.com", "diagnosticCode": f"smtp; {text}"}],
        },
        "complaint": {"complaintFeedbackType": "abuse"},
        "subscription": {"newTopicPreferences": {"unsubscribeAll": True}},
    }
    topic = CONFIGS[ServerType.ses].example["topic_arns"]
    assert isinstance(topic, list)
    return Call(SNS(at=at).signed(body, MessageId=f"sns-{number}", TopicArn=topic[0]), {})


def _mailgun(what: str, message_id: str, number: int, text: str, at: datetime) -> Call:
    stamp, token = str(int(at.timestamp())), f"token-{number}"
    key = str(CONFIGS[ServerType.mailgun].example["webhook_signing_key"]).encode()
    signature = hmac.new(key, (stamp + token).encode(), hashlib.sha256).hexdigest()
    event = {
        "event": {"bounced": "failed"}.get(what, what),
        "severity": "permanent",
        "reason": "bounce",
        "id": f"event-{number}",
        "timestamp": at.timestamp(),
        "recipient": "ada@example.com",
        "delivery-status": {"message": text},
        "user-variables": {"message_id": message_id},
    }
    signed = {"timestamp": stamp, "token": token, "signature": signature}
    return _json({"signature": signed, "event-data": event}, {})


def _sendgrid(what: str, message_id: str, number: int, text: str, at: datetime) -> Call:
    kinds = {"bounced": "bounce", "complained": "spamreport", "unsubscribed": "unsubscribe"}
    event = {
        "event": kinds.get(what, what),
        "sg_event_id": f"event-{number}",
        "timestamp": int(at.timestamp()),
        "email": "ada@example.com",
        "reason": text,
        "message_id": message_id,
    }
    raw, stamp = json.dumps([event]).encode(), str(int(at.timestamp()))
    signature = _SENDGRID_KEY.sign(stamp.encode() + raw, ec.ECDSA(SHA256()))
    prefix = "X-Twilio-Email-Event-Webhook-"
    return Call(raw, {prefix + "Signature": b64encode(signature).decode(), prefix + "Timestamp": stamp})


def _resend(what: str, message_id: str, number: int, text: str, at: datetime) -> Call:
    body = {
        "type": f"email.{'bounced' if what == 'unsubscribed' else what}",
        "created_at": at.isoformat(),
        "data": {
            "to": ["ada@example.com"],
            "tags": {"message_id": message_id},
            "bounce": {"type": "Permanent", "message": text},
        },
    }
    return _standard(body, f"svix-{number}", at, "svix")


def _postmark(what: str, message_id: str, number: int, text: str, at: datetime) -> Call:
    kinds = {"delivered": "Delivery", "bounced": "Bounce", "complained": "SpamComplaint"}
    body = {
        "RecordType": kinds.get(what, "SubscriptionChange"),
        "ID": number,
        "Type": "HardBounce",
        "Email": "ada@example.com",
        "Details": text,
        "Metadata": {"message_id": message_id},
        "SuppressSending": True,
        "SuppressionReason": "ManualSuppression",
        **dict.fromkeys(("DeliveredAt", "BouncedAt", "ChangedAt"), at.isoformat()),
    }
    login = b64encode(b"postmark:a-long-random-password").decode()
    return _json(body, {"Authorization": f"Basic {login}"})


def _standard(body: object, name: str, at: datetime, prefix: str) -> Call:
    raw = json.dumps(body)
    return Call(
        raw.encode(),
        {
            f"{prefix}-id": name,
            f"{prefix}-timestamp": str(int(at.timestamp())),
            f"{prefix}-signature": Webhook(SECRET).sign(name, at, raw),
        },
    )


def _json(body: object, headers: dict[str, str]) -> Call:
    return Call(json.dumps(body).encode(), headers)


_MAKERS: dict[ServerType, Callable[[str, str, int, str, datetime], Call]] = {
    ServerType.smtp: _smtp,
    ServerType.ses: _ses,
    ServerType.mailgun: _mailgun,
    ServerType.sendgrid: _sendgrid,
    ServerType.resend: _resend,
    ServerType.postmark: _postmark,
}
