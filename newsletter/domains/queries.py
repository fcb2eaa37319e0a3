"""Reads sending domains."""

from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.domains.models import SendingDomain
from newsletter.kit.errors import NotFound


def domains(project: Project) -> Select[SendingDomain]:
    """The project's sending domains, oldest first."""
    return select(SendingDomain).where(SendingDomain.project_id == project.id).order_by(SendingDomain.id)


async def domain(session: AsyncSession, project: Project, domain_id: UUID) -> SendingDomain:
    """Raises `NotFound`, also for a domain of another project."""
    found = (await session.scalars(domains(project).where(SendingDomain.id == domain_id))).one_or_none()
    if found is None:
        raise NotFound("There is no such sending domain in this project.")
    return found


async def by_name(session: AsyncSession, project_id: UUID, name: str) -> SendingDomain | None:
    """``name`` as A-label, in lower case."""
    mine = SendingDomain.project_id == project_id, SendingDomain.domain == name
    return (await session.scalars(select(SendingDomain).where(*mine))).one_or_none()


async def count(session: AsyncSession, project: Project) -> int:
    counted = select(func.count()).select_from(SendingDomain).where(SendingDomain.project_id == project.id)
    return (await session.execute(counted)).scalar_one()
