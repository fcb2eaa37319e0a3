"""Reads the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit.chain import Entry, Head
from newsletter.accounts.audit.models import AuditChain, AuditEntry
from newsletter.accounts.project import Project

_ENTRY = select(*AuditEntry.__table__.columns)
_HEAD = select(*AuditChain.__table__.columns)


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which entries of the audit log; None does not filter."""

    action: str | None = None
    subject: str | None = None
    key_id: UUID | None = None
    account_id: UUID | None = None
    project_id: UUID | None = None
    method: str | None = None
    route: str | None = None
    status: int | None = None
    ip: str | None = None
    node: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_EQUAL = (
    *("action", "subject", "key_id", "account_id", "method", "route", "status", "ip", "node"),
    "request_id",
)


async def entries(
    session: AsyncSession, project: Project, filters: AuditFilters, *, before: int | None, limit: int
) -> Sequence[Entry]:
    """Of the project, the newest first, those before the entry with this number. What operators did to the
    whole installation belongs to no project and is not among them."""
    statement = _matching(project, filters)
    if before is not None:
        statement = statement.where(AuditEntry.seq < before)
    rows = await session.execute(statement.order_by(AuditEntry.seq.desc()).limit(limit))
    return [Entry._make(row) for row in rows]


async def entries_after(
    session: AsyncSession, project: Project, filters: AuditFilters, seq: int, limit: int
) -> Sequence[Entry]:
    """The same in the order of the chain, those behind the entry with this number."""
    return await _behind(session, _matching(project, filters), seq, limit)


def _matching(project: Project, filters: AuditFilters) -> Select[*tuple[object, ...]]:
    row = AuditEntry
    statement = _ENTRY.where(row.chain_id == project.id)
    if filters.project_id is not None:  # Another project's are not to be had, whatever is asked.
        statement = statement.where(row.chain_id == filters.project_id)
    for name in _EQUAL:
        wanted = getattr(filters, name)
        if wanted is not None:
            statement = statement.where(getattr(row, name) == wanted)
    if filters.since is not None:
        statement = statement.where(row.created_at >= filters.since)
    if filters.until is not None:
        statement = statement.where(row.created_at < filters.until)
    return statement


async def head(session: AsyncSession, chain_id: UUID) -> Head | None:
    """None for a chain that has not begun."""
    row = (await session.execute(_HEAD.where(AuditChain.id == chain_id))).one_or_none()
    return None if row is None else Head(*row)


async def chain_ids(session: AsyncSession) -> Sequence[UUID]:
    """Of all chains that have a head, or an entry without one."""
    heads = await session.scalars(select(AuditChain.id))
    begun = await session.scalars(select(AuditEntry.chain_id).distinct())
    return sorted({*heads, *begun})


async def linked(session: AsyncSession, chain_id: UUID, seq: int, limit: int) -> Sequence[Entry]:
    """The entries of a chain behind this number, in its order."""
    return await _behind(session, _ENTRY.where(AuditEntry.chain_id == chain_id), seq, limit)


async def _behind(
    session: AsyncSession, statement: Select[*tuple[object, ...]], seq: int, limit: int
) -> Sequence[Entry]:
    rows = await session.execute(statement.where(AuditEntry.seq > seq).order_by(AuditEntry.seq).limit(limit))
    return [Entry._make(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Ends:
    """The numbers that a head says, and those that there are beyond them; at one moment."""

    pruned: int
    last: int
    before: int | None
    """The highest one of those that are to be gone; None where they are."""
    behind: int | None
    """The highest one behind the last."""


async def ends(session: AsyncSession, chain_id: UUID) -> Ends:
    highest = select(func.max(AuditEntry.seq)).where(AuditEntry.chain_id == chain_id)
    before = highest.where(AuditEntry.seq <= AuditChain.pruned_seq).correlate(AuditChain).scalar_subquery()
    behind = highest.where(AuditEntry.seq > AuditChain.seq).correlate(AuditChain).scalar_subquery()
    numbers = select(AuditChain.pruned_seq, AuditChain.seq, before, behind)
    return Ends(*(await session.execute(numbers.where(AuditChain.id == chain_id))).one())
