"""Reads subscribers for a writer, and writes them back many at a time.

A batch of 1,000 rows is a handful of statements: one to read, one to insert, one to update. What
a writer has in hand are plain values, so that no flush writes them one by one, and because an
instance of a mapped class takes 24 µs to make and one of these 1 µs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience.models import Status, Subscriber
from newsletter.kit import bulk


@dataclass(slots=True)
class Row:
    """One row of `Subscriber`; the fields have the names and the order of its columns."""

    id: UUID
    project_id: UUID
    list_id: UUID
    email: str
    address_key: str
    first_name: str | None
    last_name: str | None
    tags: list[str]
    custom_fields: dict[str, Any]
    locale: str | None
    timezone: str | None
    status: Status
    subscribed_at: datetime | None
    unsubscribed_at: datetime | None
    created_at: datetime
    updated_at: datetime


_COLUMNS = tuple(Subscriber.__table__.columns)
_NAMES = tuple(column.key for column in _COLUMNS)
_FIXED = frozenset({"project_id", "list_id", "email", "address_key", "created_at"})
_CHANGING = tuple(name for name in _NAMES if name not in _FIXED)


async def locked(session: AsyncSession, project: Project, *conditions: ColumnElement[bool]) -> list[Row]:
    """The project's rows under these conditions, locked in one order. `save` writes them."""
    statement = (
        select(*_COLUMNS)
        # The project in a form that fits no index: in its plain form one that begins with it was taken
        # for the key of a few subscribers, and the whole project read (ADR 44).
        .where((Subscriber.project_id == project.id).is_(true()), *conditions)
        .order_by(Subscriber.id)
        .with_for_update()
    )
    return [Row(*values) for values in await session.execute(statement)]


async def add(session: AsyncSession, new: Sequence[Row]) -> None:
    await bulk.insert_rows(session, Subscriber, _values(new, _NAMES))


async def save(session: AsyncSession, changed: Sequence[Row]) -> None:
    await bulk.update_rows(session, Subscriber, _values(changed, _CHANGING))


def _values(found: Sequence[Row], names: tuple[str, ...]) -> list[dict[str, object]]:
    read = attrgetter(*names)
    return [dict(zip(names, read(row), strict=True)) for row in found]
