"""Lists and subscribers as the API takes and shows them."""

import json
import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import to_json

from newsletter.accounts.schemas import Locale, ShownName, TimeZone
from newsletter.audience.models import ConsentAction, Status
from newsletter.audience.rows import Row
from newsletter.kit import clock, ids
from newsletter.kit.address import EmailAddress
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, CursorMeta, Data, Line, PageMeta, Schema, Time
from newsletter.templates.merge import BUILT_IN_FIELDS

ListId = Annotated[UUID, IdField("lst")]
SubscriberId = Annotated[UUID, IdField("sub")]
ConsentId = Annotated[UUID, IdField("con")]
KeyId = Annotated[UUID, IdField("key")]

MAX_VALUE = 1_000
_CLOCK_SKEW = timedelta(minutes=5)

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr | None
"""As it comes from the database. A body has a `ScalarField`."""


def field_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", name):
        raise ValueError("must be a name of lower-case letters, digits and _, such as favourite_colour")
    if name in BUILT_IN_FIELDS:
        raise ValueError("is a built-in merge tag; choose another name")
    return name


def _one_of_them(value: object, check: ValidatorFunctionWrapHandler) -> Scalar:
    """One sentence in the place of one for each kind of scalar that the value is not."""
    try:
        scalar: Scalar = check(value)
    except ValidationError:
        raise ValueError("must be a text, a number, true, false or null") from None
    return scalar


ScalarField = Annotated[Scalar, WrapValidator(_one_of_them)]
"""Of any kind of scalar, and refused once, on its own name."""


def _scalar(value: Scalar) -> Scalar:
    written = value if isinstance(value, str) else json.dumps(value)
    if len(written) > MAX_VALUE:
        raise ValueError(f"must have at most {MAX_VALUE:,} characters")
    if written in ("NaN", "Infinity", "-Infinity") and not isinstance(value, str):
        raise ValueError("must be a finite number")
    if any(letter < " " and letter not in "\t\r\n" for letter in written):
        raise ValueError("must not contain control characters")
    return value


def _ip(text: str) -> str:
    try:
        return ip_address(text).compressed
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address") from None


def _not_future(at: Time) -> Time:
    if at > clock.now() + _CLOCK_SKEW:
        raise ValueError("must not be in the future")
    return at


def _single(opt_in: str) -> str:
    if opt_in != "single":
        raise ValueError("must be 'single': double opt-in is not available yet")
    return opt_in


PersonName = Annotated[Line, Field(max_length=200, examples=["Alice"])]
Tag = Annotated[Line, Field(min_length=1, max_length=100)]
FieldName = Annotated[str, AfterValidator(field_name)]
CustomFields = dict[FieldName, Annotated[ScalarField, AfterValidator(_scalar)]]
OptIn = Annotated[
    str, AfterValidator(_single), Field(json_schema_extra={"enum": ["single"], "examples": ["single"]})
]


class ListCreate(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Newsletter"}]})

    name: Annotated[ShownName, Field(min_length=1)]
    description: Annotated[str, Field(max_length=2000)] | None = None
    opt_in: OptIn = "single"


class ListUpdate(Body):
    """Fields that are left out stay as they are; null clears the description."""

    name: Annotated[ShownName, Field(min_length=1)] = ""
    description: Annotated[str, Field(max_length=2000)] | None = None
    opt_in: OptIn = "single"


class ListOut(Schema):
    id: ListId
    name: str
    description: str | None
    opt_in: Literal["single"]
    total_subscribers: int
    active_subscribers: int
    segment_count: int
    """`GET /segments?list_id=` lists them."""
    created_at: Time
    updated_at: Time


class ConsentIn(Body):
    """What shows that the person agreed; it is kept for good."""

    source: Annotated[Line, Field(min_length=1, max_length=200, examples=["signup form"])]
    ip: Annotated[str, Field(max_length=45), AfterValidator(_ip)] | None = None
    """The person's address, not your server's."""
    at: Annotated[Time, AfterValidator(_not_future)] | None = None
    """When they agreed; default: now."""
    text: Annotated[str, Field(max_length=2000)] | None = None
    """The words that they agreed to."""


class SubscriberFields(Body):
    """What is known of a person. Fields that are left out stay as they are; null clears one.

    ``tags`` replace the known ones; ``custom_fields`` are merged into the known ones, where
    null removes one.
    """

    first_name: PersonName | None = None
    last_name: PersonName | None = None
    tags: list[Tag] | None = None
    custom_fields: CustomFields | None = None
    locale: Locale | None = None
    timezone: TimeZone | None = None
    consent: ConsentIn | None = None


class ListSubscriberCreate(SubscriberFields):
    """A subscriber of the list in the path."""

    email: EmailAddress


class BatchRow(SubscriberFields):
    """One row of a batch. Its address is parsed by who reads the row, so that it is parsed once."""

    email: Annotated[str, Field(max_length=320)]


class SubscriberCreate(ListSubscriberCreate):
    list_id: ListId


ChosenStatus = Literal["active", "unsubscribed", "bounced", "complained"]


class SubscriberPut(SubscriberCreate):
    status: ChosenStatus = "active"
    """Left out: the known status stays, a new subscriber is active. ``active`` does not bring
    back who bounced or complained. ``bounced`` and ``complained`` hold for the address on all lists."""


class SubscriberUpdate(SubscriberFields):
    status: ChosenStatus = "active"
    """Left out: stays. ``active`` brings back who unsubscribed (with ``consent`` where the
    project requires it), who bounced, and with ``consent`` who complained. ``bounced`` and
    ``complained`` hold for the address on all lists."""


class SubscriberOut(Schema):
    id: SubscriberId
    list_id: ListId
    email: str
    first_name: str | None
    last_name: str | None
    tags: list[str]
    custom_fields: dict[str, Scalar]
    locale: str | None
    timezone: str | None
    status: Status
    subscribed_at: Time | None
    unsubscribed_at: Time | None
    created_at: Time
    updated_at: Time


def shown(row: object) -> Data[SubscriberOut]:
    """One subscriber, a `Subscriber` or a `Row`, as the API answers."""
    return Data(data=SubscriberOut.model_validate(row))


def written(row: Row) -> bytes:
    """`shown` as the JSON that it becomes, letter by letter: in less than half of the time, as nothing is
    checked that was written here."""
    out = {
        "id": ids.public("sub", row.id),
        "list_id": ids.public("lst", row.list_id),
        "email": row.email,
        "first_name": row.first_name,
        "last_name": row.last_name,
        "tags": row.tags,
        "custom_fields": row.custom_fields,
        "locale": row.locale,
        "timezone": row.timezone,
        "status": row.status.value,
        "subscribed_at": row.subscribed_at and clock.rfc3339(row.subscribed_at),
        "unsubscribed_at": row.unsubscribed_at and clock.rfc3339(row.unsubscribed_at),
        "created_at": clock.rfc3339(row.created_at),
        "updated_at": clock.rfc3339(row.updated_at),
    }
    return to_json({"data": out})


class SubscriberPageMeta(PageMeta):
    next_cursor: str | None
    """Where the next page begins: subscribers are paged by number or by cursor."""


class SubscriberPage(Schema):
    data: list[SubscriberOut]
    meta: SubscriberPageMeta | CursorMeta


class BatchIn(Body):
    """Each row is as in `POST /subscribers`, without ``list_id``. A bad row is skipped and counted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "list_id": "lst_01k9x3v7m8e5tbn2c4r6p0qzaw",
                    "subscribers": [
                        {"email": "alice@example.com", "first_name": "Alice", "tags": ["imported"]}
                    ],
                }
            ]
        }
    )

    list_id: ListId
    subscribers: Annotated[
        # What is no valid row stays as it was sent: it is counted, not refused.
        list[Annotated[BatchRow | object, Field(union_mode="left_to_right")]], Field(min_length=1)
    ]


class BatchOut(Schema):
    list_id: ListId
    created: int
    updated: int
    reactivated: int
    """Of ``updated``: those that had unsubscribed."""
    invalid: int
    skipped_over_cap: int
    """Rows that your plan has no room for."""
    invalid_examples: list[str]
    """The e-mail addresses of up to 10 invalid rows."""


class BatchMeta(Schema):
    received: int
    processed: int


class BatchAnswer(Schema):
    data: BatchOut
    meta: BatchMeta


class ConsentOut(Schema):
    id: ConsentId
    action: ConsentAction
    list_id: ListId | None
    source: str
    ip: str | None
    text: str | None
    key_id: KeyId | None
    at: Time


class Erased(Schema):
    erased: int
    """Subscribers that were removed: the person may have been on several lists."""
