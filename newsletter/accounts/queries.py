"""Reads accounts and projects."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.models import Account, ProjectRow
from newsletter.accounts.project import Profile, Project
from newsletter.kit.prepared import Prepared


async def project_row(session: AsyncSession, project: Project) -> ProjectRow:
    return await session.get_one(ProjectRow, project.id)


_PROFILE = Prepared(
    lambda _: select(*(ProjectRow.__table__.c[each.name] for each in fields(Profile))).where(
        ProjectRow.id == bindparam("project_id")
    )
)


async def profile(session: AsyncSession, project: Project) -> Profile:
    [row] = await _PROFILE.rows(session, project_id=project.id)
    return Profile(*row)


async def project_by_id(session: AsyncSession, project_id: UUID) -> Project | None:
    """For jobs and tokens, which carry the id of a project alone."""
    row = await session.get(ProjectRow, project_id)
    return Project(row.id, row.account_id, row.is_test) if row else None


async def lock_project(session: AsyncSession, project: Project) -> None:
    """Other transactions that ask for the same lock wait until this one ends: for limits that
    are counted rather than kept in a counter."""
    locked = select(ProjectRow.id).where(ProjectRow.id == project.id).with_for_update(key_share=True)
    await session.execute(locked)


async def account(session: AsyncSession, project: Project) -> Account:
    return await session.get_one(Account, project.account_id)


async def plan_name(session: AsyncSession, project: Project) -> str:
    return (await session.execute(select(Account.plan).where(Account.id == project.account_id))).scalar_one()


async def kinds_of_projects(session: AsyncSession) -> tuple[bool, bool]:
    """Whether there are any projects, and any live ones, in the whole installation."""
    kinds = set(await session.scalars(select(ProjectRow.is_test).distinct()))
    return bool(kinds), False in kinds


def live_ids() -> Select[UUID]:
    """The ids of all live projects, for use inside another statement."""
    return select(ProjectRow.id).where(ProjectRow.is_test.is_(False))


async def ids_where(
    session: AsyncSession, *asked: Callable[[ColumnElement[UUID]], ColumnElement[bool]], limit: int
) -> Sequence[UUID]:
    """The ids of up to ``limit`` projects of which all this is true; each is asked with the column of ids,
    for a condition inside the statement."""
    statement = select(ProjectRow.id).where(*(each(ProjectRow.id.expression) for each in asked))
    return (await session.scalars(statement.order_by(ProjectRow.id).limit(limit))).all()
