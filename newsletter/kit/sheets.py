"""Rows as CSV (RFC 4180), harmless in a spreadsheet."""

import csv
import io
from collections.abc import Iterable

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
    return "'" + text if (text := str(cell)).startswith(FORMULA) else text
