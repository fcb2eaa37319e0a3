"""The event log in monthly parts, and how long it is kept.

On Postgres the table is partitioned by id, which begins with the time (UUIDv7): a month that
nobody needs any more is dropped as a whole, in no time and without a dead row. SQLite has one
table, from which old rows are deleted.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events.models import Event
from newsletter.kit import clock, ids
from newsletter.kit.db import Database, is_postgresql

log = structlog.get_logger(__name__)

MONTHS_AHEAD = 3
"""Parts that are made before their month begins: for as long may no worker run, and no event
lands in the part for all the rest."""
ROWS_AT_ONCE = 5_000
"""Rows of one DELETE on SQLite: some 20 ms in which nobody else writes."""

_LOCK = 7267390162
_REST = "events_default"
"""Takes what has no part of its own, so that no event is ever refused."""


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    number: int

    @classmethod
    def of(cls, at: datetime) -> "Month":
        at = at.astimezone(UTC)
        return cls(at.year, at.month)

    def after(self, months: int = 1) -> "Month":
        year, number = divmod(self.year * 12 + self.number - 1 + months, 12)
        return Month(year, number + 1)

    @property
    def start(self) -> datetime:
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def table(self) -> str:
        return f"events_{self.year}{self.number:02}"

    @property
    def bounds(self) -> tuple[UUID, UUID]:
        """The smallest id of the month, and of the one after."""
        return ids.first_of(self.start), ids.first_of(self.after().start)


async def prepare(session: AsyncSession, at: datetime | None = None) -> None:
    """Makes the parts of this month and of the next `MONTHS_AHEAD`, where they are missing.

    What had to go into the part for all the rest meanwhile moves into its own. Safe to repeat
    and beside another worker; on SQLite there is nothing to do.
    """
    if not is_postgresql(session):
        return
    month = Month.of(at or clock.now())
    wanted = [month.after(number) for number in range(MONTHS_AHEAD + 1)]
    if {each.table for each in wanted} <= await _tables(session):
        return
    await session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    known = await _tables(session)
    for month in wanted:
        if month.table not in known:
            await _make(session, month)


async def prune(db: Database, keep_days: int, at: datetime | None = None) -> None:
    """Removes what is older than ``keep_days``: on Postgres the months that ended before, so an
    event may stay up to 31 days longer; on SQLite up to `ROWS_AT_ONCE` rows of one call."""
    oldest = (at or clock.now()) - timedelta(days=keep_days)
    if db.is_sqlite:
        await _delete_rows(db, ids.first_of(oldest))
        return
    first_kept = Month.of(oldest)
    await _drop_months(db, first_kept)
    # What is older now lies in the part for all the rest: its month passed while no worker ran to make one.
    await _delete_rows(db, first_kept.bounds[0])


async def _delete_rows(db: Database, first_kept: UUID) -> None:
    old = select(Event.id).where(Event.id < first_kept).order_by(Event.id).limit(ROWS_AT_ONCE)
    async with db.read() as session:
        if (await session.execute(old.limit(1))).first() is None:
            return
    async with db.unit_of_work() as session:
        await session.execute(delete(Event).where(Event.id.in_(old)))


async def _drop_months(db: Database, first_kept: Month) -> None:
    async with db.read() as session:
        old = {table for table in await _tables(session) if table != _REST and table < first_kept.table}
    for table in sorted(old):
        async with db.unit_of_work() as session:
            # Dropping a part asks for the whole log, and writers queue behind who waits for it.
            await session.execute(text("SET LOCAL lock_timeout = '500ms'"))
            await session.execute(text(f"DROP TABLE IF EXISTS {table}"))
            log.info("a month of events was dropped", table=table)


async def _tables(session: AsyncSession) -> set[str]:
    """The names of the log's parts."""
    found = await session.scalars(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass")
    )
    return set(found)


async def _make(session: AsyncSession, month: Month) -> None:
    # A table that is attached takes no lock that a reader or writer of the log would wait for;
    # only the part for all the rest, which is empty as a rule, is held for a moment.
    low, high = month.bounds
    for statement in (
        f"CREATE TABLE {month.table} (LIKE events INCLUDING CONSTRAINTS)",
        f"LOCK TABLE {_REST} IN ACCESS EXCLUSIVE MODE",
        f"INSERT INTO {month.table} SELECT * FROM {_REST} WHERE id >= '{low}' AND id < '{high}'",  # noqa: S608
        f"DELETE FROM {_REST} WHERE id >= '{low}' AND id < '{high}'",  # noqa: S608 - names of ours.
        f"ALTER TABLE events ATTACH PARTITION {month.table} FOR VALUES FROM ('{low}') TO ('{high}')",
    ):
        await session.execute(text(statement))
