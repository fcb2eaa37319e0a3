"""Rows of analytics as CSV."""

import json
from collections.abc import Iterable
from typing import Any

from newsletter.analytics.schemas import SummaryRow
from newsletter.kit import sheets

SUMMARY_COLUMNS = ("key", "name", *(name for name in SummaryRow.model_fields if name not in ("key", "name")))


def summary_csv(rows: Iterable[SummaryRow], *, is_raw: bool) -> bytes:
    shown = (row.model_dump(mode="json") for row in rows)
    cells = ([row[name] for name in SUMMARY_COLUMNS] for row in shown)
    return sheets.encoded([SUMMARY_COLUMNS]) + sheets.encoded(cells, is_raw=is_raw)


EVENT_COLUMNS = (
    "id",
    "type",
    "created_at",
    "message_id",
    "campaign_id",
    "email",
    "by",
    "reason",
    "url",
    "data",
)
"""The last is all of it, as JSON."""


def events_csv(rows: Iterable[dict[str, Any]], *, has_header: bool = False, is_raw: bool = False) -> bytes:
    header = [EVENT_COLUMNS] if has_header else []
    return sheets.encoded(header) + sheets.encoded((_cells(row) for row in rows), is_raw=is_raw)


def _cells(row: dict[str, Any]) -> list[object]:
    data: dict[str, Any] = row["data"]
    message, subscriber = data.get("message") or {}, data.get("subscriber") or {}
    campaign = message.get("campaign_id") or (data.get("campaign") or {}).get("id")
    seen = data.get("open") or data.get("click") or {}
    why = seen or data.get("bounce") or data.get("failure") or data.get("deferral") or {}
    return [
        *(row["id"], row["type"], row["created_at"], message.get("id"), campaign),
        *(message.get("to") or subscriber.get("email"), seen.get("by"), why.get("reason"), seen.get("url")),
        json.dumps(data, ensure_ascii=False, separators=(",", ":")),
    ]
