"""What conditions say of mails: whether a subscriber opened or clicked the mail of a campaign or a step."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.accounts.project import Project
from newsletter.audience.conditions import Acted, Activity, Condition
from newsletter.automations.models import Run, RunStatus, RunStep, StepOutcome
from newsletter.campaigns import queries as campaigns
from newsletter.delivery import queries as delivery
from newsletter.feedback import queries as feedback


def activities(condition: Condition) -> list[tuple[str, Activity]]:
    """With where each stands below the condition."""
    found = ((place, name, getattr(part, name)) for place, part in condition.each("") for name in _KINDS)
    return [(f"{place}.{name}", activity) for place, name, activity in found if activity is not None]


_KINDS = ("opened", "clicked")


async def acted(
    session: AsyncSession, project: Project, automation_id: UUID, conditions: Iterable[Condition | None]
) -> Acted:
    """For `audience.conditions.matching`, with the mailings of the campaigns that these conditions name."""
    named = {
        activity.campaign_id
        for condition in conditions
        if condition is not None
        for _, activity in activities(condition)
        if activity.campaign_id is not None
    }
    mailings = await campaigns.mailings(session, project, named) if named else {}

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
        # One that is gone, or was not launched, was opened by nobody.
        mailing_id = mailings.get(activity.campaign_id) if activity.campaign_id else None
        if mailing_id is None:
            return false()
        seq = delivery.seq_of(mailing_id, address_key)
        return feedback.has_engaged(mailing_id, seq, is_click, activity.days)

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
