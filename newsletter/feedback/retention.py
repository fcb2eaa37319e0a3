"""Ends what is remembered of reports and returned mails, so that they are not read twice."""

from datetime import datetime

from sqlalchemy import delete, select

from newsletter.feedback.models import ProviderReport, ReturnedMail, SoftBounces
from newsletter.kit.db import Database

ROWS_AT_ONCE = 5_000


async def drop_reports(db: Database, before: datetime) -> bool:
    """Drops reports and returned mails of ``before``, those that could not be read included; up to
    `ROWS_AT_ONCE` of each. False where there were none."""
    found = False
    for table in (ProviderReport, ReturnedMail):
        old = select(table.id).where(table.received_at < before).limit(ROWS_AT_ONCE)
        async with db.read() as session:
            if (await session.execute(old.limit(1))).first() is None:
                continue
        async with db.unit_of_work() as session:
            await session.execute(delete(table).where(table.id.in_(old)))
        found = True
    return found


async def drop_counts(db: Database, before: datetime) -> bool:
    """Drops counts of soft bounces that began ``before`` and so would begin anew. False where there were
    none."""
    is_old = SoftBounces.since < before
    async with db.read() as session:
        if (await session.execute(select(SoftBounces.count).where(is_old).limit(1))).first() is None:
            return False
    async with db.unit_of_work() as session:
        await session.execute(delete(SoftBounces).where(is_old))
    return True
