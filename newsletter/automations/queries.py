"""Reads automations and their runs."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal, Project
from newsletter.automations.models import Automation, AutomationStatus, Run, RunStatus, RunStep
from newsletter.automations.schemas import AutomationOut, RunCounts, RunOut, RunStepOut, RunSummary
from newsletter.delivery import queries as delivery
from newsletter.kit.bulk import among
from newsletter.kit.errors import NotFound


async def one(
    session: AsyncSession, project: Project, automation_id: UUID, *, lock: bool = False
) -> Automation:
    """Raises `NotFound` for one that is not of this project. ``lock`` waits for the block of its runs that is
    being written, and keeps the next from beginning."""
    statement = select(Automation).where(Automation.project_id == project.id, Automation.id == automation_id)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = (await session.scalars(statement)).one_or_none()
    if found is None:
        raise NotFound()
    return found


async def find(
    session: AsyncSession, automation_id: UUID, *, share: bool = False, hold: bool = False
) -> Automation | None:
    """For jobs, which carry ids. ``share`` keeps it as it is until the transaction ends; ``hold`` does so
    for who changes it."""
    statement = select(Automation).where(Automation.id == automation_id)
    if share or hold:
        statement = statement.with_for_update(read=share).execution_options(populate_existing=True)
    return (await session.scalars(statement)).one_or_none()


def listed(principal: Principal, status: AutomationStatus | None, list_id: UUID | None) -> Select[Automation]:
    """Those that the key may see, the newest first; archived ones only for who asks for them."""
    statement = select(Automation).where(Automation.project_id == principal.project.id)
    if principal.list_ids:
        statement = statement.where(Automation.list_id.in_(principal.list_ids))
    if list_id is not None:
        statement = statement.where(Automation.list_id == list_id)
    is_wanted = Automation.status != AutomationStatus.archived
    if status is not None:
        is_wanted = Automation.status == status
    return statement.where(is_wanted).order_by(Automation.id.desc())


async def count(session: AsyncSession, project: Project) -> int:
    """Without archived ones."""
    mine = Automation.project_id == project.id, Automation.status != AutomationStatus.archived
    return (await session.execute(select(func.count()).where(*mine))).scalar_one()


async def of_other_lists(session: AsyncSession, project: Project, list_id: UUID) -> Sequence[Automation]:
    """Without archived ones."""
    others = select(Automation).where(
        Automation.project_id == project.id,
        Automation.status != AutomationStatus.archived,
        Automation.list_id != list_id,
    )
    return (await session.scalars(others.order_by(Automation.id))).all()


async def active(session: AsyncSession, project_id: UUID) -> Sequence[Automation]:
    mine = Automation.project_id == project_id, Automation.status == AutomationStatus.active
    return (await session.scalars(select(Automation).where(*mine).order_by(Automation.id))).all()


async def shown(session: AsyncSession, rows: Sequence[Automation]) -> list[AutomationOut]:
    """With the numbers of their runs, in one query for all."""
    counted = (
        select(Run.automation_id, Run.status, func.count())
        .where(among(session, Run.automation_id, [row.id for row in rows]))
        .group_by(Run.automation_id, Run.status)
    )
    numbers: dict[UUID, dict[str, int]] = {}
    for automation_id, status, number in await session.execute(counted):
        numbers.setdefault(automation_id, {})[status.value] = number
    return [
        AutomationOut.model_validate(
            {
                **{name: getattr(row, name) for name in AutomationOut.model_fields if name != "runs"},
                "runs": RunCounts(**numbers.get(row.id, {})),
            }
        )
        for row in rows
    ]


async def runs(
    session: AsyncSession,
    automation: Automation,
    status: RunStatus | None,
    *,
    before: UUID | None,
    limit: int,
) -> Sequence[Run]:
    """The newest first, those before the run ``before``."""
    statement = select(Run).where(Run.automation_id == automation.id)
    if status is not None:
        statement = statement.where(Run.status == status)
    if before is not None:
        statement = statement.where(Run.id < before)
    return (await session.scalars(statement.order_by(Run.id.desc()).limit(limit))).all()


async def run_shown(session: AsyncSession, automation: Automation, run_id: UUID) -> RunOut:
    """A run with its steps. Raises `NotFound`."""
    mine = Run.automation_id == automation.id, Run.id == run_id
    run = (await session.scalars(select(Run).where(*mine))).one_or_none()
    if run is None:
        raise NotFound()
    [shown] = await with_steps(session, [run])
    return shown


async def with_steps(session: AsyncSession, runs: Sequence[Run]) -> list[RunOut]:
    """In their order, with the steps of all from one query."""
    theirs = select(RunStep).where(among(session, RunStep.run_id, [run.id for run in runs]))
    steps: dict[UUID, list[RunStepOut]] = {}
    for step in await session.scalars(theirs.order_by(RunStep.run_id, RunStep.number)):
        steps.setdefault(step.run_id, []).append(_step_shown(step))
    return [
        RunOut(**dict(summary(run)), variables=run.variables, steps=steps.get(run.id, [])) for run in runs
    ]


def _step_shown(step: RunStep) -> RunStepOut:
    message_id = None
    if step.mailing_id is not None and step.seq is not None:
        message_id = delivery.public_id(step.mailing_id, step.seq)
    return RunStepOut(
        step_id=step.step_id,
        outcome=step.outcome,
        reason=step.reason,
        message_id=message_id,
        until=step.until,
        at=step.at,
    )


def summary(run: Run) -> RunSummary:
    is_over = run.status is not RunStatus.running
    return RunSummary(
        id=run.id,
        automation_id=run.automation_id,
        subscriber_id=run.subscriber_id,
        cause=run.cause,
        event_id=run.event_id,
        status=run.status,
        reason=run.reason,
        step_id=run.step_id,
        due_at=None if is_over else run.due_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


async def entries(
    session: AsyncSession, automation_id: UUID, subscriber_ids: Collection[UUID]
) -> Mapping[UUID, int]:
    """How many runs each of these subscribers had; who had none is missing."""
    counted = (
        select(Run.subscriber_id, func.count())
        .where(Run.automation_id == automation_id, among(session, Run.subscriber_id, subscriber_ids))
        .group_by(Run.subscriber_id)
    )
    return dict((await session.execute(counted)).all())
