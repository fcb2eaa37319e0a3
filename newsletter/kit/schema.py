"""The base of every schema at an edge, and the envelopes around them."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic.functional_validators import AfterValidator, BeforeValidator

from newsletter.kit.clock import rfc3339
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.wording import INSTANT, REAL_TIME, of_body, plain

T = TypeVar("T")


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _written_out(at: object) -> object:
    """Refuses seconds since 1970, which say neither their unit nor that they mean an instant."""
    if isinstance(at, datetime) or (isinstance(at, str) and re.match(r"\d{4}-\d\d-\d\d", at)):
        return at
    raise ValueError(INSTANT)


def in_utc(at: datetime) -> datetime:
    """The same instant. Raises `ValueError` where UTC's calendar has none."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be between the years 1 and 9999 in UTC") from None


def instant(field: str, text: str | None) -> datetime | None:
    """A time of the query string, in UTC. It comes as text, since the framework would read a bare number
    as seconds since 1970. Raises `ValidationFailed` for what is no moment with its zone (RFC 3339 §5.6)."""
    if text is None:
        return None
    if _RFC3339.fullmatch(text) is None:
        raise ValidationFailed.of(field, INSTANT)
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValidationFailed.of(field, REAL_TIME) from None
    try:
        return in_utc(at)
    except ValueError as error:
        raise ValidationFailed.of(field, str(error)) from None


def without_nul(field: str, text: str | None) -> str | None:
    """A text that came outside of a `Body`. Raises `ValidationFailed` for one that PostgreSQL cannot hold."""
    if text is not None and "\0" in text:
        raise ValidationFailed.of(field, "must not contain the NUL character")
    return text


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_written_out),
    AfterValidator(in_utc),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant: RFC 3339 with a zone coming in, UTC going out."""
LocalTime = Annotated[datetime, BeforeValidator(_written_out)]
"""A date and time whose zone another field may name: whoever takes it makes an instant of it."""


# Control characters (category Cc), line separators, and the controls of writing direction that stay
# in force beyond their text. Asked letter by letter, a name took a tenth of the time of its row.
_TURNING = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")


def _one_line(text: str) -> str:
    """Refuses what could break a mail header or turn text around on a screen."""
    if _TURNING.search(text):
        raise ValueError("must be one line without control characters")
    return text.strip()


Line = Annotated[str, AfterValidator(_one_line)]
"""Text that ends up in a header or beside others on one line: no control characters."""


def _true_or_false(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


# Pydantic's own `StrictBool` is lax where Litestar asks it to be, which is everywhere.
Switch = Annotated[bool, BeforeValidator(_true_or_false)]
"""On or off; 1, "yes" and "true" are refused."""


class Schema(BaseModel):
    """Something we send: fields are read from attributes, names are snake_case."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class Body(BaseModel):
    """Something we are sent: unknown fields are refused, NUL is refused in any text.

    PostgreSQL's ``text`` cannot hold NUL, so it is refused here rather than there.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: object) -> object:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("must not contain the NUL character")
        return value

    def sent(self, field: str) -> bool:
        """Whether the caller wrote this field at all: PATCH tells null from absent."""
        return field in self.model_fields_set


def absent() -> Any:
    """The default of a member of which a body has one in the place of others: null when it is not there, and
    left out again where the body is shown."""
    return Field(default=None, exclude_if=lambda value: value is None)


class Envelope(Schema):
    """What stands around resources; its fields speak for themselves."""

    # Each ``Data[X]`` would search the sources of all loaded modules for docstrings: in all,
    # seconds of every start.
    model_config = ConfigDict(use_attribute_docstrings=False)


class Data(Envelope, Generic[T]):
    """The envelope of one resource."""

    data: T


class PageMeta(Schema):
    current_page: int
    per_page: int
    last_page: int
    total: int


class Page(Envelope, Generic[T]):
    """The envelope of a numbered page."""

    data: list[T]
    meta: PageMeta


class CursorMeta(Schema):
    per_page: int
    next_cursor: str | None


class CursorPage(Envelope, Generic[T]):
    """The envelope of a page of an unbounded log."""

    data: list[T]
    meta: CursorMeta


def bad_fields(error: ValidationError) -> dict[str, list[str]]:
    """What is wrong with each field, nested ones as ``ai.prompt``."""
    found: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        # Pydantic marks a bad name, as against a bad value under it.
        place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        if place:
            found.setdefault(place, []).append(plain(problem["msg"]))
        else:
            found.setdefault("body", []).append(of_body(problem["msg"]))
    return found
