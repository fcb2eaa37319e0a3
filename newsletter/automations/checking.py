"""Everything that can be refused of an automation is refused before it is kept."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.audience import keeping
from newsletter.audience.conditions import Condition, activities, strangers
from newsletter.automations import mails
from newsletter.automations.flow import conditions
from newsletter.automations.models import Reentry
from newsletter.automations.schemas import SendStep, Start, Step, each
from newsletter.campaigns import drafting
from newsletter.campaigns import queries as campaigns
from newsletter.campaigns.drafting import Studio
from newsletter.kit import clock
from newsletter.kit.db import Database
from newsletter.kit.errors import NewsletterError, ValidationFailed
from newsletter.settings import AutomationSettings
from newsletter.templates.schemas import Variable

Errors = dict[str, list[str]]


async def check(
    db: Database,
    principal: Principal,
    studio: Studio,
    list_id: UUID,
    start: Start | None,
    steps: Sequence[Step],
    reentry: Reentry,
    variables: Sequence[Variable],
) -> None:
    """Raises `ValidationFailed` with every bad field, `Forbidden` for a list or sender of others."""
    sends = {place: step.send for place, _, step in each(steps) if step.send is not None}
    settings = studio.settings.automations
    errors = _of_form(settings, start, steps, reentry)
    if len(variables) > settings.variables:
        errors["variables"] = [f"must be at most {settings.variables} variables"]
    if errors:  # What is too much is not looked at more closely.
        raise ValidationFailed(errors=errors)
    async with db.read() as session:
        await drafting.check_list(session, principal, list_id)
        errors |= await _of_others(session, principal, start, steps)
        for from_email in {send.from_email for send in sends.values()}:
            await drafting.check_from(session, principal, from_email)
        frames = await mails.frames(session, principal.project, studio, list(sends.values()))
    errors |= await _of_mails(frames, sends, {each.name for each in variables}, studio)
    if errors:
        raise ValidationFailed(errors=errors)


def _of_form(
    settings: AutomationSettings, start: Start | None, steps: Sequence[Step], reentry: Reentry
) -> Errors:
    errors = _of_steps(settings, list(each(steps)))
    for place, condition, is_of_step in conditions(start, steps):
        excess = keeping.excess(place, condition, depth=settings.depth, parts=settings.condition_parts)
        errors |= excess or keeping.addresses(place, condition)
        if not is_of_step:
            errors |= _of_earlier(place, condition, {})
    if start is not None and start.event is None and reentry is Reentry.always:
        errors["reentry"] = ["must be 'once' for a start by time or by condition"]
    return errors


def _of_steps(settings: AutomationSettings, everything: Sequence[tuple[str, int, Step]]) -> Errors:
    if len(everything) > settings.steps:
        return {"steps": [f"must be at most {settings.steps} steps, those of branches included"]}
    errors: Errors = {}
    mails_before = dict[str, None]()
    taken = set[str]()
    now, longest = clock.now(), 86_400 * settings.wait_days
    for place, depth, step in everything:
        if depth > settings.depth:
            errors[place] = [f"must stand in at most {settings.depth - 1} branches"]
        if step.id is not None and step.id in taken:
            errors[f"{place}.id"] = ["is the id of another step"]
        if step.id is not None:
            taken.add(step.id)
        if step.wait is not None and (step.wait.end(now) - now).total_seconds() > longest:
            until, from_now = ("", "") if step.wait.until is None else (".until", " from now")
            errors[f"{place}.wait{until}"] = [f"must be at most {settings.wait_days:g} days{from_now}"]
        if step.branch is not None:
            errors |= _of_earlier(f"{place}.branch.when", step.branch.when, mails_before)
        if step.send is not None and step.id is not None:
            mails_before[step.id] = None
    return errors


def _of_earlier(place: str, condition: Condition, known: Mapping[str, None]) -> Errors:
    """A condition may ask for the mail of a step that was taken before it."""
    return {
        f"{place}{below}.step": ["is not the id of an earlier step that sends"]
        for below, activity in activities(condition)
        if activity.step is not None and activity.step not in known
    }


async def _of_others(
    session: AsyncSession, principal: Principal, start: Start | None, steps: Sequence[Step]
) -> Errors:
    placed = [(place, condition) for place, condition, _ in conditions(start, steps)]
    named = {}
    if start is not None and start.event is not None and start.event.campaign_id is not None:
        named["start.event.campaign_id"] = start.event.campaign_id
    return await strangers(session, principal, placed, campaigns.list_ids, named)


async def _of_mails(
    frames: mails.Frames, sends: Mapping[str, SendStep], variables: Collection[str], studio: Studio
) -> Errors:
    errors: Errors = {}
    for place, send in sends.items():
        try:
            drafting.check_size(send.html, studio.settings)
            mail = await mails.compiled(frames, send, variables)
            if isinstance(mail, NewsletterError):
                raise mail
        except ValidationFailed as error:
            errors |= {f"{place}.send.{field}": texts for field, texts in error.errors.items()}
    return errors
