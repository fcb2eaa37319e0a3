"""Rows of analytics as CSV and as JSON lines."""

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


def json_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """One JSON object a line, in UTF-8."""
    return b"".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in rows
    )
