"""The runs of one person: what their export shows, and what goes when they are erased."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.automations import queries, service
from newsletter.automations.models import Automation, Run, RunStatus
from newsletter.automations.schemas import HeldRun
from newsletter.kit.bulk import among
from newsletter.kit.db import db_now


async def held(
    session: AsyncSession, project: Project, subscriber_ids: Collection[UUID], *, limit: int
) -> list[HeldRun]:
    """All runs of somebody, who may be on several lists; the newest first."""
    mine = _of(session, project.id, subscriber_ids)
    statement = select(Run, Automation.name).join(Automation, Automation.id == Run.automation_id)
    found = (await session.execute(statement.where(*mine).order_by(Run.id.desc()).limit(limit))).all()
    shown = await queries.with_steps(session, [run for run, _ in found])
    return [HeldRun(**dict(run), automation=name) for run, (_, name) in zip(shown, found, strict=True)]


async def forget(session: AsyncSession, project_id: UUID, subscriber_ids: Collection[UUID]) -> None:
    """Has the open runs of who was erased end now, in place of when their wait is over; those of a paused
    automation end when it goes on. What is left of a run is an id that is nobody's: its values are gone at
    once. Safe to repeat."""
    mine = *_of(session, project_id, subscriber_ids), Run.status == RunStatus.running
    automation_ids = (await session.scalars(select(Run.automation_id).where(*mine).distinct())).all()
    statement = update(Run).where(*mine).values(due_at=db_now(), variables={})
    await session.execute(statement.execution_options(synchronize_session=False))
    await service.advance_soon(session, automation_ids)


def _of(
    session: AsyncSession, project_id: UUID, subscriber_ids: Collection[UUID]
) -> tuple[ColumnElement[bool], ...]:
    """By way of the project's automations, with which the indexes of runs begin."""
    automations = select(Automation.id).where(Automation.project_id == project_id)
    return Run.automation_id.in_(automations), among(session, Run.subscriber_id, subscriber_ids)
