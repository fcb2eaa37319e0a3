"""Postmark: ``/email``, which takes fields and writes the message itself.

Postmark has no idempotency key, so a call whose answer was lost is unknown. Asked to, it keeps
our Message-ID; our id travels as metadata too, and comes back in each event.
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from newsletter.kit.db import JSONValue
from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal, ServerDown, Temporary
from newsletter.providers.config import Secret, ServerConfig, Word
from newsletter.providers.events import (
    BadSignature,
    EventKind,
    Malformed,
    ProviderEvent,
    Report,
    fingerprint,
    our_message,
    same,
    status_in,
)
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken
from newsletter.providers.structured import take_apart

# Postmark answers 422 to most of what it refuses; its own code says what it is about.
# https://postmarkapp.com/developer/api/overview#error-codes
_BAD_TOKEN = {10}
_MAINTENANCE = {100}
_ABOUT_THE_ACCOUNT = {405, 412, 413}
"""Out of credit, waiting for approval, may not send."""

# https://postmarkapp.com/developer/api/bounce-api#bounce-types
_PERMANENT = {"HardBounce", "BadEmailAddress"}
_STILL_TRYING = {"Transient", "DnsError"}
_NO_BOUNCE = {"AutoResponder", "AddressChange", "Subscribe", "OpenRelayTest", "ChallengeVerification"}
"""Answers of people and their machines, which Postmark files as bounces."""
_DROPPED = {"ManuallyDeactivated", "Unconfirmed", "SMTPApiError", "InboundError", "TemplateRenderingFailed"}


class PostmarkConfig(ServerConfig):
    """Postmark. The token is that of a server, not of the account."""

    server_token: Secret
    message_stream: Word = "broadcast"
    """Newsletters belong on a broadcast stream, single mails on ``outbound``."""
    tracking: bool = False
    """Whether Postmark may rewrite links and add its own pixel, as the server's settings have it."""
    webhook_username: Word | None = None
    webhook_password: Secret | None = None
    """What Postmark is told to sign in with (it signs nothing); with both, its events are taken in."""

    example: ClassVar = {
        "server_token": "01234567-89ab-cdef-0123-456789abcdef",
        "message_stream": "broadcast",
        "webhook_username": "postmark",
        "webhook_password": "a-long-random-password",
    }


class Postmark:
    """See `newsletter.providers.http.MailAPI`."""

    name = "postmark"
    title = "Postmark"
    has_idempotency = False

    def __init__(self, config: PostmarkConfig) -> None:
        self.base_url = "https://api.postmarkapp.com"
        self._config = config
        self._headers = {"X-Postmark-Server-Token": config.server_token.get_secret_value()}

    def message(self, envelope: Envelope) -> Call:
        mail = take_apart(envelope)
        headers = list(mail.headers)
        if mail.message_id is not None:
            headers += [("Message-ID", mail.message_id), ("X-PM-KeepID", "true")]
        body: dict[str, JSONValue] = {
            "From": str(mail.sender),
            "To": str(mail.recipient),
            "Subject": mail.subject,
            "MessageStream": self._config.message_stream,
            "Headers": [{"Name": name, "Value": value} for name, value in headers],
            "Metadata": {METADATA: envelope.message_id},
        }
        if mail.html is not None:
            body["HtmlBody"] = mail.html
        if mail.text is not None:
            body["TextBody"] = mail.text
        if mail.reply_to:
            body["ReplyTo"] = ", ".join(str(box) for box in mail.reply_to)
        if mail.attachments:
            body["Attachments"] = [
                {
                    "Name": each.name,
                    "Content": b64encode(each.content).decode("ascii"),
                    "ContentType": each.media_type,
                    **({"ContentID": f"cid:{each.content_id}"} if each.content_id else {}),
                }
                for each in mail.attachments
            ]
        if not self._config.tracking:
            body |= {"TrackOpens": False, "TrackLinks": "None"}
        return Call.of_json("/email", self._headers, body)

    def receipt(self, answer: Answer) -> Receipt:
        if answer.is_success and not answer.json().get("ErrorCode"):
            return taken(answer, answer.text_of("MessageID"), self)
        raise self._refusal(answer)

    def probe(self) -> Call:
        return Call("GET", "/server", self._headers)

    def found(self, answer: Answer) -> str:
        if not answer.is_success:
            raise self._refusal(answer)
        return f"Postmark, server “{answer.text_of('Name')}”, stream {self._config.message_stream}"

    def _refusal(self, answer: Answer) -> Refusal:
        code, text = answer.json().get("ErrorCode"), answer.text_of("Message")
        said = f"{self.title}: {text} (error {code})"
        if code in _BAD_TOKEN:
            return ServerDown("Postmark refused the server token (error 10)", code=answer.status)
        if code in _ABOUT_THE_ACCOUNT:
            return ServerDown(said, code=answer.status)
        if code in _MAINTENANCE:
            return Temporary(said, code=answer.status)
        if code == 300 and "'To'" in text:
            return Permanent(said, code=answer.status, enhanced="5.1.3")
        if answer.is_success:
            # A code of failure under a status of success: it took nothing.
            return Permanent(said, code=answer.status)
        return refusal(answer, said.partition(": ")[2] if text else "", self)


class PostmarkFeed:
    """Postmark's webhooks; see `newsletter.providers.events.Feed`.

    Postmark signs nothing. It offers to sign in with a name and a password (or with headers
    of one's own) at the URL it is given, so that is what is checked, and TLS guards it.
    """

    def __init__(self, config: PostmarkConfig) -> None:
        self._expected: str | None = None
        if config.webhook_username is not None and config.webhook_password is not None:
            login = f"{config.webhook_username}:{config.webhook_password.get_secret_value()}"
            self._expected = "Basic " + b64encode(login.encode()).decode("ascii")

    async def verify(self, raw: bytes, headers: Mapping[str, str], at: datetime) -> None:
        if self._expected is None:
            raise BadSignature("no webhook user and password are set for this server")
        if not same(headers.get("authorization", ""), self._expected):
            raise BadSignature("the user or the password does not match")

    def key(self, raw: bytes, headers: Mapping[str, str]) -> str:
        return fingerprint(raw)

    def confirmation(self, raw: bytes) -> str | None:
        return None

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        body = Report.read(raw)
        kind, moment = _classified(body)
        if kind is None:
            return []
        at = body[moment].moment()
        if at is None:
            raise Malformed("an event without a time")
        recipient = body["Recipient"].text() or body["Email"].text()
        reason = body["Details"].text() or body["Description"].text() or body["SuppressionReason"].text()
        return [
            ProviderEvent(
                kind=kind,
                event_id=fingerprint(
                    *(body[name].text() for name in ("RecordType", "MessageID", "ID", moment)),
                    recipient,
                    body["OriginalLink"].text(2_000),
                ),
                at=at,
                message_id=our_message(body["Metadata"][METADATA].text()),
                recipient=recipient,
                is_permanent=kind is EventKind.bounced and body["Type"].text() in _PERMANENT,
                status=status_in(reason),
                reason=reason,
                url=body["OriginalLink"].text(2_000),
                user_agent=body["UserAgent"].text(),
                ip=body["Geo"]["IP"].text(),
            )
        ]


def _classified(body: Report) -> tuple[EventKind | None, str]:
    """The kind, and the field that holds its time; no kind for what is not of our vocabulary."""
    match body["RecordType"].text():
        case "Delivery":
            return EventKind.delivered, "DeliveredAt"
        case "Open":
            return EventKind.opened, "ReceivedAt"
        case "Click":
            return EventKind.clicked, "ReceivedAt"
        case "SpamComplaint":
            return EventKind.complained, "BouncedAt"
        case "Bounce":
            return _bounce(body["Type"].text() or ""), "BouncedAt"
        case "SubscriptionChange":
            return _suppression(body), "ChangedAt"
    return None, ""


def _bounce(label: str) -> EventKind | None:
    if label in _NO_BOUNCE:
        return None
    if label in _STILL_TRYING:
        return EventKind.deferred
    if label == "SpamComplaint":
        return EventKind.complained
    if label == "Unsubscribe":
        return EventKind.unsubscribed
    return EventKind.rejected if label in _DROPPED else EventKind.bounced


def _suppression(body: Report) -> EventKind | None:
    """Postmark adds bounces and complaints to its list too, after it has reported them as such."""
    is_by_hand = body["SuppressionReason"].text() == "ManualSuppression"
    return EventKind.unsubscribed if body["SuppressSending"].is_true and is_by_hand else None
