"""What starts a run: an event, a call, and, by `newsletter.automations.enrolling`, a time or a condition.

Each start of a subscriber has an *entry*, and an entry is in the books once: an event that is told twice, a
sweep that is repeated after a crash and a call of the same moment find the run that is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from uuid import UUID

from sqlalchemy import ColumnElement, false, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import conditions
from newsletter.audience.schemas import Scalar
from newsletter.automations import acting, errors, queries, service
from newsletter.automations.flow import Flow
from newsletter.automations.models import Automation, AutomationStatus, Cause, Reentry, Run, RunStatus
from newsletter.automations.schemas import EventStart, StartEvent
from newsletter.events import queries as log
from newsletter.events import service as events
from newsletter.events.queries import Logged
from newsletter.events.vocabulary import EventType
from newsletter.kit import bulk, clock, ids, jobs, prepared
from newsletter.kit.db import Database, JSONObject, db_now
from newsletter.kit.errors import ValidationFailed
from newsletter.settings import AutomationSettings
from newsletter.templates.expressions import as_text

_ONCE = "once"
_HAS_DUE = (
    select(Run.id)
    .where(Run.automation_id == Automation.id, Run.status == RunStatus.running, Run.due_at <= db_now())
    .exists()
)
_MAY_ENROL = Automation.enrol_at <= db_now()
# Made once, and one statement, because each worker asks it every two seconds: it was half of what an idle
# sweeper did.
_DUE = prepared.Prepared(
    lambda _: select(Automation.id, _HAS_DUE, _MAY_ENROL).where(
        Automation.status == AutomationStatus.active, or_(_HAS_DUE, _MAY_ENROL)
    )
)


@dataclass(frozen=True, slots=True)
class Starter:
    """A subscriber who is to start, and the event that says so."""

    subscriber_id: UUID
    event_id: UUID | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Values that a call gives."""


async def on_events(db: Database, event_ids: Sequence[UUID], settings: AutomationSettings) -> None:
    """The job of events that start automations. Safe to repeat."""
    async with db.read() as session:
        found = sorted(await log.by_ids(session, event_ids), key=attrgetter("project_id", "id"))
        wanted = [
            (project_id, [row.id for row in await queries.active(session, project_id)], list(group))
            for project_id, group in groupby(found, attrgetter("project_id"))
        ]
    for project_id, automation_ids, happened in wanted:
        for automation_id in automation_ids:
            async with db.unit_of_work() as session:
                project = await accounts.project_by_id(session, project_id)
                automation = await queries.find(session, automation_id, share=True)
                if project and automation and automation.status is AutomationStatus.active:
                    await _hear(session, project, automation, happened, settings)


async def _hear(
    session: AsyncSession,
    project: Project,
    automation: Automation,
    happened: Sequence[Logged],
    settings: AutomationSettings,
) -> None:
    start = service.start_of(automation)
    if start is None or start.event is None:
        return
    # Of several events that concern one subscriber the first counts: the others find them in a run.
    first: dict[UUID, Starter] = {}
    for event in happened:
        subscriber_id = _subject(event, start.event)
        if subscriber_id is not None:
            first.setdefault(subscriber_id, Starter(subscriber_id, event.id))
    if not first:
        return
    acted = await acting.acted(session, project, automation.id, [start.when])
    statement = conditions.matching(
        session, project, automation.list_id, start.when, acted, subscriber_ids=first.keys()
    )
    chosen = [first[subscriber_id] for subscriber_id in await session.scalars(statement)]
    await begin(session, project, automation, chosen, Cause.event, settings)


def _subject(event: Logged, start: EventStart) -> UUID | None:
    """The subscriber that an event concerns, where it is one that starts a run."""
    if event.type != start.name.value:
        return None
    if start.name is StartEvent.subscriber_created:
        return ids.private("sub", event.data["subscriber"]["id"])
    message = event.data["message"]
    acted = event.data.get("open") or event.data.get("click")
    is_machine = acted is not None and acted["by"] != "human"
    is_other = start.campaign_id is not None and message["campaign_id"] != ids.public(
        "cmp", start.campaign_id
    )
    # Mails of automations belong to no campaign: none starts itself again by what it sends.
    if is_machine or is_other or message["campaign_id"] is None or message["subscriber_id"] is None:
        return None
    return ids.private("sub", message["subscriber_id"])


async def begin(
    session: AsyncSession,
    project: Project,
    automation: Automation,
    starters: Sequence[Starter],
    cause: Cause,
    settings: AutomationSettings,
) -> list[Run]:
    """Starts runs of an active automation whose row is held, and returns them. Those who are in one, or had
    as many as they may, do not start."""
    had = await queries.entries(session, automation.id, [each.subscriber_id for each in starters])
    most = 1 if automation.reentry is Reentry.once else settings.runs_per_subscriber
    starters = [each for each in starters if had.get(each.subscriber_id, 0) < most]
    if not starters:
        return []
    now = await prepared.now(session)
    first = Flow.of(service.steps_of(automation)).first
    rows = [
        {
            "id": ids.uuid7(),
            "project_id": project.id,
            "automation_id": automation.id,
            "subscriber_id": each.subscriber_id,
            "entry": _entry(automation, each),
            "cause": cause,
            "event_id": each.event_id,
            "status": RunStatus.running,
            "reason": None,
            "step_id": first,
            "variables": dict(each.variables),
            "due_at": now,
            "taken": 0,
            "started_at": now,
            "ended_at": None,
        }
        for each in starters
    ]
    written = await bulk.insert_missing(session, Run, rows)
    begun = [Run(**row) for row in rows if row["id"] in written]
    told = [described(automation, run) for run in begun]
    await events.record_many(session, project.id, EventType.automation_triggered, told)
    if begun:
        await service.advance_soon(session, [automation.id])
    return begun


def _entry(automation: Automation, starter: Starter) -> str:
    if automation.reentry is Reentry.once:
        return _ONCE
    return (starter.event_id or ids.uuid7()).hex


def described(automation: Automation, run: Run) -> JSONObject:
    """The ``data`` of the event. It names nobody but by an id, so that an erasure has nothing to take out."""
    return {
        "automation": {
            "id": ids.public("aut", automation.id),
            "name": automation.name,
            "list_id": ids.public("lst", automation.list_id),
        },
        "run": {
            "id": ids.public("run", run.id),
            "subscriber_id": ids.public("sub", run.subscriber_id),
            "cause": run.cause.value,
            "event_id": None if run.event_id is None else ids.public("evt", run.event_id),
            "started_at": clock.rfc3339(run.started_at),
        },
    }


async def trigger(
    session: AsyncSession,
    project: Project,
    automation: Automation,
    subscriber_id: UUID,
    values: Mapping[str, Scalar],
    settings: AutomationSettings,
) -> Run:
    """Starts one subscriber by a call. Raises the 409 that says why not, or `ValidationFailed` for values of
    what the automation does not declare."""
    if automation.status is not AutomationStatus.active:
        raise errors.AutomationNotActive()
    strange = values.keys() - service.defaults_of(automation).keys()
    if strange:
        text = "the automation declares no variable of this name"
        raise ValidationFailed(errors={f"variables.{name}": [text] for name in sorted(strange)})
    variables = {name: as_text(value) for name, value in values.items() if value is not None}
    statement = conditions.matching(
        session, project, automation.list_id, None, _nobody_acted, subscriber_ids=[subscriber_id]
    )
    if (await session.execute(statement)).first() is None:
        raise errors.SubscriberNotActive()
    starter = Starter(subscriber_id, variables=variables)
    begun = await begin(session, project, automation, [starter], Cause.trigger, settings)
    if begun:
        return begun[0]
    is_theirs = Run.automation_id == automation.id, Run.subscriber_id == subscriber_id
    statement = select(Run.id).where(*is_theirs, Run.status == RunStatus.running)
    raise errors.RunOpen() if (await session.execute(statement)).first() else errors.AlreadyRan()


async def enqueue_due(db: Database) -> None:
    """Has automations looked at whose time has come, and whose runs are due: the sweeper's part."""
    async with db.read() as session:
        found = await _DUE.rows(session)
    advancing = [automation_id for automation_id, has_due, _ in found if has_due]
    looking = [automation_id for automation_id, _, may_enrol in found if may_enrol]
    if not advancing and not looking:
        return
    async with db.unit_of_work() as session:
        await service.advance_soon(session, advancing)
        payloads = {f"automations.enrol:{each}": {"automation_id": str(each)} for each in looking}
        await jobs.enqueue_each(session, "automations.enrol", payloads)


def _nobody_acted(*_: object) -> ColumnElement[bool]:
    """Where no condition asks for mails."""
    return false()
