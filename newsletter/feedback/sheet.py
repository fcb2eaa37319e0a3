"""Suppressions as CSV, out and in: a sheet that went out comes in again as it is."""

import csv
from collections.abc import AsyncIterator, Collection, Iterator
from io import StringIO
from uuid import UUID

from newsletter.accounts.project import Project
from newsletter.feedback.schemas import SuppressionOut
from newsletter.kit import sheets
from newsletter.kit.db import Database
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.schema import without_nul
from newsletter.suppressions import queries
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Level

ROWS_PER_READ = 1_000
_TOO_MANY = "cells without a column"
COLUMNS = ("email", "reason", "level", "list_id", "domain", "source", "created_at")


async def lines(
    db: Database,
    project: Project,
    *,
    level: Level | None,
    reason: Reason | None,
    list_ids: Collection[UUID],
    is_raw: bool,
) -> AsyncIterator[bytes]:
    """The header, and then a thousand lines at a time, the newest first; without who was erased, of
    whom there is nothing to show."""
    yield sheets.encoded([COLUMNS])
    after: UUID | None = None
    while True:
        async with db.read() as session:
            rows = await queries.listed(
                session,
                project.id,
                level=level,
                reason=reason,
                list_ids=list_ids,
                after=after,
                limit=ROWS_PER_READ,
            )
        shown = [SuppressionOut.of(row).model_dump(mode="json") for row in rows if row.email is not None]
        if shown:
            yield sheets.encoded(([row[name] for name in COLUMNS] for row in shown), is_raw=is_raw)
        if len(rows) < ROWS_PER_READ:
            return
        after = rows[-1].id


def rows(raw: bytes, limit: int) -> list[dict[str, str]]:
    """The rows of a sheet with a line of names, of which ``email`` is one; empty cells are left out.

    Names may be in any case and order; ``created_at`` is ours to say, and ignored. Raises
    `ValidationFailed` for what is no such sheet, and for more than ``limit`` rows.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValidationFailed.of("body", "must be UTF-8") from None
    without_nul("body", text)
    lines = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        found = list(_read(lines, limit))
    except csv.Error as error:
        raise ValidationFailed.of("body", f"is no CSV in line {lines.line_num}: {error}") from None
    if not found:
        raise ValidationFailed.of("body", "must have a row below the names of its columns")
    return found


def _read(lines: Iterator[list[str]], limit: int) -> Iterator[dict[str, str]]:
    names = [name.strip().lower() for name in next(lines, [])]
    if "email" not in names:
        raise ValidationFailed.of("body", "must begin with the names of its columns, email among them")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise ValidationFailed.of("body", f"has columns that are unknown here: {', '.join(unknown)[:200]}")
    if len(names) > len(set(names)):
        raise ValidationFailed.of("body", "names a column twice")
    count = 0
    for line in lines:
        if not any(line):
            continue
        count += 1
        if count > limit:
            raise ValidationFailed.of("body", f"must have at most {limit:,} rows")
        given = {name: cell.strip() for name, cell in zip(names, line, strict=False)}
        if len(line) > len(names):
            # No row has such a field, so this one is refused and shown, and no other with it.
            given[_TOO_MANY] = ",".join(line[len(names) :]) or ","
        cells = {name: sheets.plain(cell) for name, cell in given.items() if cell}
        cells.pop("created_at", None)
        yield cells
