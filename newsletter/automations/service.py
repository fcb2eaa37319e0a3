"""Makes automations, changes them, and lets them run or rest."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import keeping
from newsletter.automations import errors, mails, queries
from newsletter.automations.flow import conditions, numbered
from newsletter.automations.models import Automation, AutomationStatus, Run, RunStatus
from newsletter.automations.schemas import AutomationCreate, Start, Step, each
from newsletter.events import listening
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids, jobs, prepared, versions
from newsletter.kit.db import db_now
from newsletter.settings import Settings
from newsletter.templates.schemas import Variable

_CHANGEABLE = frozenset({AutomationStatus.draft, AutomationStatus.paused})
ARCHIVED = "automation_archived"
"""The reason of runs that ended with their automation."""


async def create(
    session: AsyncSession, project: Project, new: AutomationCreate, settings: Settings
) -> Automation:
    """A draft of what was checked before. Raises `AutomationLimitReached`."""
    await accounts.lock_project(session, project)
    limit = settings.automations.automations
    if await queries.count(session, project) >= limit:
        raise errors.AutomationLimitReached(
            f"A project may have {limit} automations. Archive one first: DELETE /automations/{{id}}."
        )
    await _hold_lists(session, project, new.list_id, new.start, new.steps)
    now = clock.now()
    row = Automation(
        id=ids.uuid7(),
        project_id=project.id,
        list_id=new.list_id,
        name=new.name,
        status=AutomationStatus.draft,
        status_reason=None,
        start=_kept_start(new.start),
        steps=_kept_steps(new.steps),
        variables=_kept_variables(new.variables),
        reentry=new.reentry,
        version=1,
        enrol_at=None,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def asking_for(session: AsyncSession, project: Project, list_id: UUID) -> list[str]:
    """The public ids of the automations of other lists whose conditions ask for this one. A project has few
    (`AutomationSettings.automations`), so each is read."""
    return [
        ids.public("aut", row.id)
        for row in await queries.of_other_lists(session, project, list_id)
        if any(
            keeping.asks_for(condition, list_id)
            for _, condition, _ in conditions(start_of(row), steps_of(row))
        )
    ]


async def _hold_lists(
    session: AsyncSession, project: Project, list_id: UUID, start: Start | None, steps: Sequence[Step]
) -> None:
    asking = [condition for _, condition, _ in conditions(start, steps)]
    await keeping.hold_lists(session, project, list_id, asking)


def _kept_start(start: Start | None) -> dict[str, Any] | None:
    return None if start is None else start.model_dump(mode="json")


def _kept_steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [step.model_dump(mode="json") for step in numbered(steps)]


def _kept_variables(variables: Sequence[Variable]) -> list[dict[str, Any]]:
    return [variable.model_dump(mode="json") for variable in variables]


def start_of(automation: Automation) -> Start | None:
    return None if automation.start is None else Start.model_validate(automation.start)


def steps_of(automation: Automation) -> list[Step]:
    return [Step.model_validate(step) for step in automation.steps]


def variables_of(automation: Automation) -> list[Variable]:
    return [Variable.model_validate(variable) for variable in automation.variables]


def defaults_of(automation: Automation) -> dict[str, str]:
    """Its variables, each with what it is where a run has no value of its own."""
    return {variable.name: variable.default for variable in variables_of(automation)}


async def change(
    session: AsyncSession,
    project: Project,
    automation_id: UUID,
    changes: dict[str, Any],
    version: int,
    *,
    seen: int | None,
) -> Automation:
    """``changes`` has fields of `AutomationUpdate` that were checked beside what the automation had in
    that ``version``; ``seen`` is the one that the caller read. Raises `AutomationActive`,
    `AutomationArchived`, `AutomationChanged` or `VersionConflict`."""
    row = await queries.one(session, project, automation_id, lock=True)
    versions.check(row.version, seen)
    if row.status is AutomationStatus.archived:
        raise errors.AutomationArchived()
    if changes.keys() - {"name"}:
        if row.status not in _CHANGEABLE:
            raise errors.AutomationActive()
        if row.version != version:
            raise errors.AutomationChanged()
        await _hold_lists(
            session,
            project,
            changes.get("list_id", row.list_id),
            changes["start"] if "start" in changes else start_of(row),
            changes["steps"] if "steps" in changes else steps_of(row),
        )
    if "start" in changes:
        changes = changes | {"start": _kept_start(changes["start"])}
    if "steps" in changes:
        changes = changes | {"steps": _kept_steps(changes["steps"])}
    if "variables" in changes:
        changes = changes | {"variables": _kept_variables(changes["variables"])}
    for field, value in changes.items():
        setattr(row, field, value)
    _touch(row)
    await session.flush()
    return row


async def activate(
    session: AsyncSession, project: Project, automation_id: UUID, settings: Settings
) -> Automation:
    """Runs begin, and those that rested go on. An active one stays as it is.

    Raises `AutomationArchived`, `StartIsPast`, and the 409 that names what its mails lack.
    """
    row = await queries.one(session, project, automation_id, lock=True)
    if row.status is AutomationStatus.archived:
        raise errors.AutomationArchived()
    if row.status is AutomationStatus.active:
        return row
    post = await mails.post_of(session, project, row)
    for _, _, step in each(steps_of(row)):
        if step.send is not None:
            await mails.sender_of(session, project, post, step.send, settings)
    row.enrol_at = _first_look(row, await prepared.now(session))
    row.status, row.status_reason = AutomationStatus.active, None
    _touch(row)
    await session.flush()
    await listen(session, project)
    await advance_soon(session, [row.id])
    return row


def _first_look(row: Automation, now: datetime) -> datetime | None:
    start = start_of(row)
    if start is None or start.event is not None:
        return None
    if start.time is None:
        return now
    if start.time.at <= now:
        # One that was paused after its time goes on with the runs that it has.
        if row.status is AutomationStatus.draft:
            raise errors.StartIsPast()
        return row.enrol_at
    return start.time.at


async def pause(
    session: AsyncSession, project: Project, automation_id: UUID, reason: dict[str, str] | None = None
) -> Automation:
    """Nothing starts any more, and runs stay where they are; a mail that was handed over goes out. Safe to
    repeat. Raises `AutomationNotActive`."""
    row = await queries.one(session, project, automation_id, lock=True)
    if row.status is AutomationStatus.paused:
        return row
    if row.status is not AutomationStatus.active:
        raise errors.AutomationNotActive()
    row.status, row.status_reason = AutomationStatus.paused, reason
    _touch(row)
    await session.flush()
    await listen(session, project)
    return row


async def remove(session: AsyncSession, project: Project, automation_id: UUID, *, seen: int | None) -> None:
    """Deletes a draft; archives what may have run, and ends the runs that are open. Safe to repeat. Raises
    `VersionConflict` where it is not what the caller has ``seen``."""
    row = await queries.one(session, project, automation_id, lock=True)
    if row.status is AutomationStatus.archived:
        return
    versions.check(row.version, seen)
    if row.status is AutomationStatus.draft:
        await session.delete(row)
        return
    row.status, row.status_reason = AutomationStatus.archived, None
    _touch(row)
    await session.flush()
    ended: dict[str, object] = {
        "status": RunStatus.failed,
        "reason": ARCHIVED,
        "step_id": None,
        "variables": {},
        "ended_at": db_now(),
    }
    await session.execute(
        update(Run)
        .where(Run.automation_id == row.id, Run.status == RunStatus.running)
        .values(ended)
        .execution_options(synchronize_session=False)
    )
    await listen(session, project)


async def listen(session: AsyncSession, project: Project) -> None:
    """Keeps with the event log what starts the project's active automations; to be called after every
    change of that, in its transaction."""
    await accounts.lock_project(session, project)
    starts = [start_of(row) for row in await queries.active(session, project.id)]
    kinds = {EventType(start.event.name.value) for start in starts if start and start.event}
    await listening.listen(session, project.id, listening.AUTOMATIONS, kinds)


async def advance_soon(session: AsyncSession, automation_ids: Sequence[UUID]) -> None:
    """Has the due runs of these automations advanced, once for all who ask meanwhile."""
    payloads = {
        f"automations.advance:{each_id}": {"automation_id": str(each_id)} for each_id in automation_ids
    }
    await jobs.enqueue_each(session, "automations.advance", payloads)


def _touch(row: Automation) -> None:
    row.version += 1
    row.updated_at = clock.now()
