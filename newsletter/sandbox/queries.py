"""Reads the inbox of a test project."""

from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.sandbox.models import SandboxMessage


def listed(project: Project, *, to: str | None = None, after: UUID | None = None) -> Select[SandboxMessage]:
    """The newest first. ``to`` is a whole address, in any case; ``after`` is the last id of the
    page before."""
    statement = select(SandboxMessage).where(SandboxMessage.project_id == project.id)
    if to is not None:
        statement = statement.where(func.lower(SandboxMessage.to_email) == to.strip().lower())
    if after is not None:
        statement = statement.where(SandboxMessage.id < after)
    return statement.order_by(SandboxMessage.id.desc())


async def find(session: AsyncSession, project: Project, message_id: UUID) -> SandboxMessage | None:
    statement = select(SandboxMessage).where(
        SandboxMessage.project_id == project.id, SandboxMessage.id == message_id
    )
    return (await session.scalars(statement)).one_or_none()


async def count(session: AsyncSession, project: Project) -> int:
    statement = (
        select(func.count()).select_from(SandboxMessage).where(SandboxMessage.project_id == project.id)
    )
    return (await session.execute(statement)).scalar_one()
