"""What conditions say of the mails of steps, besides those of campaigns: whether a subscriber opened or
clicked one."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.accounts.project import Project
from newsletter.audience.conditions import Acted, Activity, Condition
from newsletter.automations.models import Run, RunStatus, RunStep, StepOutcome
from newsletter.campaigns import acting
from newsletter.feedback import queries as feedback


async def acted(
    session: AsyncSession, project: Project, automation_id: UUID, conditions: Iterable[Condition | None]
) -> Acted:
    """For `audience.conditions.matching`, with the mailings of the campaigns that these conditions name."""
    by_campaign = await acting.acted(session, project, conditions)

    def did(
        activity: Activity,
        is_click: bool,
        subscriber_id: InstrumentedAttribute[UUID],
        address_key: InstrumentedAttribute[str],
    ) -> ColumnElement[bool]:
        if activity.step is not None:
            mail = _mail_of_step(automation_id, activity.step, subscriber_id)
            engaged = feedback.has_engaged(RunStep.mailing_id, RunStep.seq, is_click, activity.days)
            return mail.where(engaged).correlate_except(Run, RunStep).exists()
        return by_campaign(activity, is_click, subscriber_id, address_key)

    return did


def _mail_of_step(
    automation_id: UUID, step_id: str, subscriber_id: InstrumentedAttribute[UUID]
) -> Select[UUID]:
    return (
        select(RunStep.run_id)
        .join(Run, Run.id == RunStep.run_id)
        .where(
            Run.automation_id == automation_id,
            Run.subscriber_id == subscriber_id,
            # Of the run that asks: nobody has two that are open.
            Run.status == RunStatus.running,
            RunStep.step_id == step_id,
            RunStep.outcome == StepOutcome.sent,
        )
    )
