"""What conditions say of campaigns: whether a subscriber opened or clicked one."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ColumnElement, false
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.accounts.project import Project
from newsletter.audience.conditions import Acted, Activity, Condition, activities
from newsletter.campaigns import queries
from newsletter.delivery import queries as delivery
from newsletter.feedback import queries as feedback


async def acted(session: AsyncSession, project: Project, conditions: Iterable[Condition | None]) -> Acted:
    """For `audience.conditions.holds`, with the mailings of the campaigns that these conditions name. Of a
    step of an automation it knows nothing."""
    named = {
        activity.campaign_id
        for condition in conditions
        if condition is not None
        for _, activity in activities(condition)
        if activity.campaign_id is not None
    }
    mailings = await queries.mailings(session, project, named) if named else {}

    def did(
        activity: Activity,
        is_click: bool,
        subscriber_id: InstrumentedAttribute[UUID],
        address_key: InstrumentedAttribute[str],
    ) -> ColumnElement[bool]:
        # One that is gone, or was not launched, was opened by nobody.
        mailing_id = mailings.get(activity.campaign_id) if activity.campaign_id else None
        if mailing_id is None:
            return false()
        seq = delivery.seq_of(mailing_id, address_key)
        return feedback.has_engaged(mailing_id, seq, is_click, activity.days)

    return did
