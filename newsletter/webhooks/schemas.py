"""Webhook endpoints, deliveries and attempts as the API shows them."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from newsletter.events.vocabulary import EventType
from newsletter.kit.http import check_url
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Line, Schema, Switch, Time
from newsletter.webhooks.models import DeliveryStatus, SignatureStyle

EndpointId = Annotated[UUID, IdField("whe")]
DeliveryId = Annotated[UUID, IdField("whd")]
EventId = Annotated[UUID, IdField("evt")]


def _endpoint_url(text: str) -> str:
    check_url(text)
    return text


def _each_once(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


EndpointURL = Annotated[Line, Field(max_length=2000), AfterValidator(_endpoint_url)]
Events = Annotated[list[EventType], Field(max_length=100), AfterValidator(_each_once)]
GroupSize = Annotated[int, Field(ge=1, le=100)]
Description = Annotated[Line, Field(max_length=500)]


class EndpointCreate(Body):
    """A new endpoint."""

    url: EndpointURL
    """``https://`` or ``http://``, without user name, at port 80 or 443 or another that the operator allows.
    It is called with POST."""
    events: Events = Field(default_factory=list)
    """The events to get; empty: all, those to come included."""
    description: Description | None = None
    signature_style: SignatureStyle = SignatureStyle.standard
    group_size: GroupSize = 1
    """Events of one call at most. Above 1, each call's body is a group: ``{"type": "group",
    "events": […]}``."""
    is_active: Switch = True


class EndpointUpdate(Body):
    """Fields that are left out stay as they are. ``is_active: true`` also clears the failures."""

    url: EndpointURL = ""
    events: Events = Field(default_factory=list)
    description: Description | None = None
    signature_style: SignatureStyle = SignatureStyle.standard
    group_size: GroupSize = 1
    is_active: Switch = True


class RotateSecret(Body):
    overlap_hours: Annotated[int, Field(ge=0, le=720)] | None = None
    """Hours that the old secret goes on to sign besides the new one; 0: it ends now. Default: 24."""


class ReplayMany(Body):
    """Which deliveries to make once more; what still waits for a call is left out."""

    status: DeliveryStatus | None = None
    """``exhausted``: the dead letters."""
    event_type: EventType | None = None
    since: Time | None = None
    until: Time | None = None


class ReplayingOut(Schema):
    deliveries: int
    """How many are delivered once more, in the order in which they were made."""


class EndpointOut(Schema):
    id: EndpointId
    url: str
    description: str | None
    events: list[EventType]
    """Empty: all."""
    signature_style: SignatureStyle
    group_size: int
    previous_secret_until: Time | None
    """While a rotated secret signs besides its successor."""
    is_active: bool
    disabled_reason: str | None
    """``gone`` after the endpoint answered 410, ``failing`` after days of nothing but failures."""
    disabled_at: Time | None
    owner_message_id: str | None
    """The mail that told the account's owner that it was switched off: `GET /messages/{id}`."""
    owner_untold_code: str | None
    """Why there is no such mail: what sending lacks, such as ``sending_server_missing``, or ``told_recently``
    where the owner had one of this endpoint a short while ago."""
    consecutive_failures: int
    """Failed calls since the last one that was acknowledged."""
    created_at: Time
    updated_at: Time


class EndpointCreated(EndpointOut):
    secret: str
    """Signs the calls. Shown this once."""


class TestCall(Body):
    __test__ = False  # The name begins as those that pytest collects.

    event_type: EventType | None = None
    """Default: the first event that the endpoint gets."""


class CallOut(Schema):
    """One call and how it ended."""

    status_code: int | None
    """None when there was no answer; ``error`` says why."""
    error: str | None
    """None when the call was acknowledged (2xx)."""
    answer: str | None
    """The first bytes of what the endpoint said; None where it lives in a private network."""
    elapsed_ms: int
    at: Time


class TestCallOut(CallOut):
    __test__ = False

    event_id: EventId
    event_type: EventType


class AttemptOut(CallOut):
    number: int
    request_headers: dict[str, str] | None
    """What this call was made with. The signature is that of its time."""


class DeliverySummary(Schema):
    id: DeliveryId
    endpoint_id: EndpointId
    event_id: EventId
    event_type: EventType
    status: DeliveryStatus
    attempt_count: int
    """Calls made so far."""
    next_attempt_at: Time | None
    created_at: Time
    finished_at: Time | None


class DeliveryOut(DeliverySummary):
    """A delivery with each of its calls, oldest first."""

    message_id: str | None
    """The message that the event is about."""
    request_body: str | None
    """What the endpoint gets of this event; None when the event is no longer kept."""

    attempts: list[AttemptOut]
