"""Starts by a time or by a condition: a look through the whole list.

The list is read in windows, each by one statement that reads a range of an index and holds no lock, so that
nobody who writes waits for it; only those who are found are looked at again where they start, in blocks. The
cost of a look is in docs/automations.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import conditions
from newsletter.audience import queries as audience
from newsletter.automations import acting, queries, service, starting
from newsletter.automations.models import Automation, AutomationStatus, Cause, Run
from newsletter.automations.schemas import Start
from newsletter.automations.starting import Starter
from newsletter.kit import prepared
from newsletter.kit.db import Database
from newsletter.settings import AutomationSettings


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of a list, as an automation found it."""

    project: Project
    automation: Automation
    start: Start
    at: datetime
    last: UUID | None
    """Its last subscriber; None where the list ends in it."""
    found: Sequence[UUID]
    """Who of it meets the condition and had no run."""


async def enrol(db: Database, automation_id: UUID, settings: AutomationSettings) -> None:
    """The job of a start by time or by condition. Safe to repeat, and beside another worker: who has a run
    is passed over. What changes the automation meanwhile ends it, and the sweeper has it done anew."""
    after: UUID | None = None
    version: int | None = None
    while True:
        window = await _window(db, automation_id, after, settings.look_block)
        if window is None or version not in (None, window.automation.version):
            return
        version = window.automation.version
        for place in range(0, len(window.found), settings.block):
            async with db.unit_of_work() as session:
                found = window.found[place : place + settings.block]
                if not await _begin(session, window, found, settings):
                    return
        if window.last is None:
            break
        after = window.last
    async with db.unit_of_work() as session:
        held = await queries.find(session, automation_id, hold=True)
        if held is not None and held.version == version:
            wait = timedelta(minutes=settings.look_minutes)
            held.enrol_at = None if window.start.time else window.at + wait


async def _window(db: Database, automation_id: UUID, after: UUID | None, size: int) -> _Window | None:
    """The next one of the list behind ``after``; None where nothing is to be done now."""
    async with db.read() as session:
        automation = await queries.find(session, automation_id)
        if automation is None or automation.status is not AutomationStatus.active:
            return None
        project = await accounts.project_by_id(session, automation.project_id)
        start = service.start_of(automation)
        now = await prepared.now(session)
        if project is None or start is None or automation.enrol_at is None or automation.enrol_at > now:
            return None
        last = await audience.end_of_window(session, automation.list_id, after, size)
        acted = await acting.acted(session, project, automation.id, [start.when])
        statement = conditions.matching(
            session, project, automation.list_id, start.when, acted, between=(after, last)
        )
        subscriber_id = statement.selected_columns[0]
        had = select(Run.id).where(Run.automation_id == automation.id, Run.subscriber_id == subscriber_id)
        found = (await session.scalars(statement.where(~had.exists()))).all()
        return _Window(project, automation, start, now, last, found)


async def _begin(
    session: AsyncSession, window: _Window, subscriber_ids: Sequence[UUID], settings: AutomationSettings
) -> bool:
    """Starts those who still meet the condition. False where the automation was changed since."""
    project, start = window.project, window.start
    automation = await queries.find(session, window.automation.id, share=True)
    if automation is None or automation.version != window.automation.version:
        return False
    acted = await acting.acted(session, project, automation.id, [start.when])
    statement = conditions.matching(
        session, project, automation.list_id, start.when, acted, subscriber_ids=subscriber_ids
    )
    starters = [Starter(each) for each in await session.scalars(statement)]
    cause = Cause.time if start.time is not None else Cause.condition
    await starting.begin(session, project, automation, starters, cause, settings)
    return True
