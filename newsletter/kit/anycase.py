"""Looks for a text in another in any case, alike on both databases.

What is looked for is folded by the database, too. Folded here, it was not found in the very same text on
PostgreSQL: Python writes the Σ at the end of a word as ς, which PostgreSQL, letter by letter, does not, and
of İ it makes two letters. Here both sigmas are one, and İ is i.
"""

from typing import Any

from sqlalchemy import ColumnElement, func, literal
from sqlalchemy.orm import InstrumentedAttribute

Text = ColumnElement[Any] | InstrumentedAttribute[Any]

_ESCAPE = "/"


def contains(column: Text, text: str) -> ColumnElement[bool]:
    """A condition for a ``WHERE``; NULL where the column is."""
    return _folded(column).contains(_folded(_escaped(text)), escape=_ESCAPE)


def starts_with(column: Text, text: str) -> ColumnElement[bool]:
    return _folded(column).startswith(_folded(_escaped(text)), escape=_ESCAPE)


def _folded(text: Text) -> ColumnElement[str]:
    return func.replace(func.lower(func.replace(text, "İ", "i")), "ς", "\N{GREEK SMALL LETTER SIGMA}")


def _escaped(text: str) -> ColumnElement[str]:
    """With what has a meaning to ``LIKE`` as itself."""
    for letter in (_ESCAPE, "%", "_"):
        text = text.replace(letter, _ESCAPE + letter)
    return literal(text)
