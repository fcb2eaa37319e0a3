"""Examples of segments, for `newsletter.api.examples`."""

from typing import Any, Final

JSON = dict[str, Any]

_LIST: Final = "lst_01k9x3v7m8e5tbn2c4r6p0qzaw"
_AT: Final = "2026-11-21T09:30:00Z"
_PARIS: Final[JSON] = {
    "all": [
        {"field": {"name": "city", "equals": "Paris"}},
        {"created_at": {"within_days": 90}},
        {"none": [{"tag": "staff"}, {"domain": "acme.example.com"}]},
    ]
}


def _call(summary: str, **body: Any) -> JSON:
    return {"summary": summary, "value": body}


REQUESTS: Final[dict[str, JSON]] = {
    "create_segment": {
        "paris": _call("Who came lately, in one town", list_id=_LIST, name="New in Paris", conditions=_PARIS),
        "german": _call(
            "Who reads German, or buys a lot",
            list_id=_LIST,
            name="German readers and good customers",
            description="For the letter of the Vienna shop.",
            conditions={
                "any": [
                    {"field": {"name": "locale", "starts_with": "de"}},
                    {"field": {"name": "orders", "above": 10}},
                ]
            },
        ),
    },
    "update_segment": {"name": _call("Another name", name="New in Paris, this season")},
    "preview_segment": {"paris": _call("How many would that be?", list_id=_LIST, conditions=_PARIS)},
}

_SEGMENT: Final[JSON] = {
    "id": "seg_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "list_id": _LIST,
    "name": "New in Paris",
    "description": None,
    "conditions": _PARIS,
    "version": 1,
    "created_at": _AT,
    "updated_at": _AT,
}

ANSWERS: Final[dict[str, JSON]] = {
    "create_segment": {"data": _SEGMENT},
    "get_segment": {"data": _SEGMENT},
    "count_segment": {"data": {"total_subscribers": 412, "active_subscribers": 398, "counted_at": _AT}},
}
"""By operation id."""
