"""What the examples of several resources have in common."""

from typing import Any, Final

JSON = dict[str, Any]

LIST: Final = "lst_01k9x3v7m8e5tbn2c4r6p0qzaw"
SUBSCRIBER: Final = "sub_01k9x3v7m8e5tbn2c4r6p0qzaw"
TEMPLATE: Final = "tpl_01k9x3v7m8e5tbn2c4r6p0qzaw"
AT: Final = "2026-11-21T09:30:00Z"
LATER: Final = "2030-01-07T09:00:00+01:00"


def call(summary: str, **body: Any) -> JSON:
    """An example of a request's body, and what it is an example of."""
    return {"summary": summary, "value": body}
