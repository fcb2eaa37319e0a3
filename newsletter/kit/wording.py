"""What is wrong with a field, in the words of JSON and of whoever sent it rather than in Pydantic's."""

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

_Said: TypeAlias = str | Callable[[re.Match[str]], str]


def _size(match: re.Match[str]) -> str:
    # Where a text was trimmed before it was measured, Pydantic speaks of a value and of items. It would of a
    # list, too: lists are measured before their own validators, which a test sees to.
    unit = "character" if match[1] in ("String", "Value") else "item"
    return f"must have at {match[2]} {match[3]} {unit}{'' if match[3] == '1' else 's'}"


INSTANT: Final = "must be a date and time with zone, such as 2026-11-21T09:00:00Z (RFC 3339)"
REAL_TIME: Final = "must be a valid date and time, such as 2026-11-21T09:00:00Z (RFC 3339)"
"""Said of a day or an hour that there is not, and of what stands behind a day and is no time."""
_OWN: Final = "Value error, "
"""Begins the messages of our own validators."""
_SAYINGS: Final[tuple[tuple[re.Pattern[str], _Said], ...]] = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (_OWN, ""),
        (r"Field required", "is required"),
        (r"Extra inputs are not permitted", "is not a known field"),
        (r"(\w+) should have at (least|most) (\d+) (?:item|character)s?.*", _size),
        (
            r"(?:Input should be a valid|Unable to parse input string as an) integer.*",
            "must be a whole number",
        ),
        (r"Input should be a (?:valid|finite) number.*", "must be a number"),
        (r"Input should be a valid string.*", "must be a text"),
        (r"Input should be a valid (?:dictionary|object).*", "must be an object"),
        (r"Input should be a valid (?:list|tuple|array).*", "must be a list"),
        (r"Input should be a valid boolean.*", "must be true or false"),
        # Of the query, whose values the framework reads without Pydantic.
        (r"Expected `int(?: \| null)?`.*", "must be a whole number"),
        (r"Expected `bool(?: \| null)?`.*", "must be true or false"),
        (r"Input should have timezone info", INSTANT),
        (r"Input should be a valid datetime.*", REAL_TIME),
        (r"Input should be a valid date.*", "must be a valid date"),
        (r"Invalid RFC3339 encoded date", "must be a date, such as 2026-11-21"),
        (r"Input should be greater than or equal to ", "must be at least "),
        (r"Input should be less than or equal to ", "must be at most "),
        (r"Input should be (?:a valid )?", "must be "),
        (r"(?:String|Value) should match pattern ", "must match the pattern "),
    )
)


def plain(message: str) -> str:
    """The message of a validation error as the rest of a sentence that begins with the field's name.

    Messages of our own validators stay as they are.
    """
    for pattern, said in _SAYINGS:
        found = pattern.match(message)
        if found is not None:
            message = pattern.sub(said, message, count=1)
            break
    return " ".join(message.split())


def of_body(message: str) -> str:
    """What is wrong with a body as a whole: in the words of a check of its own, or that it is no object."""
    return plain(message) if message.startswith(_OWN) else "must be a JSON object"


def one_of(choices: Sequence[str]) -> str:
    """In the words that Pydantic has for an enumeration."""
    return f"must be {listed(choices, 'or')}"


def listed(names: Sequence[str], word: str = "and") -> str:
    """Names in quotes, the last of several behind ``word``. There must be one."""
    *first, last = (f"'{name}'" for name in names)
    return f"{', '.join(first)} {word} {last}" if first else last
