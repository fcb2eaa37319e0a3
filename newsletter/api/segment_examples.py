"""Examples of segments, for `newsletter.api.examples`."""

from typing import Final

from newsletter.api.example_parts import AT, JSON, LIST, call

_PARIS: Final[JSON] = {
    "all": [
        {"field": {"name": "city", "equals": "Paris"}},
        {"created_at": {"within_days": 90}},
        {"none": [{"tag": "staff"}, {"domain": "acme.example.com"}]},
    ]
}


REQUESTS: Final[dict[str, JSON]] = {
    "create_segment": {
        "paris": call("Who came lately, in one town", list_id=LIST, name="New in Paris", conditions=_PARIS),
        "german": call(
            "Who reads German, or buys a lot",
            list_id=LIST,
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
    "update_segment": {"name": call("Another name", name="New in Paris, this season")},
    "preview_segment": {"paris": call("How many would that be?", list_id=LIST, conditions=_PARIS)},
}

_SEGMENT: Final[JSON] = {
    "id": "seg_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "list_id": LIST,
    "name": "New in Paris",
    "description": None,
    "conditions": _PARIS,
    "version": 1,
    "created_at": AT,
    "updated_at": AT,
}

ANSWERS: Final[dict[str, JSON]] = {
    "create_segment": {"data": _SEGMENT},
    "get_segment": {"data": _SEGMENT},
    "count_segment": {"data": {"total_subscribers": 412, "active_subscribers": 398, "counted_at": AT}},
}
"""By operation id."""
