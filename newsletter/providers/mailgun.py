"""Mailgun: ``/v3/{domain}/messages.mime`` with our own message.

Mailgun has no idempotency key, so a call whose answer was lost is unknown. It keeps our
Message-ID; our id travels as a variable too, and comes back in each event.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal
from newsletter.providers.config import Secret, ServerConfig
from newsletter.providers.events import (
    BadSignature,
    EventKind,
    Malformed,
    ProviderEvent,
    Report,
    check_age,
    our_message,
    same,
    status_in,
)
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken
from newsletter.providers.structured import ascii_recipient

_RETRIES = timedelta(hours=9)
"""Mailgun repeats a report for 8 hours."""
_KINDS = {
    "delivered": EventKind.delivered,
    "complained": EventKind.complained,
    "opened": EventKind.opened,
    "clicked": EventKind.clicked,
    "unsubscribed": EventKind.unsubscribed,
    "rejected": EventKind.rejected,
}
_HOSTS = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}


class MailgunConfig(ServerConfig):
    """Mailgun. A sending key of the domain is enough."""

    domain: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])$")]
    """The sending domain as Mailgun knows it."""
    api_key: Secret
    region: Literal["us", "eu"] = "us"
    tracking: bool = False
    """Whether Mailgun may rewrite links and add its own pixel, as the domain's settings have it."""
    webhook_signing_key: Secret | None = None
    """Of the account; with it, Mailgun's events are taken in."""

    example: ClassVar = {
        "domain": "mg.example.com",
        "api_key": "0123456789abcdef0123456789abcdef-01234567-89abcdef",
        "region": "eu",
        "webhook_signing_key": "fedcba9876543210fedcba9876543210",
    }


class Mailgun:
    """See `newsletter.providers.http.MailAPI`."""

    name = "mailgun"
    title = "Mailgun"
    has_idempotency = False

    def __init__(self, config: MailgunConfig) -> None:
        self.base_url = _HOSTS[config.region]
        self._config = config
        login = b64encode(f"api:{config.api_key.get_secret_value()}".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {login}"}
        self._path = f"/v3/{config.domain}/messages.mime"

    def message(self, envelope: Envelope) -> Call:
        fields = [
            # Without it Mailgun would mail whomever the headers name.
            ("to", ascii_recipient(envelope)),
            (f"v:{METADATA}", envelope.message_id),
        ]
        if not self._config.tracking:
            fields.append(("o:tracking", "no"))
        # "=_" occurs in no quoted-printable text, and no base64 has "_": the message cannot
        # contain it.
        boundary = f"=_form-{envelope.message_id}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="message.eml"\r\n'
            "Content-Type: message/rfc822\r\n\r\n".encode()
        )
        parts += (envelope.content, f"\r\n--{boundary}--\r\n".encode())
        kind = {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
        return Call("POST", self._path, self._headers | kind, b"".join(parts))

    def receipt(self, answer: Answer) -> Receipt:
        if answer.is_success:
            return taken(answer, answer.text_of("id"), self)
        raise self._refusal(answer)

    def probe(self) -> Call:
        """An empty message: Mailgun looks at the key and the domain before it misses the rest.
        A sending key may read nothing, not even its own domain."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return Call("POST", self._path, self._headers | kind)

    def found(self, answer: Answer) -> str:
        if answer.status != 400:
            raise self._refusal(answer)
        return f"Mailgun, domain {self._config.domain}"

    def _refusal(self, answer: Answer) -> Refusal:
        text = answer.text_of("message")
        if answer.status == 400 and "to parameter is not a valid address" in text.replace("'", ""):
            return Permanent(f"{self.title}: {text}", code=400, enhanced="5.1.3")
        return refusal(answer, text, self)


class MailgunFeed:
    """Mailgun's webhooks; see `newsletter.providers.events.Feed`.

    The signature covers a time and a random token, not the report. So each token is good for
    one report: it is the report's key.
    """

    def __init__(self, config: MailgunConfig) -> None:
        self._key = config.webhook_signing_key

    async def verify(self, raw: bytes, headers: Mapping[str, str], at: datetime) -> None:
        if self._key is None:
            raise BadSignature("no signing key is set for this server")
        try:
            signature = Report.read(raw)["signature"]
            stamp, token = signature["timestamp"].text() or "", signature["token"].text() or ""
            given = signature["signature"].exact()
        except Malformed as error:
            raise BadSignature("the signature is missing") from error
        key = self._key.get_secret_value().encode()
        if not token or not same(given, hmac.new(key, (stamp + token).encode(), hashlib.sha256).hexdigest()):
            raise BadSignature("the signature does not match")
        check_age(stamp, at, _RETRIES)

    def key(self, raw: bytes, headers: Mapping[str, str]) -> str:
        token = Report.read(raw)["signature"]["token"].text(200)
        if token is None:
            raise Malformed("a report without a token")
        return token

    def confirmation(self, raw: bytes) -> str | None:
        return None

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        body = Report.read(raw)
        event = body["event-data"]
        identifier, at = event["id"].text(), event["timestamp"].moment()
        if identifier is None or at is None:
            raise Malformed("an event without id or time")
        kind, is_permanent = _classified(event)
        if kind is None:
            return []
        delivery, client = event["delivery-status"], event["client-info"]
        return [
            ProviderEvent(
                kind=kind,
                event_id=identifier,
                at=at,
                message_id=our_message(
                    event["user-variables"][METADATA].text(),
                    event["message"]["headers"]["message-id"].text(),
                ),
                recipient=event["recipient"].text(),
                is_permanent=is_permanent,
                status=status_in(delivery["enhanced-code"].text(), delivery["message"].text()),
                reason=delivery["message"].text()
                or delivery["description"].text()
                or event["reject"]["reason"].text()
                or event["reason"].text(),
                url=event["url"].text(2_000),
                user_agent=client["user-agent"].text(),
                ip=event["ip"].text(),
                machine=client["bot"].text(),
            )
        ]


def _classified(event: Report) -> tuple[EventKind | None, bool]:
    """The kind, and whether Mailgun calls the address bad; None for what is not of our vocabulary."""
    name = event["event"].text() or ""
    if name != "failed":
        return _KINDS.get(name), False
    if event["severity"].text() != "permanent":
        return EventKind.deferred, False
    why = event["reason"].text() or ""
    if why.startswith("suppress-"):
        # Its own list knows the address; only "bounce" says that it is bad.
        return EventKind.rejected, why == "suppress-bounce"
    # A "permanent" failure of another reason ("old", "espblock") is the end of the tries.
    return EventKind.bounced, why == "bounce"
