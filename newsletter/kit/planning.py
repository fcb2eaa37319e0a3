"""When PostgreSQL plans a statement."""

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.db import is_postgresql


async def plan_anew(session: AsyncSession) -> None:
    """Has each statement of this transaction planned for its own values, and for its tables as large as they
    are now; nothing on SQLite. To be called first.

    A connection keeps a plan that was made while a table was small until the table's statistics are
    renewed, a minute later at best; and one that is for all values reckons with a status as frequent as any
    other. Where a history grows by thousands of rows a second, such a plan reads all of it for each row.
    Planning costs the server some tenths of a millisecond for each statement: for transactions that do much
    in few statements, not for what runs for every mail (`newsletter.delivery.rounds` is spelled so that no
    plan can be wrong).
    """
    if is_postgresql(session):
        connection = await session.connection()
        await connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_custom_plan")
