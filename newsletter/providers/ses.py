"""Amazon SES, API v2: ``SendEmail`` with our own message (``Content.Raw``).

SES has no idempotency key, so a call whose answer was lost is unknown. It replaces Message-ID
and Date by its own; our id travels as an e-mail tag and comes back in each event.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from newsletter.kit import clock
from newsletter.kit.db import JSONValue
from newsletter.providers import sns
from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal, ServerDown
from newsletter.providers.config import Secret, ServerConfig, Word
from newsletter.providers.events import (
    EventKind,
    Malformed,
    ProviderEvent,
    Report,
    our_message,
    status_in,
)
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken, too_fast
from newsletter.providers.sigv4 import Credentials, sign
from newsletter.providers.structured import ascii_recipient

_SEND = "/v2/email/outbound-emails"
_ACCOUNT = "/v2/email/account"

# AWS answers 400 to most of what it refuses; the type of the error says what it is about.
_ABOUT_THE_ACCOUNT = {"AccountSuspendedException", "SendingPausedException", "NotFoundException"}
_ABOUT_THE_RATE = {"TooManyRequestsException", "ThrottlingException", "Throttling", "LimitExceededException"}


TopicARN = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$")
]


class SESConfig(ServerConfig):
    """Amazon SES. The key needs ``ses:SendRawEmail`` and ``ses:SendEmail``, and
    ``ses:GetAccount`` for the connection test to show the quota."""

    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")]
    """Where the identities are verified, such as ``eu-west-1``."""
    access_key_id: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{16,128}$")]
    secret_access_key: Secret
    session_token: Secret | None = None
    """Of temporary keys alone."""
    configuration_set: Word | None = None
    """Whose event destinations report what becomes of the mail."""
    topic_arns: tuple[TopicARN, ...] = ()
    """The SNS topics that reports are taken from; without one, none are taken."""

    example: ClassVar = {
        "region": "eu-west-1",
        "access_key_id": "EXAMPLEACCESSKEY0001",
        "secret_access_key": "a-secret-of-forty-characters-0123456789ab",
        "configuration_set": "newsletter",
        "topic_arns": ["arn:aws:sns:eu-west-1:123456789012:newsletter"],
    }


class SES:
    """See `newsletter.providers.http.MailAPI`."""

    name = "ses"
    title = "Amazon SES"
    has_idempotency = False

    def __init__(self, config: SESConfig) -> None:
        self.base_url = f"https://email.{config.region}.amazonaws.com"
        self._config = config
        token = config.session_token
        self._credentials = Credentials(
            config.access_key_id,
            config.secret_access_key.get_secret_value(),
            token.get_secret_value() if token else None,
        )

    def message(self, envelope: Envelope) -> Call:
        body: dict[str, JSONValue] = {
            "Content": {"Raw": {"Data": b64encode(envelope.content).decode("ascii")}},
            # Without it SES would mail whomever the headers name.
            "Destination": {"ToAddresses": [ascii_recipient(envelope)]},
            "EmailTags": [{"Name": METADATA, "Value": envelope.message_id}],
        }
        if self._config.configuration_set is not None:
            body["ConfigurationSetName"] = self._config.configuration_set
        return self._signed(Call.of_json(_SEND, {}, body))

    def receipt(self, answer: Answer) -> Receipt:
        if answer.is_success:
            return taken(answer, answer.text_of("MessageId"), self)
        raise self._refusal(answer)

    def probe(self) -> Call:
        return self._signed(Call("GET", _ACCOUNT, {}))

    def found(self, answer: Answer) -> str:
        account, where = answer.json(), f"Amazon SES in {self._config.region}"
        if answer.status == 403 and _kind(answer) in ("AccessDeniedException", "AccessDenied"):
            # Only a request whose signature is right gets as far as the permissions.
            return f"{where}; the key is good, and may not read the account (ses:GetAccount)"
        if not answer.is_success:
            raise self._refusal(answer)
        if account.get("SendingEnabled") is False:
            raise ServerDown(f"{where}: sending is disabled for this account")
        quota = account.get("SendQuota")
        limit = f", {quota.get('Max24HourSend')} mails a day" if isinstance(quota, dict) else ""
        sandbox = ", in the SES sandbox" if account.get("ProductionAccessEnabled") is False else ""
        return where + limit + sandbox

    def _signed(self, call: Call) -> Call:
        headers = sign(
            call.method,
            self.base_url + call.path,
            call.headers,
            call.content,
            credentials=self._credentials,
            region=self._config.region,
            service="ses",
            at=clock.now(),
        )
        return Call(call.method, call.path, headers, call.content)

    def _refusal(self, answer: Answer) -> Refusal:
        kind = _kind(answer)
        text = answer.text_of("message") or answer.text_of("Message")
        said = f"{self.title}: {kind}: {text}" if kind else text
        if kind in _ABOUT_THE_RATE:
            return too_fast(answer, said)
        if kind in _ABOUT_THE_ACCOUNT:
            return ServerDown(said, code=answer.status)
        if kind == "BadRequestException" and "address" in text.lower() and "illegal" in text.lower():
            return Permanent(said, code=answer.status, enhanced="5.1.3")
        return refusal(answer, f"{kind}: {text}" if kind else text, self)


class SESFeed:
    """SES events, as SNS notifications; see `newsletter.providers.events.Feed`."""

    def __init__(self, config: SESConfig, certificates: sns.Certificates) -> None:
        self._topics = config.topic_arns
        self._certificates = certificates

    async def verify(self, raw: bytes, headers: Mapping[str, str], at: datetime) -> None:
        await sns.verify(raw, self._topics, self._certificates, at)

    def key(self, raw: bytes, headers: Mapping[str, str]) -> str:
        identifier = Report.read(raw)["MessageId"].text(200)
        if identifier is None:
            raise Malformed("a notification without an id")
        return identifier

    def confirmation(self, raw: bytes) -> str | None:
        message = Report.read(raw)
        url = message["SubscribeURL"].text(2_000)
        is_asked = message["Type"].text() == "SubscriptionConfirmation"
        return url if is_asked and url is not None and sns.is_of_sns(url) else None

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        message = Report.read(raw)
        if message["Type"].text() != sns.NOTIFICATION:
            return []
        try:
            report = Report.read(message["Message"].exact())
        except Malformed:
            # SES says in plain words that it found the topic when that is set up.
            return []
        received = message["Timestamp"].moment() or clock.now()
        identifier = self.key(raw, headers)
        return [
            replace(event, event_id=f"{identifier}/{number}") if number else event
            for number, event in enumerate(_events(report, identifier, received))
        ]


def _events(report: Report, identifier: str, received: datetime) -> Iterator[ProviderEvent]:
    mail = report["mail"]
    event = ProviderEvent(
        kind=EventKind.delivered,
        event_id=identifier,
        at=received,
        message_id=our_message(
            *(tag.text() for tag in mail["tags"][METADATA].items()),
            *(each["value"].text() for each in mail["headers"].items() if _is_message_id(each)),
        ),
        recipient=next((each.text() for each in mail["destination"].items()), None),
    )
    match report["eventType"].text() or report["notificationType"].text():
        case "Delivery":
            yield replace(event, at=report["delivery"]["timestamp"].moment() or received)
        case "DeliveryDelay":
            yield from _delayed(report["deliveryDelay"], event)
        case "Bounce":
            yield from _bounced(report["bounce"], event)
        case "Complaint":
            yield from _complained(report["complaint"], event)
        case "Reject":
            yield replace(event, kind=EventKind.rejected, reason=report["reject"]["reason"].text())
        case "Rendering Failure":
            yield replace(event, kind=EventKind.rejected, reason=report["failure"]["errorMessage"].text())
        case "Open":
            yield _seen(report["open"], replace(event, kind=EventKind.opened))
        case "Click":
            yield _seen(report["click"], replace(event, kind=EventKind.clicked))
        case "Subscription":
            change = report["subscription"]
            if change["newTopicPreferences"]["unsubscribeAll"].is_true:
                at = change["timestamp"].moment() or received
                yield replace(event, kind=EventKind.unsubscribed, at=at)


def _is_message_id(header: Report) -> bool:
    return (header["name"].text() or "").lower() == "message-id"


def _delayed(delay: Report, event: ProviderEvent) -> Iterator[ProviderEvent]:
    for recipient in delay["delayedRecipients"].items():
        diagnosis = recipient["diagnosticCode"].text()
        yield replace(
            event,
            kind=EventKind.deferred,
            at=delay["timestamp"].moment() or event.at,
            recipient=recipient["emailAddress"].text() or event.recipient,
            status=status_in(recipient["status"].text(), diagnosis),
            reason=diagnosis or delay["delayType"].text(),
        )


def _bounced(bounce: Report, event: ProviderEvent) -> Iterator[ProviderEvent]:
    subtype = bounce["bounceSubType"].text()
    is_permanent = bounce["bounceType"].text() == "Permanent"
    # The account's own list holds complaints as well as bounces, and says not which.
    is_own_list = subtype == "OnAccountSuppressionList"
    for recipient in bounce["bouncedRecipients"].items():
        diagnosis = recipient["diagnosticCode"].text()
        yield replace(
            event,
            kind=EventKind.rejected if is_own_list else EventKind.bounced,
            at=bounce["timestamp"].moment() or event.at,
            recipient=recipient["emailAddress"].text() or event.recipient,
            is_permanent=is_permanent and not is_own_list,
            status=status_in(recipient["status"].text(), diagnosis),
            reason=diagnosis or subtype,
        )


def _complained(complaint: Report, event: ProviderEvent) -> Iterator[ProviderEvent]:
    # Types of RFC 5965's registry that no reader's complaint is behind.
    if complaint["complaintFeedbackType"].text() in ("not-spam", "auth-failure"):
        return
    is_own_list = complaint["complaintSubType"].text() == "OnAccountSuppressionList"
    yield replace(
        event,
        kind=EventKind.rejected if is_own_list else EventKind.complained,
        at=complaint["timestamp"].moment() or event.at,
        reason=complaint["complaintFeedbackType"].text() or complaint["complaintSubType"].text(),
        user_agent=complaint["userAgent"].text(),
    )


def _seen(visit: Report, event: ProviderEvent) -> ProviderEvent:
    return replace(
        event,
        at=visit["timestamp"].moment() or event.at,
        url=visit["link"].text(2_000),
        user_agent=visit["userAgent"].text(),
        ip=visit["ipAddress"].text(),
    )


def _kind(answer: Answer) -> str:
    """``MessageRejected`` of ``com.amazonaws.ses#MessageRejected:http://…``, wherever it stands."""
    full = answer.headers.get("x-amzn-errortype") or answer.text_of("__type") or answer.text_of("code")
    return full.partition(":")[0].rpartition("#")[2]
