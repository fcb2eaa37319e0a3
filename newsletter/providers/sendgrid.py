"""Twilio SendGrid: ``/v3/mail/send``, which takes fields and writes the message itself.

SendGrid has no idempotency key, so a call whose answer was lost is unknown. Our id travels as
a custom argument, and comes back in each event.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import field_validator

from newsletter.kit.db import JSONValue
from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal, ServerDown
from newsletter.providers.config import Secret, ServerConfig
from newsletter.providers.events import (
    BadSignature,
    EventKind,
    Malformed,
    ProviderEvent,
    Report,
    check_age,
    fingerprint,
    our_message,
    status_in,
)
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken
from newsletter.providers.structured import Mailbox, take_apart

_RETRIES = timedelta(hours=25)
"""SendGrid repeats a report for 24 hours."""
_KINDS = {
    "delivered": EventKind.delivered,
    "deferred": EventKind.deferred,
    "bounce": EventKind.bounced,
    "dropped": EventKind.rejected,
    "spamreport": EventKind.complained,
    "open": EventKind.opened,
    "click": EventKind.clicked,
    "unsubscribe": EventKind.unsubscribed,
    "group_unsubscribe": EventKind.unsubscribed,
}
_HOSTS = {"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"}


class SendGridConfig(ServerConfig):
    """Twilio SendGrid. The key needs the permission "Mail Send" alone."""

    api_key: Secret
    region: Literal["global", "eu"] = "global"
    tracking: bool = False
    """Whether SendGrid may rewrite links and add its own pixel and unsubscribe link, as the
    account's settings have it."""
    webhook_public_key: str | None = None
    """Of the signed event webhook, in base64; with it, SendGrid's events are taken in."""

    example: ClassVar = {
        "api_key": "SG.0123456789abcdef.0123456789abcdef0123456789abcdef",
        "region": "global",
        "webhook_public_key": (
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiY"
            "wpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q=="
        ),
    }

    @field_validator("webhook_public_key")
    @classmethod
    def _is_a_key(cls, text: str | None) -> str | None:
        if text is not None:
            _key(text)
        return text


class SendGrid:
    """See `newsletter.providers.http.MailAPI`."""

    name = "sendgrid"
    title = "SendGrid"
    has_idempotency = False

    def __init__(self, config: SendGridConfig) -> None:
        self.base_url = _HOSTS[config.region]
        self._config = config
        self._headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}"}

    def message(self, envelope: Envelope) -> Call:
        mail = take_apart(envelope)
        # RFC 2046 §5.1.4: the plainest form first; SendGrid insists on it.
        texts = [("text/plain", mail.text), ("text/html", mail.html)]
        body: dict[str, JSONValue] = {
            "personalizations": [{"to": [_mailbox(mail.recipient)]}],
            "from": _mailbox(mail.sender),
            "subject": mail.subject,
            "content": [{"type": kind, "value": value} for kind, value in texts if value is not None],
            "headers": mail.header_map(),
            "custom_args": {METADATA: envelope.message_id},
        }
        if mail.reply_to:
            body["reply_to_list"] = [_mailbox(box) for box in mail.reply_to]
        if mail.attachments:
            body["attachments"] = [
                {
                    "content": b64encode(each.content).decode("ascii"),
                    "type": each.media_type,
                    "filename": each.name,
                    "disposition": "inline" if each.content_id else "attachment",
                    **({"content_id": each.content_id} if each.content_id else {}),
                }
                for each in mail.attachments
            ]
        if not self._config.tracking:
            body["tracking_settings"] = {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
                "subscription_tracking": {"enable": False},
            }
        return Call.of_json("/v3/mail/send", self._headers, body)

    def receipt(self, answer: Answer) -> Receipt:
        if answer.is_success:
            return taken(answer, answer.headers.get("x-message-id", ""), self)
        raise self._refusal(answer)

    def probe(self) -> Call:
        return Call("GET", "/v3/scopes", self._headers)

    def found(self, answer: Answer) -> str:
        if not answer.is_success:
            raise self._refusal(answer)
        scopes = answer.json().get("scopes")
        if not isinstance(scopes, list) or "mail.send" not in scopes:
            raise ServerDown("SendGrid: the key lacks the permission to send mail (mail.send)")
        return "SendGrid; the key may send mail"

    def _refusal(self, answer: Answer) -> Refusal:
        errors = answer.json().get("errors")
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        text, place = str(first.get("message") or ""), str(first.get("field") or "")
        if answer.status == 400 and place.startswith("personalizations") and place.endswith("email"):
            return Permanent(f"{self.title}: {text}", code=400, enhanced="5.1.3")
        return refusal(answer, text, self)


def _mailbox(box: Mailbox) -> dict[str, JSONValue]:
    return {"email": box.address, "name": box.name} if box.name else {"email": box.address}


class SendGridFeed:
    """SendGrid's signed event webhook; see `newsletter.providers.events.Feed`."""

    def __init__(self, config: SendGridConfig) -> None:
        self._key = config.webhook_public_key

    async def verify(self, raw: bytes, headers: Mapping[str, str], at: datetime) -> None:
        if self._key is None:
            raise BadSignature("no public key is set for this server")
        stamp = headers.get("x-twilio-email-event-webhook-timestamp", "")
        try:
            signature = b64decode(headers.get("x-twilio-email-event-webhook-signature", ""), validate=True)
            _key(self._key).verify(signature, stamp.encode() + raw, ECDSA(SHA256()))
        except (InvalidSignature, Base64Error, ValueError) as error:
            raise BadSignature("the signature does not match") from error
        check_age(stamp, at, _RETRIES)

    def key(self, raw: bytes, headers: Mapping[str, str]) -> str:
        return fingerprint(raw)

    def confirmation(self, raw: bytes) -> str | None:
        return None

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        return [made for event in Report.read(raw).items() if (made := _event(event)) is not None]


def _event(event: Report) -> ProviderEvent | None:
    kind = _KINDS.get(event["event"].text() or "")
    if kind is None:
        return None
    identifier, at = event["sg_event_id"].text(), event["timestamp"].moment()
    if identifier is None or at is None:
        raise Malformed("an event without id or time")
    reason = event["reason"].text() or event["response"].text()
    # A bounce of the type "blocked" says nothing of the address.
    is_permanent = kind is EventKind.bounced and event["type"].text() != "blocked"
    was_permanent = kind is EventKind.rejected and reason in ("Bounced Address", "Invalid")
    return ProviderEvent(
        kind=kind,
        event_id=identifier,
        at=at,
        message_id=our_message(event[METADATA].text(), event["smtp-id"].text()),
        recipient=event["email"].text(),
        is_permanent=is_permanent or was_permanent,
        status=status_in(event["status"].text(), reason),
        reason=reason,
        url=event["url"].text(2_000),
        user_agent=event["useragent"].text(),
        ip=event["ip"].text(),
        machine="opened by Apple Mail" if event["sg_machine_open"].is_true else None,
    )


def _key(text: str) -> EllipticCurvePublicKey:
    """Raises `ValueError`."""
    try:
        key = load_der_public_key(b64decode(text, validate=True))
    except (Base64Error, UnsupportedAlgorithm) as error:
        raise ValueError("must be the verification key that SendGrid shows") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("must be the verification key that SendGrid shows")
    return key
