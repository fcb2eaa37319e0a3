"""The recipients of a campaign as CSV, in constant memory.

Each page is read by itself: one transaction over the whole export would hold back the
database's housekeeping for as long as the slowest reader takes.
"""

from collections.abc import AsyncIterator
from uuid import UUID

from newsletter.campaigns import queries
from newsletter.campaigns.schemas import RecipientOut
from newsletter.delivery import queries as delivery
from newsletter.delivery.queries import Filters
from newsletter.kit import sheets
from newsletter.kit.db import Database

ROWS_PER_READ = 1_000
COLUMNS = tuple(RecipientOut.model_fields)


async def lines(
    db: Database, mailing_id: UUID | None, filters: Filters, *, is_raw: bool
) -> AsyncIterator[bytes]:
    """The header, and then a thousand lines at a time. ``is_raw`` leaves formulas as they are."""
    yield sheets.encoded([COLUMNS])
    after = 0
    while mailing_id is not None:
        async with db.read() as session:
            rows = await delivery.recipients(session, mailing_id, filters, after=after, limit=ROWS_PER_READ)
            shown = await queries.recipients_shown(session, rows)
        if shown:
            written = (row.model_dump(mode="json") for row in shown)
            yield sheets.encoded(([row[name] for name in COLUMNS] for row in written), is_raw=is_raw)
        if len(rows) < ROWS_PER_READ:
            return
        after = rows[-1].seq
