"""Reads sending servers and routing rules."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.kit.errors import NotFound
from newsletter.routing.choice import Limits, Rule, Server
from newsletter.routing.models import RoutingRule, SendingServer
from newsletter.routing.warmup import WarmUp


def servers(project: Project) -> Select[SendingServer]:
    """The project's sending servers, oldest first."""
    return select(SendingServer).where(SendingServer.project_id == project.id).order_by(SendingServer.id)


async def server(
    session: AsyncSession, project: Project, server_id: UUID, *, lock: bool = False
) -> SendingServer:
    """Raises `NotFound`, also for a server of another project."""
    mine = servers(project).where(SendingServer.id == server_id)
    found = (await session.scalars(mine.with_for_update() if lock else mine)).one_or_none()
    if found is None:
        raise NotFound("There is no such sending server in this project.")
    return found


async def names(session: AsyncSession, project: Project, server_ids: Collection[UUID]) -> Mapping[UUID, str]:
    """Of those that are there."""
    mine = select(SendingServer.id, SendingServer.name).where(SendingServer.project_id == project.id)
    return dict((await session.execute(mine.where(SendingServer.id.in_(server_ids)))).all())


async def count_servers(session: AsyncSession, project: Project) -> int:
    counted = select(func.count()).select_from(SendingServer).where(SendingServer.project_id == project.id)
    return (await session.execute(counted)).scalar_one()


def rules(project: Project) -> Select[RoutingRule]:
    """The project's rules in the order in which they are tried."""
    statement = select(RoutingRule).where(RoutingRule.project_id == project.id)
    return statement.order_by(RoutingRule.priority, RoutingRule.id)


async def rule(session: AsyncSession, project: Project, rule_id: UUID) -> RoutingRule:
    """Raises `NotFound`, also for a rule of another project."""
    mine = rules(project).where(RoutingRule.id == rule_id)
    found = (await session.scalars(mine)).one_or_none()
    if found is None:
        raise NotFound("There is no such routing rule in this project.")
    return found


async def count_rules(session: AsyncSession, project: Project) -> int:
    counted = select(func.count()).select_from(RoutingRule).where(RoutingRule.project_id == project.id)
    return (await session.execute(counted)).scalar_one()


async def rules_name(session: AsyncSession, project: Project, server_id: UUID) -> bool:
    """Whether any rule of the project names the server."""
    naming = rules(project).where(RoutingRule.server_id == server_id).limit(1)
    return (await session.scalars(naming)).first() is not None


async def has_server(session: AsyncSession, project: Project, sender_domain: str) -> bool:
    """Whether the project has an active server of its own for mail from this domain."""
    active = await session.scalars(servers(project).where(SendingServer.is_active.is_(True)))
    return any(as_server(row).sends_for(sender_domain) for row in active)


async def types_of(session: AsyncSession, server_ids: Collection[UUID]) -> dict[UUID, str]:
    """What kind of server each is; of those that were deleted, nothing."""
    if not server_ids:
        return {}
    statement = select(SendingServer.id, SendingServer.type).where(SendingServer.id.in_(server_ids))
    return {row[0]: row[1] for row in await session.execute(statement)}


async def of_project(
    session: AsyncSession, project_id: UUID
) -> tuple[Sequence[SendingServer], Sequence[RoutingRule]]:
    """All servers and rules, for the router, which knows the id of a project alone."""
    found = await session.scalars(select(SendingServer).where(SendingServer.project_id == project_id))
    rules = await session.scalars(select(RoutingRule).where(RoutingRule.project_id == project_id))
    return found.all(), rules.all()


async def everywhere(session: AsyncSession) -> Sequence[SendingServer]:
    """The sending servers of the whole installation, for its operator."""
    return (await session.scalars(select(SendingServer).order_by(SendingServer.id))).all()


def as_server(row: SendingServer) -> Server:
    return Server(
        id=row.id,
        name=row.name,
        version=row.version,
        is_active=row.is_active,
        from_domains=frozenset(row.from_domains),
        limits=Limits(
            per_hour=row.quota_per_hour,
            per_day=row.quota_per_day,
            per_month=row.quota_per_month,
            per_second=row.rate_per_second,
            warm_up=WarmUp.from_json(row.warm_up) if row.warm_up else None,
        ),
    )


def as_rule(row: RoutingRule) -> Rule:
    return Rule(
        id=row.id,
        server_id=row.server_id,
        priority=row.priority,
        weight=row.weight,
        purpose=row.purpose,
        from_domain=row.from_domain,
        list_id=row.list_id,
        is_active=row.is_active,
    )
