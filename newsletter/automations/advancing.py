"""Runs go on: each step is taken in one transaction with what it causes.

A worker reads up to a block of due runs of one automation, under locks that another worker skips, and takes
one step of each. The mail of a send, its message's number and the next step of the run are written together:
killed before the commit nothing was sent, and after it the step is over. What compiles the mails, which takes
time, comes before the transaction, of what it found due; should that have changed, it begins anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import conditions, tagging
from newsletter.audience import queries as audience
from newsletter.automations import acting, mails, queries, service
from newsletter.automations.flow import Flow, Node
from newsletter.automations.models import Automation, AutomationStatus, Run, RunStatus, RunStep, StepOutcome
from newsletter.campaigns.drafting import Studio
from newsletter.delivery.service import QuotaExceeded
from newsletter.kit import bulk, prepared
from newsletter.kit.db import Database, db_now
from newsletter.kit.errors import Conflict, NewsletterError
from newsletter.plans.catalogue import Catalogue, Plan
from newsletter.settings import Settings
from newsletter.templates.compile import Compiled
from newsletter.templates.service import TemplateMissing

log = structlog.get_logger(__name__)

GONE, SUPPRESSED, STEP_REMOVED = "subscriber_gone", "suppressed", "step_removed"
CONTENT_INVALID = "content_invalid"
_TEMPLATE_GONE = "The template of a mail is gone. Choose another one with PATCH, then activate."
QUOTA = "quota_exceeded"
"""Of a run that goes on: its mail is tried again later."""

Mails = Mapping[str, Compiled | NewsletterError]
"""By step."""


async def advance(db: Database, studio: Studio, catalogue: Catalogue, automation_id: UUID) -> None:
    """The job of an automation: takes steps until no run of it is due. Safe to run twice, and beside another
    worker. An automation whose mails lack what every mail needs pauses itself, and says why."""
    known: dict[str, Compiled | NewsletterError] = {}
    version = 0
    while True:
        async with db.read() as session:
            automation = await queries.find(session, automation_id)
            project = await accounts.project_by_id(session, automation.project_id) if automation else None
            if automation is None or project is None or automation.status is not AutomationStatus.active:
                return
            if automation.version != version:
                known, version = {}, automation.version
            flow, defaults = Flow.of(service.steps_of(automation)), service.defaults_of(automation)
            due = await _due_steps(session, automation_id, studio.settings.automations.block)
            if not due:
                return
            sends = {
                step_id: node.step.send
                for step_id in due
                if step_id not in known and (node := flow.nodes.get(step_id)) and node.step.send
            }
            frames = await mails.frames(session, project, studio, list(sends.values()))
            plan = catalogue[await accounts.plan_name(session, project)]
        for step_id, send in sends.items():
            if isinstance(frames[send.template_id], NewsletterError):
                known[step_id] = TemplateMissing(_TEMPLATE_GONE)
            else:
                known[step_id] = await mails.compiled(frames, send, defaults.keys())
        desk = _Desk(project, plan, studio.settings, flow, known, defaults)
        try:
            async with db.unit_of_work() as session:
                taken = await _advance(session, desk, automation_id, version)
        except Conflict as refusal:
            await _pause(db, project, automation_id, refusal)
            return
        if taken == 0:
            return  # Another worker has those that are due.


async def _pause(db: Database, project: Project, automation_id: UUID, refusal: Conflict) -> None:
    log.warning("an automation paused itself", automation_id=str(automation_id), code=refusal.code)
    async with db.unit_of_work() as session:
        held = await queries.find(session, automation_id, hold=True)
        if held is not None and held.status is AutomationStatus.active:
            reason = {"code": refusal.code, "message": refusal.message}
            await service.pause(session, project, automation_id, reason)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the steps of a block are taken with."""

    project: Project
    plan: Plan
    settings: Settings
    flow: Flow
    mails: Mails
    defaults: Mapping[str, str]
    """What the automation's variables are where a run has no value of its own."""


@dataclass(slots=True)
class _Block:
    """What a transaction writes of its runs."""

    now: datetime
    runs: list[dict[str, object]] = field(default_factory=list)
    steps: list[dict[str, object]] = field(default_factory=list)

    def go_on(
        self,
        run: Run,
        after: str | None,
        outcome: StepOutcome,
        *,
        due_at: datetime | None = None,
        reason: str | None = None,
        message: tuple[UUID, int] | None = None,
        until: datetime | None = None,
    ) -> None:
        """The step was taken; without a next one the run is completed, when its last wait is over."""
        self._note(run, outcome, reason=reason, message=message, until=until)
        is_over = after is None and due_at is None
        status = RunStatus.completed if is_over else RunStatus.running
        self._write(run, status, after, due_at or self.now, run.taken + 1)

    def end(self, run: Run, status: RunStatus, reason: str) -> None:
        self._note(run, StepOutcome.ended, reason=reason)
        self._write(run, status, None, self.now, run.taken + 1, reason)

    def complete(self, run: Run) -> None:
        """Its last step was a wait, which is over."""
        self._write(run, RunStatus.completed, None, self.now, run.taken)

    def put_off(self, run: Run, until: datetime, reason: str) -> None:
        """The step is tried again."""
        self._write(run, RunStatus.running, run.step_id, until, run.taken, reason)

    def _note(
        self,
        run: Run,
        outcome: StepOutcome,
        *,
        reason: str | None = None,
        message: tuple[UUID, int] | None = None,
        until: datetime | None = None,
    ) -> None:
        mailing_id, seq = message or (None, None)
        self.steps.append(
            {
                "run_id": run.id,
                "number": run.taken + 1,
                "step_id": run.step_id,
                "outcome": outcome,
                "reason": reason,
                "mailing_id": mailing_id,
                "seq": seq,
                "until": until,
                "at": self.now,
            }
        )

    def _write(
        self,
        run: Run,
        status: RunStatus,
        step_id: str | None,
        due_at: datetime,
        taken: int,
        reason: str | None = None,
    ) -> None:
        is_over = status is not RunStatus.running
        self.runs.append(
            {
                "id": run.id,
                "status": status,
                "step_id": step_id,
                "due_at": due_at,
                "taken": taken,
                "reason": reason,
                # They speak of a person, and nothing reads them any more.
                "variables": {} if is_over else run.variables,
                "ended_at": self.now if is_over else None,
            }
        )


async def _due_steps(session: AsyncSession, automation_id: UUID, limit: int) -> set[str]:
    """The steps that come next in the runs that a block would have."""
    return set(await session.scalars(_due(automation_id, limit).with_only_columns(Run.step_id)))


def _due(automation_id: UUID, limit: int) -> Select[Run]:
    return (
        select(Run)
        .where(Run.automation_id == automation_id, Run.status == RunStatus.running, Run.due_at <= db_now())
        .order_by(Run.due_at, Run.id)
        .limit(limit)
    )


async def _advance(session: AsyncSession, desk: _Desk, automation_id: UUID, version: int) -> int | None:
    """Takes a step of each run of a block, and returns of how many; None, and nothing is written, where the
    automation was changed since its mails were compiled. Raises the `Conflict` that stands in their way."""
    automation = await queries.find(session, automation_id, share=True)
    if automation is None or automation.version != version:
        return None
    due = _due(automation_id, desk.settings.automations.block).with_for_update(skip_locked=True)
    runs = (await session.scalars(due)).all()
    block = _Block(await prepared.now(session))
    going: dict[str, list[Run]] = {}
    people = await audience.merge_data(session, desk.project.id, [run.subscriber_id for run in runs])
    for run in runs:
        person = people.get(run.subscriber_id)
        if run.step_id is None:
            block.complete(run)
        elif person is None or not person.is_active:
            block.end(run, RunStatus.left, GONE if person is None else person.status.value)
        elif run.step_id not in desk.flow.nodes:
            block.end(run, RunStatus.failed, STEP_REMOVED)
        else:
            going.setdefault(run.step_id, []).append(run)
    # Sends come last: a mail takes the row of the plan's counter, for which all workers of an account queue.
    for step_id in sorted(going, key=lambda each: desk.flow.nodes[each].step.send is not None):
        await _take(session, desk, automation, block, desk.flow.nodes[step_id], going[step_id])
    await bulk.update_rows(session, Run, block.runs)
    await bulk.insert_rows(session, RunStep, block.steps)
    return len(runs)


async def _take(
    session: AsyncSession, desk: _Desk, automation: Automation, block: _Block, node: Node, runs: Sequence[Run]
) -> None:
    """The same step of several runs."""
    step = node.step
    if step.send is not None:
        await _send(session, desk, automation, block, node, runs)
    elif step.wait is not None:
        until = step.wait.end(block.now)
        for run in runs:
            block.go_on(run, node.after, StepOutcome.waited, due_at=max(until, block.now), until=until)
    elif step.tag is not None:
        tagged = await tagging.tag_each(
            session,
            desk.project,
            _subscribers(runs),
            add=step.tag.add,
            remove=step.tag.remove,
            limit=desk.settings.limits.tags,
        )
        for run in runs:
            reason = None if run.subscriber_id in tagged else "too_many_tags"
            block.go_on(run, node.after, StepOutcome.tagged, reason=reason)
    elif step.branch is not None:
        acted = await acting.acted(session, desk.project, automation.id, [step.branch.when])
        meeting = conditions.matching(
            session,
            desk.project,
            automation.list_id,
            step.branch.when,
            acted,
            subscriber_ids=_subscribers(runs),
        )
        met = set(await session.scalars(meeting))
        for run in runs:
            is_met = run.subscriber_id in met
            block.go_on(run, node.yes if is_met else node.no, StepOutcome.yes if is_met else StepOutcome.no)


async def _send(
    session: AsyncSession, desk: _Desk, automation: Automation, block: _Block, node: Node, runs: Sequence[Run]
) -> None:
    mail, step = desk.mails.get(node.step.key), node.step.send
    if mail is None or step is None:
        return  # It fell due after the mails were compiled, and has its turn with the next block.
    if isinstance(mail, Conflict):
        raise mail  # It pauses, and nobody's run is used up.
    if isinstance(mail, NewsletterError):
        for run in runs:
            block.end(run, RunStatus.failed, CONTENT_INVALID)
        return
    try:
        # What it wrote before the plan refused is taken back alone.
        async with session.begin_nested():
            sent = await mails.send(
                session,
                desk.project,
                automation,
                step,
                mail,
                {run.subscriber_id: {**desk.defaults, **run.variables} for run in runs},
                plan=desk.plan,
                settings=desk.settings,
            )
    except QuotaExceeded:
        until = block.now + timedelta(minutes=desk.settings.automations.retry_minutes)
        for run in runs:
            block.put_off(run, until, QUOTA)
        return
    for run in runs:
        message = sent.get(run.subscriber_id)
        if message is None:
            block.end(run, RunStatus.left, SUPPRESSED)
        else:
            block.go_on(run, node.after, StepOutcome.sent, message=message)


def _subscribers(runs: Iterable[Run]) -> list[UUID]:
    return [run.subscriber_id for run in runs]
