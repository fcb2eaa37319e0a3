"""Rows as files: CSV (RFC 4180), harmless in a spreadsheet, and JSON lines."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

JSON_LINES = "application/jsonl"

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula, or skips on its way to one (OWASP,
"CSV Injection")."""


def encoded(rows: Iterable[Iterable[object]], *, is_raw: bool = False) -> bytes:
    """Lines in UTF-8; None is an empty cell. ``is_raw`` leaves formulas as they are."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        cells = [("" if cell is None else cell) for cell in row]
        writer.writerow(cells if is_raw else [harmless(cell) for cell in cells])
    return text.getvalue().encode()


def harmless(cell: object) -> object:
    """Text that no spreadsheet evaluates: an apostrophe goes before what could be a formula. A number
    of ours is one, below zero, too."""
    if isinstance(cell, int | float):
        return cell
    return "'" + text if _is_formula(text := str(cell)) else text


def plain(text: str) -> str:
    """What `harmless` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    """Or what `harmless` makes of one: so an address that begins with an apostrophe comes back as it was."""
    return text.lstrip("'").startswith(FORMULA)


def json_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """One JSON object a line, in UTF-8."""
    return b"".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in rows
    )
