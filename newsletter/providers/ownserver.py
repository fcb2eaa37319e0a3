"""Reports of one's own mail server, in a form of ours: for who reads its log or its bounces.

``{"events": [{"id", "type", "at", "message_id", …}]}``, signed by the Standard Webhooks
specification with the server's ``webhook_secret``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)

from newsletter.providers import standardwebhooks
from newsletter.providers.events import BadSignature, EventKind, Malformed, ProviderEvent, Report, our_message

_Status = Annotated[str, StringConstraints(pattern=r"^[245]\.\d{1,3}\.\d{1,3}$")]


class OwnEvent(BaseModel):
    """One thing that became of one mail."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    id: str = Field(min_length=1, max_length=200)
    """The same for each repetition of one report, and for no other."""
    type: EventKind
    at: AwareDatetime
    message_id: str = Field(min_length=1, max_length=200)
    """``msg_…``, or the whole Message-ID that begins with it."""
    recipient: str | None = Field(None, max_length=320)
    status: _Status | None = None
    """The enhanced status code (RFC 3463) that the other server gave."""
    permanent: bool = False
    """Of a bounce: whether the other server calls the address bad for good."""
    reason: str | None = Field(None, max_length=2_000)
    url: str | None = Field(None, max_length=2_000)
    user_agent: str | None = Field(None, max_length=1_000)
    ip: str | None = Field(None, max_length=45)


class OwnReport(BaseModel):
    """The body of a call."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    events: list[OwnEvent] = Field(min_length=1, max_length=1_000)


class OwnServerFeed:
    """See `newsletter.providers.events.Feed`."""

    def __init__(self, secret: SecretStr | None) -> None:
        self._secret = secret

    async def verify(self, raw: bytes, headers: Mapping[str, str], at: datetime) -> None:
        if self._secret is None:
            raise BadSignature("no webhook secret is set for this server")
        standardwebhooks.verify(raw, headers, self._secret.get_secret_value(), at, prefix="webhook")

    def key(self, raw: bytes, headers: Mapping[str, str]) -> str:
        return headers["webhook-id"][:200]

    def confirmation(self, raw: bytes) -> str | None:
        return None

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        try:
            report = OwnReport.model_validate_json(raw)
        except ValidationError as error:
            places = (".".join(map(str, problem["loc"])) or "body" for problem in error.errors())
            raise Malformed(f"not valid: {', '.join(list(places)[:10])}") from error
        return [_event(event) for event in report.events]


def _event(event: OwnEvent) -> ProviderEvent:
    return ProviderEvent(
        kind=event.type,
        event_id=Report(event.id).text(200) or "-",
        at=event.at,
        message_id=our_message(event.message_id),
        recipient=Report(event.recipient).text(320),
        is_permanent=event.permanent,
        status=event.status,
        reason=Report(event.reason).text(),
        url=Report(event.url).text(2_000),
        user_agent=Report(event.user_agent).text(),
        ip=Report(event.ip).text(),
    )
