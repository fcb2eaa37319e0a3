"""Ends what is kept of runs that are over.

That somebody had a run is what keeps them from starting again, so it stays for as long as their automation
may start anybody: what goes before is how each of its steps went.
"""

from datetime import datetime

from sqlalchemy import delete, select

from newsletter.automations.models import Automation, AutomationStatus, Run, RunStep
from newsletter.delivery import retention as delivery
from newsletter.kit import ids
from newsletter.kit.db import Database

RUNS_AT_ONCE = 1_000


async def drop_steps(db: Database, before: datetime) -> bool:
    """Drops the steps of up to `RUNS_AT_ONCE` runs that ended ``before``, and what their mails had of their
    variables. False where there were none."""
    # A run is not over before it began, so its id bounds the search; behind it are steps of open runs alone.
    old = (
        select(RunStep.run_id)
        .join(Run, Run.id == RunStep.run_id)
        .where(RunStep.run_id < ids.first_of(before), Run.ended_at < before)
        .distinct()
        .limit(RUNS_AT_ONCE)
    )
    async with db.read() as session:
        found = (await session.scalars(old)).all()
    if not found:
        return False
    mails = select(RunStep.mailing_id, RunStep.seq).where(
        RunStep.run_id.in_(found), RunStep.mailing_id.is_not(None)
    )
    async with db.unit_of_work() as session:
        await delivery.drop_parts(session, mails)
        await session.execute(delete(RunStep).where(RunStep.run_id.in_(found)))
    return True


async def drop_runs(db: Database, before: datetime) -> bool:
    """Drops up to `RUNS_AT_ONCE` runs that ended ``before`` of archived automations, which start nobody any
    more, once their steps are dropped. False where there were none."""
    old = (
        select(Run.id)
        .join(Automation, Automation.id == Run.automation_id)
        .where(
            Automation.status == AutomationStatus.archived,
            Run.id < ids.first_of(before),
            Run.ended_at < before,
            ~select(RunStep.number).where(RunStep.run_id == Run.id).exists(),
        )
        .limit(RUNS_AT_ONCE)
    )
    async with db.read() as session:
        found = (await session.scalars(old)).all()
    if not found:
        return False
    async with db.unit_of_work() as session:
        await session.execute(delete(Run).where(Run.id.in_(found)))
    return True
