"""Twilio SendGrid: ``/v3/mail/send``, which takes fields and writes the message itself.

SendGrid has no idempotency key, so a call whose answer was lost is unknown. Our id travels as
a custom argument, and comes back in each event.
"""

from base64 import b64encode
from typing import ClassVar, Literal

from newsletter.kit.db import JSONValue
from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal, ServerDown
from newsletter.providers.config import Secret, ServerConfig
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken
from newsletter.providers.structured import Mailbox, take_apart

_HOSTS = {"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"}


class SendGridConfig(ServerConfig):
    """Twilio SendGrid. The key needs the permission "Mail Send" alone."""

    api_key: Secret
    region: Literal["global", "eu"] = "global"
    tracking: bool = False
    """Whether SendGrid may rewrite links and add its own pixel and unsubscribe link, as the
    account's settings have it."""
    webhook_public_key: str | None = None
    """Of the signed event webhook; with it, SendGrid's events are taken in."""

    example: ClassVar = {
        "api_key": "SG.0123456789abcdef.0123456789abcdef0123456789abcdef",
        "region": "global",
    }


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
        headers = dict(mail.headers)
        if mail.message_id is not None:
            headers["Message-ID"] = mail.message_id
        body: dict[str, JSONValue] = {
            "personalizations": [{"to": [_mailbox(mail.recipient)]}],
            "from": _mailbox(mail.sender),
            "subject": mail.subject,
            "content": [{"type": kind, "value": value} for kind, value in texts if value is not None],
            "headers": headers,
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
