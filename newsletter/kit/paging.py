"""Pages: by number for what a person browses, by cursor for what grows without bound."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.errors import ValidationFailed
from newsletter.kit.schema import PageMeta

T = TypeVar("T")
MAX_PER_PAGE = 100
MAX_PAGE = 10_000_000
"""Its first row is still a number that both databases count to."""

MAX_NUMBER = 2**63 - 1
"""The largest number of a row."""


def check(page: int, per_page: int) -> None:
    """Raises `ValidationFailed` naming both fields at once where both are out of range."""
    errors = {}
    if not 1 <= page <= MAX_PAGE:
        errors["page"] = [f"must be between 1 and {MAX_PAGE:,}"]
    if not 1 <= per_page <= MAX_PER_PAGE:
        errors["per_page"] = [f"must be between 1 and {MAX_PER_PAGE}"]
    if errors:
        raise ValidationFailed(errors=errors)


async def numbered(
    session: AsyncSession, statement: Select[T], page: int, per_page: int
) -> tuple[Sequence[T], PageMeta]:
    """One numbered page of an ordered statement, and its meta. A page past the end is empty."""
    check(page, per_page)
    counted = select(func.count()).select_from(statement.order_by(None).subquery())
    total = (await session.execute(counted)).scalar_one()
    rows = (await session.scalars(statement.limit(per_page).offset((page - 1) * per_page))).all()
    last = max(1, -(-total // per_page))
    return rows, PageMeta(current_page=page, per_page=per_page, last_page=last, total=total)


def read_cursor(cursor: str | None) -> UUID | None:
    """The id after which a page begins. Raises `ValidationFailed` for a cursor we did not make."""
    if cursor is None:
        return None
    try:
        return UUID(hex=cursor)
    except ValueError:
        raise ValidationFailed.of("cursor", "must be the next_cursor of an earlier page") from None


def read_number(cursor: str | None) -> int | None:
    """The same for rows that are numbered, whose cursor is the number of the last one."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= len(str(MAX_NUMBER))):
        raise ValidationFailed.of("cursor", "must be the next_cursor of an earlier page")
    return min(int(cursor), MAX_NUMBER)


def next_cursor(ids: Sequence[UUID], per_page: int) -> str | None:
    """None when the page was the last one; ``ids`` are those of the page."""
    return ids[-1].hex if len(ids) == per_page else None
