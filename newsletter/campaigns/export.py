"""The recipients of a campaign as CSV (RFC 4180), in constant memory.

Each page is read in a snapshot of its own: one over the whole export would hold back the
database's housekeeping for as long as the slowest reader takes.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

from newsletter.campaigns import queries
from newsletter.campaigns.schemas import RecipientOut
from newsletter.delivery import queries as delivery
from newsletter.delivery.queries import Filters
from newsletter.kit.db import Database

ROWS_PER_READ = 1_000
COLUMNS = tuple(RecipientOut.model_fields)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula, or skips on its way to one (OWASP,
"CSV Injection")."""


async def lines(
    db: Database, mailing_id: UUID | None, filters: Filters, *, is_raw: bool
) -> AsyncIterator[bytes]:
    """The header, and then a thousand lines at a time. ``is_raw`` leaves formulas as they are."""
    yield _encoded([COLUMNS], is_raw=True)
    after = 0
    while mailing_id is not None:
        async with db.read() as session:
            rows = await delivery.recipients(session, mailing_id, filters, after=after, limit=ROWS_PER_READ)
        if rows:
            shown = (queries.recipient_shown(row).model_dump(mode="json") for row in rows)
            yield _encoded(([row[name] for name in COLUMNS] for row in shown), is_raw=is_raw)
        if len(rows) < ROWS_PER_READ:
            return
        after = rows[-1].seq


def _encoded(rows: Iterable[Iterable[object]], *, is_raw: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        cells = ["" if cell is None else str(cell) for cell in row]
        writer.writerow(cells if is_raw else [harmless(cell) for cell in cells])
    return text.getvalue().encode()


def harmless(cell: str) -> str:
    """Text that no spreadsheet evaluates: an apostrophe goes before what could be a formula."""
    return "'" + cell if cell.startswith(FORMULA) else cell
