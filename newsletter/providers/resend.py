"""Resend: ``/emails``, which takes fields and writes the message itself.

Resend knows an ``Idempotency-Key`` for 24 hours. Ours is the message id, so a call whose
answer was lost is repeated safely. Our id also travels as a tag, and comes back in each event.
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from newsletter.kit.db import JSONValue
from newsletter.providers import standardwebhooks
from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal, ServerDown, Temporary, Unknown
from newsletter.providers.config import Secret, ServerConfig
from newsletter.providers.events import (
    BadSignature,
    EventKind,
    Malformed,
    ProviderEvent,
    Report,
    our_message,
    status_in,
)
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken
from newsletter.providers.structured import take_apart

_KINDS = {
    "email.delivered": EventKind.delivered,
    "email.delivery_delayed": EventKind.deferred,
    "email.bounced": EventKind.bounced,
    "email.complained": EventKind.complained,
    "email.opened": EventKind.opened,
    "email.clicked": EventKind.clicked,
    "email.failed": EventKind.rejected,
    "email.suppressed": EventKind.rejected,
}


class ResendConfig(ServerConfig):
    """Resend. A key with sending access is enough."""

    api_key: Secret
    webhook_secret: Secret | None = None
    """``whsec_…`` of the webhook; with it, Resend's events are taken in."""

    example: ClassVar = {
        "api_key": "re_0123456789abcdef",
        "webhook_secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }


class Resend:
    """See `newsletter.providers.http.MailAPI`."""

    name = "resend"
    title = "Resend"
    has_idempotency = True

    def __init__(self, config: ResendConfig) -> None:
        self.base_url = "https://api.resend.com"
        self._headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}"}

    def message(self, envelope: Envelope) -> Call:
        mail = take_apart(envelope)
        body: dict[str, JSONValue] = {
            "from": str(mail.sender),
            "to": [str(mail.recipient)],
            "subject": mail.subject,
            "headers": mail.header_map(),
            "tags": [{"name": METADATA, "value": envelope.message_id}],
        }
        if mail.html is not None:
            body["html"] = mail.html
        if mail.text is not None:
            body["text"] = mail.text
        if mail.reply_to:
            body["reply_to"] = [str(box) for box in mail.reply_to]
        if mail.attachments:
            body["attachments"] = [
                {
                    "filename": each.name,
                    "content": b64encode(each.content).decode("ascii"),
                    "content_type": each.media_type,
                    **({"content_id": each.content_id} if each.content_id else {}),
                }
                for each in mail.attachments
            ]
        key = {"Idempotency-Key": envelope.message_id}
        return Call.of_json("/emails", self._headers | key, body)

    def receipt(self, answer: Answer) -> Receipt:
        if answer.is_success:
            return taken(answer, answer.text_of("id"), self)
        raise self._refusal(answer)

    def probe(self) -> Call:
        return Call("GET", "/domains", self._headers)

    def found(self, answer: Answer) -> str:
        if answer.text_of("name") == "restricted_api_key":
            return "Resend; the key may only send mail"
        if not answer.is_success:
            raise self._refusal(answer)
        domains = answer.json().get("data")
        listed = domains if isinstance(domains, list) else []
        names = [str(each.get("name")) for each in listed if isinstance(each, dict)]
        return "Resend, " + (f"domains {', '.join(names[:5])}" if names else "no domain yet")

    def _refusal(self, answer: Answer) -> Refusal:
        kind, text = answer.text_of("name"), answer.text_of("message")
        said = f"{self.title}: {kind}: {text}" if kind else text
        if kind == "concurrent_idempotent_requests":
            # An earlier try of this very message is still being worked on.
            return Temporary(said, code=answer.status)
        if kind == "invalid_idempotent_request":
            # An earlier try was taken, and its text has changed since, perhaps by a new name of
            # the reader. Whether it was sent is what we do not know.
            return Unknown(said, code=answer.status)
        if kind in ("daily_quota_exceeded", "monthly_quota_exceeded"):
            return ServerDown(said, code=answer.status)
        if answer.status == 422 and "`to` field" in text:
            return Permanent(said, code=answer.status, enhanced="5.1.3")
        return refusal(answer, f"{kind}: {text}" if kind else text, self)


class ResendFeed:
    """Resend's webhooks, signed by Svix; see `newsletter.providers.events.Feed`."""

    def __init__(self, config: ResendConfig) -> None:
        self._secret = config.webhook_secret

    async def verify(self, raw: bytes, headers: Mapping[str, str], at: datetime) -> None:
        if self._secret is None:
            raise BadSignature("no signing secret is set for this server")
        standardwebhooks.verify(raw, headers, self._secret.get_secret_value(), at, prefix="svix")

    def key(self, raw: bytes, headers: Mapping[str, str]) -> str:
        # Svix repeats a report under the same id.
        return headers["svix-id"][:200]

    def confirmation(self, raw: bytes) -> str | None:
        return None

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        body = Report.read(raw)
        kind = _KINDS.get(body["type"].text() or "")
        if kind is None:
            return []
        data, at = body["data"], body["created_at"].moment()
        if at is None:
            raise Malformed("an event without a time")
        bounce = data["bounce"]
        text = bounce["message"].text()
        visit = data["click"] if kind is EventKind.clicked else data["open"]
        return [
            ProviderEvent(
                kind=kind,
                event_id=self.key(raw, headers),
                at=at,
                message_id=our_message(_tag(data["tags"]), *_header(data["headers"])),
                recipient=next((each.text() for each in data["to"].items()), None),
                is_permanent=kind is EventKind.bounced and bounce["type"].text() == "Permanent",
                status=status_in(text, *(each.text() for each in bounce["diagnosticCode"].items())),
                reason=text or data["failed"]["reason"].text() or data["suppressed"]["message"].text(),
                url=visit["link"].text(2_000),
                user_agent=visit["userAgent"].text(),
                ip=visit["ipAddress"].text(),
            )
        ]


def _tag(tags: Report) -> str | None:
    """Our id, from an object of tags or from a list of names and values: both are in use."""
    named = (each["value"].text() for each in tags.items() if each["name"].text() == METADATA)
    return tags[METADATA].text() or next(named, None)


def _header(headers: Report) -> list[str | None]:
    return [
        each["value"].text()
        for each in headers.items()
        if (each["name"].text() or "").lower() == "message-id"
    ]
