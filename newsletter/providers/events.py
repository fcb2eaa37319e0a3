"""What providers report about a mail: one vocabulary, and the tools to map theirs into it.

A `Feed` belongs to one sending server. `Feed.verify` looks at the raw bytes before anything
is read of them; `Feed.parse` then makes events of them. Each event names our message, else it
is about no mail of ours; providers add events all the time, and unknown ones are left out.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeAlias

from newsletter.kit.db import JSONValue

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Gets what is at an https URL; its errors are its own."""

_TOLERANCE = timedelta(minutes=5)
"""Of the Standard Webhooks specification, where each try is signed anew."""
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_OURS = re.compile(r"<?(msg_[0-9a-z]+)(?:\.[0-9a-f]+)?(?:@|\Z)")


class EventKind(StrEnum):
    """What happened to a mail after the provider had accepted it."""

    delivered = "delivered"
    deferred = "deferred"
    """The provider is still trying."""
    bounced = "bounced"
    complained = "complained"
    opened = "opened"
    clicked = "clicked"
    unsubscribed = "unsubscribed"
    rejected = "rejected"
    """The provider dropped it unsent, for a reason of its own such as its suppression list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """One report. Texts have no control characters and stay below 1,000 characters."""

    kind: EventKind
    event_id: str
    """The same for each repetition of one report, and for no other of this server."""
    at: datetime
    message_id: str | None
    """Ours, ``msg_…``; None where the report does not name one."""
    recipient: str | None = None
    is_permanent: bool = False
    """Of a bounce or rejection: the provider calls the address bad for good. Status and reason
    say more than its word: `newsletter.feedback` judges by all three."""
    status: str | None = None
    """The enhanced status code (RFC 3463)."""
    reason: str | None = None
    url: str | None = None
    """Of a click."""
    user_agent: str | None = None
    ip: str | None = None
    machine: str | None = None
    """Why the provider takes an open or a click for that of a machine; None where it does not."""


class BadSignature(Exception):
    """The report does not come from this server's provider, or not now."""


class Malformed(Exception):
    """The report is signed, and still no report that we can read."""


class Feed(Protocol):
    """The reports about one sending server."""

    async def verify(self, raw: bytes, headers: Mapping[str, str], at: datetime) -> None:
        """Raises `BadSignature`. ``headers`` have lower-cased names; ``at`` is now."""

    def key(self, raw: bytes, headers: Mapping[str, str]) -> str:
        """Names a verified report: the same each time it is repeated, and for no other of this
        server; 200 characters at most. Where a signature does not cover the report, it is what
        the signature was made for. Raises `Malformed`."""

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        """The events of a verified report. Raises `Malformed`."""

    def confirmation(self, raw: bytes) -> str | None:
        """The URL to fetch where a verified report asks whether we want reports at all."""


class Report:
    """JSON from outside, read without trust in its shape."""

    def __init__(self, value: JSONValue) -> None:
        self._value = value

    @classmethod
    def read(cls, raw: bytes | str) -> "Report":
        """Raises `Malformed` for what is not JSON."""
        try:
            return cls(json.loads(raw))
        except (ValueError, RecursionError) as error:
            raise Malformed("not JSON") from error

    def __getitem__(self, key: str) -> "Report":
        """What is there; nothing at all where it is not, or where this is no object."""
        return Report(self._value.get(key)) if isinstance(self._value, Mapping) else Report(None)

    def items(self) -> "list[Report]":
        """The members of an array; one of itself for an object, none for anything else."""
        if isinstance(self._value, Mapping):
            return [self]
        if isinstance(self._value, Sequence) and not isinstance(self._value, str):
            return [Report(each) for each in self._value]
        return []

    def text(self, limit: int = 500) -> str | None:
        """A text or number as one clean line; None for an empty one and for anything else."""
        if isinstance(self._value, bool) or not isinstance(self._value, str | int | float):
            return None
        return " ".join(_UNSAFE.sub(" ", str(self._value)).split())[:limit] or None

    def exact(self) -> str:
        """A text as it came, for signatures. Raises `Malformed`."""
        if not isinstance(self._value, str):
            raise Malformed("a field that must be text is missing")
        return self._value

    @property
    def exists(self) -> bool:
        return self._value is not None

    @property
    def is_true(self) -> bool:
        return self._value is True

    def moment(self) -> datetime | None:
        """A time as RFC 3339 or in seconds since 1970; None for anything else."""
        value = self._value
        try:
            if isinstance(value, str):
                at = datetime.fromisoformat(value)
                return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            return None
        return None


def status_in(*texts: str | None) -> str | None:
    """The first enhanced status code that stands in one of the texts."""
    for text in texts:
        if text and (found := _STATUS.search(text)):
            return found[1]
    return None


def our_message(*texts: str | None) -> str | None:
    """Our id, from the metadata or from a Message-ID of ours, whichever comes first. The seal in a
    Message-ID proves nothing here, where the whole report is signed."""
    for text in texts:
        if text and (found := _OURS.match(text)):
            return found[1]
    return None


def fingerprint(*parts: str | bytes | None) -> str:
    """An id made of what tells one report from another, where the provider gives none."""
    encoded = (part.encode() if isinstance(part, str) else part or b"" for part in parts)
    return hashlib.sha256(b"\0".join(encoded)).hexdigest()[:32]


def check_age(stamp: str, at: datetime, tolerance: timedelta = _TOLERANCE) -> None:
    """Raises `BadSignature` for a time, in seconds since 1970, that is too far from ``at``."""
    try:
        signed = datetime.fromtimestamp(int(stamp), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadSignature("the time is missing") from error
    if abs(at - signed) > tolerance:
        raise BadSignature("the time is too far from now")


def same(given: str, expected: str) -> bool:
    """Whether two texts are equal, in a time that tells nothing of the expected one."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
