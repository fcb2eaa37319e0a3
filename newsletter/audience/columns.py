"""Subscribers as columns: how rows are sent to PostgreSQL, each column folded to one text (`kit.bulk`)."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from newsletter.audience.consents import Change, Evidence
from newsletter.audience.models import Status
from newsletter.audience.rows import Row
from newsletter.audience.schemas import BatchRow, ConsentIn
from newsletter.kit.bulk import fold, unfolded

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

Columns = list[str | None]

NEW: Final = {
    "id": "uuid",
    **dict.fromkeys(("email", "address_key", "status", "first_name", "last_name"), "text"),
    **dict.fromkeys(("tags", "custom_fields"), "jsonb"),
    **dict.fromkeys(("locale", "timezone", "source", "ip", "text"), "text"),
    "at": "timestamptz",
}
"""The columns of a new subscriber and its consent, and how they are sent."""

CHANGED: Final = {
    "id": "uuid",
    **dict.fromkeys(("first_name", "last_name"), "text"),
    **dict.fromkeys(("tags", "custom_fields"), "jsonb"),
    **dict.fromkeys(("locale", "timezone"), "text"),
}
"""Those of a known one."""


def rows_sql(columns: Mapping[str, str], first: int) -> str:
    """The rows ``new`` of a FROM; the parameters of their columns are those from number ``first`` on."""
    arrays = ", ".join(unfolded(f"${number}", kind) for number, kind in enumerate(columns.values(), first))
    return f"unnest({arrays}) AS new ({', '.join(columns)})"


def of_new(rows: Sequence[Row], consents: Sequence[Change]) -> Columns:
    """In the order of `NEW`. Each new row has its one consent, in the same order."""
    return [
        fold([row.id.hex for row in rows]),
        fold([row.email for row in rows]),
        fold([None if row.address_key == row.email else row.address_key for row in rows]),
        fold([None if row.status is Status.active else row.status.value for row in rows]),
        *of_fields(rows),
        *of_evidence([change.evidence for change in consents]),
    ]


def of_evidence(shown: Sequence[Evidence | ConsentIn | None]) -> Columns:
    """None stands for who shows none: that the API was called."""
    if shown.count(None) == len(shown):
        return [None] * 4
    return [
        fold([None if each is None or each.source == "api" else each.source for each in shown]),
        fold([None if each is None else each.ip for each in shown]),
        fold([None if each is None else each.text for each in shown]),
        fold([None if each is None or each.at is None else each.at.isoformat() for each in shown]),
    ]


def of_changed(rows: Sequence[Row]) -> Columns:
    return [fold([row.id.hex for row in rows]), *of_fields(rows)]


def of_fields(rows: Sequence[Row] | Sequence[BatchRow]) -> Columns:
    return [
        fold([row.first_name for row in rows]),
        fold([row.last_name for row in rows]),
        fold([_JSON.encode(list(dict.fromkeys(row.tags))) if row.tags else None for row in rows]),
        fold([_given(row.custom_fields) if row.custom_fields else None for row in rows]),
        fold([row.locale for row in rows]),
        fold([row.timezone for row in rows]),
    ]


def _given(values: Mapping[str, object]) -> str | None:
    """As JSON; None, as of no fields at all, where none has a value."""
    given = {name: value for name, value in values.items() if value is not None}
    return _JSON.encode(given) if given else None
