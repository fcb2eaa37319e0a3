"""Writes routing rules."""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import queries as audience
from newsletter.kit import clock, ids
from newsletter.kit.errors import Conflict, NotFound, ValidationFailed
from newsletter.routing import queries
from newsletter.routing.models import RoutingRule
from newsletter.routing.schemas import RuleCreate, RuleUpdate


class RuleLimitReached(Conflict):
    code, status = "routing_rule_limit_reached", 409
    summary = "The project has as many routing rules as it may have. Delete one first."


async def create(session: AsyncSession, project: Project, new: RuleCreate, *, limit: int) -> RoutingRule:
    """Raises `RuleLimitReached`, and `ValidationFailed` for a server or list that is not there."""
    await accounts.lock_project(session, project)
    await require_known(session, project, server_id=new.server_id, list_id=new.list_id)
    if await queries.count_rules(session, project) >= limit:
        raise RuleLimitReached(f"A project may have {limit} routing rules. Delete one first.")
    now = clock.now()
    values = {field: getattr(new, field) for field in RuleCreate.model_fields}
    row = RoutingRule(id=ids.uuid7(), project_id=project.id, **values, created_at=now, updated_at=now)
    session.add(row)
    await session.flush()
    return row


async def update(session: AsyncSession, project: Project, rule_id: UUID, changes: RuleUpdate) -> RoutingRule:
    await accounts.lock_project(session, project)
    row = await queries.rule(session, project, rule_id)
    await require_known(
        session,
        project,
        server_id=changes.server_id if changes.sent("server_id") else None,
        list_id=changes.list_id,
    )
    for field in changes.model_fields_set:
        setattr(row, field, getattr(changes, field))
    row.updated_at = clock.now()
    await session.flush()
    return row


async def remove(session: AsyncSession, project: Project, rule_id: UUID) -> None:
    row = await queries.rule(session, project, rule_id)
    await session.execute(delete(RoutingRule).where(RoutingRule.id == row.id))


async def require_known(
    session: AsyncSession, project: Project, *, server_id: UUID | None = None, list_id: UUID | None = None
) -> None:
    """Raises `ValidationFailed` that names each id which is not of this project."""
    errors = {}
    if server_id is not None:
        try:
            await queries.server(session, project, server_id)
        except NotFound:
            errors["server_id"] = ["is not a sending server of this project"]
    if list_id is not None and not await audience.has_list(session, project, list_id):
        errors["list_id"] = ["is not a list of this project"]
    if errors:
        raise ValidationFailed(errors=errors)
