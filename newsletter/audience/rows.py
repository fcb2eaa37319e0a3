"""Reads subscribers for a writer, and writes them back many at a time.

A batch of 1,000 rows is a handful of statements: one to read, one to insert, one to
update. Rows in a writer's hand are detached, so that no flush writes them one by one.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience.models import Subscriber

_COLUMNS = tuple(Subscriber.__table__.columns.keys())
_FIXED = frozenset({"project_id", "list_id", "email", "address_key", "created_at"})
_CHANGING = tuple(column for column in _COLUMNS if column not in _FIXED)


async def locked(
    session: AsyncSession, project: Project, *conditions: ColumnElement[bool]
) -> list[Subscriber]:
    """The project's rows under these conditions, locked in one order. `save` writes them."""
    statement = (
        select(Subscriber)
        .where(Subscriber.project_id == project.id, *conditions)
        .order_by(Subscriber.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    found = list((await session.scalars(statement)).all())
    for row in found:
        session.expunge(row)
    return found


async def add(session: AsyncSession, new: Sequence[Subscriber]) -> None:
    if new:
        await session.execute(insert(Subscriber), [_values(row, _COLUMNS) for row in new])


async def save(session: AsyncSession, changed: Sequence[Subscriber]) -> None:
    if changed:
        await session.execute(update(Subscriber), [_values(row, _CHANGING) for row in changed])


def _values(row: Subscriber, columns: Sequence[str]) -> dict[str, object]:
    return {column: getattr(row, column) for column in columns}
