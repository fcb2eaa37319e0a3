"""Makes a value harmless for the place where it stands in a mail."""

import html
import re
from enum import StrEnum
from urllib.parse import quote

from newsletter.kit.address import with_ascii_host


class Place(StrEnum):
    """Where a slot stands; the letter is what the compiled form stores."""

    PLAIN = "t"
    """A header or the plain-text part."""
    HTML = "h"
    """Text or an attribute of HTML."""
    URL = "u"
    """The beginning of a link in HTML: the value supplies the scheme."""
    PLAIN_URL = "v"
    """The same in the plain-text part."""
    URL_PART = "p"
    """Any later part of a link, in HTML and in plain text."""


_TEXT = (Place.HTML, Place.PLAIN)
DEAD_LINK = "#"
"""What a link becomes whose value is no link that a mail may hold."""

_LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_URL_SAFE = ":/?#[]@!$&'()*+,;=%-._~"

# Line breaks and tabs become spaces; other controls, lone surrogates, marks that turn the
# direction of the text around them and curly braces go: a value never looks like a tag.
_BREAKS = "\t\n\v\f\r\x85\u2028\u2029"
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff{}]"
)
_UNSAFE_IN_COPY = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_UNSAFE_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def _space_or_nothing(match: re.Match[str]) -> str:
    return " " if match.group() in _BREAKS else ""


def clean_value(value: str) -> str:
    """A value as one line without controls, bidi controls and braces."""
    if _UNSAFE.search(value) is None:
        return value.strip()
    return _UNSAFE.sub(_space_or_nothing, value).strip()


def clean_line(text: str) -> str:
    """What an author wrote for a header: one line, without controls and bidi overrides."""
    return _UNSAFE_IN_LINE.sub(_space_or_nothing, text).strip()


def clean_copy(text: str) -> str:
    """What an author wrote as HTML: without the characters that no XML may hold."""
    return _UNSAFE_IN_COPY.sub("", text)


def escape(value: str, place: Place) -> str:
    """``value`` for ``place``. A link with another scheme than http, https or mailto becomes ``#``."""
    if place in _TEXT and value.isalnum():
        return value  # Most names; none of the below could change a letter of them.
    value = clean_value(value)
    if place is Place.HTML:
        return html.escape(value)
    if place is Place.PLAIN or not value:
        return value
    if place is Place.URL_PART:
        return quote(value, safe="")
    if _LINK.match(value) is None:
        return DEAD_LINK
    link = quote(with_ascii_host(value), safe=_URL_SAFE)
    return html.escape(link) if place is Place.URL else link
