"""Reads accounts and projects."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.models import Account, ProjectRow
from newsletter.accounts.project import Project


async def project_row(session: AsyncSession, project: Project) -> ProjectRow:
    return await session.get_one(ProjectRow, project.id)


async def project_by_id(session: AsyncSession, project_id: UUID) -> Project | None:
    """For jobs and tokens, which carry the id of a project alone."""
    row = await session.get(ProjectRow, project_id)
    return Project(row.id, row.account_id, row.is_test) if row else None


async def account(session: AsyncSession, project: Project) -> Account:
    return await session.get_one(Account, project.account_id)


async def plan_name(session: AsyncSession, project: Project) -> str:
    return (
        await session.execute(select(Account.plan).where(Account.id == project.account_id))
    ).scalar_one()


async def projects_of(session: AsyncSession, account_id: UUID) -> list[ProjectRow]:
    rows = await session.scalars(
        select(ProjectRow).where(ProjectRow.account_id == account_id).order_by(ProjectRow.id)
    )
    return list(rows)
