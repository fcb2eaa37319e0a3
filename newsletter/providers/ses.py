"""Amazon SES, API v2: ``SendEmail`` with our own message (``Content.Raw``).

SES has no idempotency key, so a call whose answer was lost is unknown. It replaces Message-ID
and Date by its own; our id travels as an e-mail tag and comes back in each event.
"""

from base64 import b64encode
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from newsletter.kit import clock
from newsletter.kit.db import JSONValue
from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal, ServerDown, Temporary
from newsletter.providers.config import Secret, ServerConfig, Word
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken
from newsletter.providers.sigv4 import Credentials, sign
from newsletter.providers.structured import ascii_recipient

_SEND = "/v2/email/outbound-emails"
_ACCOUNT = "/v2/email/account"

# AWS answers 400 to most of what it refuses; the type of the error says what it is about.
_ABOUT_THE_ACCOUNT = {"AccountSuspendedException", "SendingPausedException", "NotFoundException"}
_ABOUT_THE_RATE = {"TooManyRequestsException", "ThrottlingException", "Throttling", "LimitExceededException"}


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

    example: ClassVar = {
        "region": "eu-west-1",
        "access_key_id": "EXAMPLEACCESSKEY0001",
        "secret_access_key": "a-secret-of-forty-characters-0123456789ab",
        "configuration_set": "newsletter",
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
            return Temporary(said, code=answer.status)
        if kind in _ABOUT_THE_ACCOUNT:
            return ServerDown(said, code=answer.status)
        if kind == "BadRequestException" and "address" in text.lower() and "illegal" in text.lower():
            return Permanent(said, code=answer.status, enhanced="5.1.3")
        return refusal(answer, f"{kind}: {text}" if kind else text, self)


def _kind(answer: Answer) -> str:
    """``MessageRejected`` of ``com.amazonaws.ses#MessageRejected:http://…``, wherever it stands."""
    full = answer.headers.get("x-amzn-errortype") or answer.text_of("__type") or answer.text_of("code")
    return full.partition(":")[0].rpartition("#")[2]
