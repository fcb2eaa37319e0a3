"""Single mails as the API takes them."""

import base64
import binascii
import mimetypes
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
    field_validator,
)

from newsletter.accounts.schemas import UTM
from newsletter.audience.schemas import Scalar, ScalarField
from newsletter.delivery import headers
from newsletter.delivery.headers import HeaderInvalid
from newsletter.kit import address, clock
from newsletter.kit.address import Address, SenderAddress
from newsletter.kit.schema import Body, Line, Switch, Time
from newsletter.providers.base import Purpose
from newsletter.templates.branding import LAYOUT_NAMES
from newsletter.templates.layouts import CONTENT
from newsletter.templates.schemas import TemplateId

LATEST = timedelta(days=36_525)
"""From now on, for which a mail may be scheduled: the calendar ends, and tries come after."""

MAX_NAME = 200
MAX_TAG = 200
MAX_TAGS = 20
MAX_HEADERS = 20
MAX_HEADER = 900
MAX_VARIABLES = 200
MAX_VARIABLE = 10_000

_NAMED = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*", re.DOTALL)
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$&'*+/=?^_`{|}~.@-]{1,200}")
_SAFE_HEADERS = frozenset(
    {"auto-submitted", "comments", "importance", "in-reply-to", "keywords", "organization", "priority"}
    | {"references", "sensitivity"}
)
_STEERING = ("x-smtpapi", "x-ses-", "x-mailgun-", "x-pm-", "x-mc-", "x-mandrill-", "x-newsletter-")
"""Headers by which a provider would be told to do something else than what was asked here."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``alice@example.com`` or ``Alice Doe <alice@example.com>``."""

    address: Address
    name: str | None = None

    @classmethod
    def parse(cls, text: object) -> "Mailbox":
        if isinstance(text, Mailbox):
            return text
        if not isinstance(text, str) or len(text) > MAX_NAME + 330:
            raise ValueError("must be an e-mail address, alone or as in 'Alice Doe <alice@example.com>'")
        named = _NAMED.fullmatch(text)
        if named is None:
            return cls(address.parse(text))
        name = named["name"]
        if name[:1] == '"' == name[-1:] and len(name) > 1:
            name = re.sub(r"\\(.)", r"\1", name[1:-1], flags=re.DOTALL)
        if headers.clean(name) != name.strip(" ") or len(name) > MAX_NAME:
            raise ValueError(f"must have a name of one line and at most {MAX_NAME} characters")
        return cls(address.parse(named["address"]), name.strip() or None)


_MAILBOX_SCHEMA = {"type": "string", "examples": ["alice@example.com", "Alice Doe <alice@example.com>"]}
MailboxField = Annotated[Mailbox, PlainValidator(Mailbox.parse), WithJsonSchema(_MAILBOX_SCHEMA)]


def _as_list(value: object) -> object:
    return [Mailbox.parse(value)] if isinstance(value, str) else value


People = Annotated[
    list[MailboxField],
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [_MAILBOX_SCHEMA, {"type": "array", "items": _MAILBOX_SCHEMA}],
            "examples": ["alice@example.com", ["Alice Doe <alice@example.com>", "bob@example.com"]],
        }
    ),
]


def _tag_list(value: object) -> object:
    """An object's members become ``key:value``: one form for filters, events and statistics."""
    if not isinstance(value, dict):
        return value
    if not all(isinstance(one, str | int | bool) for one in value.values()):
        raise ValueError("must have texts as values")
    return [f"{name}:{str(one).lower() if isinstance(one, bool) else one}" for name, one in value.items()]


Tag = Annotated[Line, Field(min_length=1, max_length=MAX_TAG)]
Tags = Annotated[
    list[Tag],
    Field(max_length=MAX_TAGS),
    BeforeValidator(_tag_list),
    AfterValidator(lambda tags: list(dict.fromkeys(tags))),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "maxItems": MAX_TAGS, "items": {"type": "string", "maxLength": MAX_TAG}},
                {"type": "object", "additionalProperties": {"type": "string"}},
            ],
            "examples": [["onboarding"], {"type": "welcome"}],
        }
    ),
]

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,49}$", examples=["first_name"])]
_TAKEN = LAYOUT_NAMES | {CONTENT, "unsubscribe_url", "view_in_browser_url"}


def _variables(values: dict[str, Scalar]) -> dict[str, Scalar]:
    for name, value in values.items():
        if name in _TAKEN:
            raise ValueError(f"'{name}' has a meaning already; choose another name")
        if isinstance(value, str) and len(value) > MAX_VARIABLE:
            raise ValueError(f"'{name}' must have at most {MAX_VARIABLE:,} characters")
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"'{name}' must not contain the NUL character")
        if isinstance(value, float) and not abs(value) < float("inf"):
            raise ValueError(f"'{name}' must be a finite number")
    return values


def is_settable(name: str) -> bool:
    """Whether a mail may have a header of this name from its author, or it is refused for what it would do
    elsewhere; all others are for the service to write."""
    return name.lower() in _SAFE_HEADERS or name.lower().startswith("x-")


def _headers(fields: dict[str, str]) -> dict[str, str]:
    for name, value in fields.items():
        kind = name.lower()
        if not is_settable(kind) or kind.startswith(_STEERING):
            raise ValueError(f"'{name}' cannot be set; 'X-…', In-Reply-To and References can")
        try:
            headers.custom(name, value)
        except HeaderInvalid as error:
            raise ValueError(str(error)) from None
    if len({name.lower() for name in fields}) < len(fields):
        raise ValueError("must name each header once")
    return fields


HeaderText = Annotated[Line, Field(max_length=MAX_HEADER)]


class AttachmentIn(Body):
    """A file that goes with the mail."""

    filename: Annotated[Line, Field(min_length=1, max_length=200, examples=["invoice.pdf"])]
    content: Annotated[
        bytes,
        PlainValidator(lambda value: _decoded(value)),
        WithJsonSchema({"type": "string", "format": "byte"}),
    ]
    """In base64."""
    content_type: Annotated[str, Field(max_length=127, examples=["application/pdf"])] | None = None
    """Guessed from the name when left out."""
    content_id: Annotated[str, Field(max_length=200, examples=["logo"])] | None = None
    """Shows a picture inside the HTML, as ``<img src="cid:logo">``."""

    @field_validator("filename")
    @classmethod
    def _no_path(cls, name: str) -> str:
        if "/" in name or "\\" in name:
            raise ValueError("must be a name without a path")
        return name

    @field_validator("content_type")
    @classmethod
    def _one_part(cls, kind: str | None) -> str | None:
        if kind is None:
            return None
        kind = kind.strip().lower()
        if not _TYPE.fullmatch(kind) or kind.startswith(("multipart/", "message/")):
            raise ValueError("must be a media type such as application/pdf")
        return kind

    @field_validator("content_id")
    @classmethod
    def _token(cls, content_id: str | None) -> str | None:
        if content_id is not None and not _CONTENT_ID.fullmatch(content_id):
            raise ValueError("must be letters, digits and -_.@ without spaces")
        return content_id

    @property
    def media_type(self) -> str:
        guessed = self.content_type or mimetypes.guess_type(self.filename)[0] or "application/octet-stream"
        return "application/octet-stream" if guessed.startswith(("multipart/", "message/")) else guessed


def _decoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("must be base64")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64") from None


# Frozen, as a default that might change is copied for each call: 30 µs for these two.
class RoutingIn(Body, frozen=True):
    purpose: Purpose = Purpose.transactional
    """``marketing`` adds the footer with its unsubscribe link, and is not sent to who unsubscribed."""


class TrackingIn(Body, frozen=True):
    """The project's own settings where a switch is left out."""

    opens: Switch | None = None
    clicks: Switch | None = None
    utm: UTM | None = None
    """Added to links, tracked or not; a member that is null takes the project's away."""


class Send(Body):
    """One mail. ``html``, ``text`` or ``template_id`` says what; a missing text is made from the HTML."""

    from_: Annotated[MailboxField | None, Field(alias="from")] = None
    """The project's sender when left out."""
    to: People
    """May be empty for blind copies alone: each of them then sees the own address and no other."""
    cc: People = []  # noqa: RUF012 - pydantic copies it.
    bcc: People = []  # noqa: RUF012
    """Get the mail and are named in nobody's."""
    reply_to: SenderAddress | None = None
    subject: Annotated[Line, Field(min_length=1, max_length=300, examples=["Welcome to Acme"])]
    html: Annotated[str, Field(min_length=1, examples=["<p>Thanks for joining.</p>"])] | None = None
    text: Annotated[str, Field(min_length=1)] | None = None
    template_id: TemplateId | None = None
    """A template that goes around ``html``; its declared variables are filled from ``variables``."""
    variables: Annotated[
        dict[VariableName, ScalarField], Field(max_length=MAX_VARIABLES), AfterValidator(_variables)
    ] = {}  # noqa: RUF012
    """Values of merge tags in subject, HTML, text and template."""
    tags: Tags = []  # noqa: RUF012
    """As a list, or as an object whose members become ``key:value``."""
    headers: Annotated[dict[str, HeaderText], Field(max_length=MAX_HEADERS), AfterValidator(_headers)] = {}  # noqa: RUF012
    """``X-…``, ``In-Reply-To``, ``References`` and a few more."""
    attachments: list[AttachmentIn] = []  # noqa: RUF012
    scheduled_at: Time | None = None
    """A time in the future; now when left out."""
    routing: RoutingIn = RoutingIn()
    tracking: TrackingIn = TrackingIn()

    @field_validator("scheduled_at")
    @classmethod
    def _future(cls, at: Time | None) -> Time | None:
        if at is not None and at <= clock.now():
            raise ValueError("must be in the future")
        if at is not None and at > clock.now() + LATEST:
            raise ValueError("must be within the next hundred years")
        return at

    @field_validator("html", "text")
    @classmethod
    def _not_blank(cls, text: str | None) -> str | None:
        if text is not None and not text.strip():
            raise ValueError("must not be empty")
        return text


class Bulk(Body):
    """Each is a call of `POST /send` in itself; bad ones fail alone."""

    messages: list[Any]
    """1 to 1,000 bodies as of `POST /send`."""
