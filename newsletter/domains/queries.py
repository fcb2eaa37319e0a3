"""Reads sending domains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.domains import records
from newsletter.domains.models import DomainStatus, SendingDomain
from newsletter.domains.records import RecordPurpose, RecordStatus, Standing
from newsletter.kit import ids
from newsletter.kit.errors import NotFound
from newsletter.settings import Settings


def domains(project: Project) -> Select[SendingDomain]:
    """The project's sending domains, oldest first."""
    return select(SendingDomain).where(SendingDomain.project_id == project.id).order_by(SendingDomain.id)


async def domain(
    session: AsyncSession, project: Project, domain_id: UUID, *, lock: bool = False
) -> SendingDomain:
    """Raises `NotFound`, also for a domain of another project."""
    mine = domains(project).where(SendingDomain.id == domain_id)
    found = (await session.scalars(mine.with_for_update() if lock else mine)).one_or_none()
    if found is None:
        raise NotFound("There is no such sending domain in this project.")
    return found


async def by_id(session: AsyncSession, domain_id: UUID, *, lock: bool = False) -> SendingDomain | None:
    """Of any project: for jobs, which are given no other's id."""
    found = select(SendingDomain).where(SendingDomain.id == domain_id)
    return (await session.scalars(found.with_for_update() if lock else found)).one_or_none()


async def by_name(session: AsyncSession, project_id: UUID, name: str) -> SendingDomain | None:
    """``name`` as A-label, in lower case."""
    mine = SendingDomain.project_id == project_id, SendingDomain.domain == name
    return (await session.scalars(select(SendingDomain).where(*mine))).one_or_none()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the DNS last said for a domain."""

    is_verified: bool
    has_dmarc: bool


async def proofs(session: AsyncSession, project: Project, settings: Settings) -> Mapping[str, Proof]:
    """Of each domain of the project, by its name as A-label."""
    found = {}
    for row in await session.scalars(domains(project)):
        has_dmarc = any(
            record.purpose is RecordPurpose.dmarc and seen.status is RecordStatus.found
            for record, seen in records.kept(row, settings).items()
        )
        found[row.domain] = Proof(row.status is DomainStatus.verified, has_dmarc)
    return found


async def standing(session: AsyncSession, project: Project, name: str, settings: Settings) -> Standing:
    """Whether mail of the project may be called mail from ``name`` (as A-label), and what it lacks."""
    row = await by_name(session, project.id, name)
    if row is None:
        return Standing(is_verified=False)
    lacking = [
        f"{record.type.value} {record.name} ({seen.status.value})"
        for record, seen in records.kept(row, settings).items()
        if record.is_required and seen.status is not RecordStatus.found
    ]
    return Standing(row.status is DomainStatus.verified, ids.public("dom", row.id), lacking)


async def due(session: AsyncSession, before: datetime, most: int) -> Sequence[UUID]:
    """Verified domains that were last looked at ``before``, the oldest look first."""
    verified = select(SendingDomain.id).where(SendingDomain.status == DomainStatus.verified)
    old = verified.where(SendingDomain.checked_at <= before).order_by(SendingDomain.checked_at).limit(most)
    return (await session.scalars(old)).all()


async def unverified(session: AsyncSession) -> Sequence[tuple[str, DomainStatus]]:
    """Domains of live projects, in the whole installation, that are not verified, by name."""
    rows = select(SendingDomain.domain, SendingDomain.status).where(
        SendingDomain.project_id.in_(accounts.live_ids()), SendingDomain.status != DomainStatus.verified
    )
    return [(name, status) for name, status in await session.execute(rows.order_by(SendingDomain.domain))]


async def verified_names(session: AsyncSession, project: Project) -> Sequence[str]:
    """The domains that the project has proven to be its own."""
    mine = SendingDomain.project_id == project.id, SendingDomain.status == DomainStatus.verified
    return (await session.scalars(select(SendingDomain.domain).where(*mine))).all()


async def by_tracking_host(session: AsyncSession, host: str) -> SendingDomain | None:
    """Of any project, as a host leads to one alone; ``host`` as A-label, in lower case."""
    return (
        await session.scalars(select(SendingDomain).where(SendingDomain.tracking_host == host))
    ).one_or_none()


async def count(session: AsyncSession, project: Project) -> int:
    counted = select(func.count()).select_from(SendingDomain).where(SendingDomain.project_id == project.id)
    return (await session.execute(counted)).scalar_one()
