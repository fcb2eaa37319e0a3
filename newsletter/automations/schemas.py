"""Automations and their runs as the API takes and shows them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from newsletter.accounts.schemas import ShownName
from newsletter.audience.conditions import Condition
from newsletter.audience.schemas import CustomFields, ListId, SubscriberId, Tag
from newsletter.automations.models import AutomationStatus, Cause, Reentry, RunStatus, StepOutcome
from newsletter.campaigns.schemas import Name, Preheader, StatusReason, Subject
from newsletter.delivery.schemas import CampaignId, MessageId
from newsletter.events.vocabulary import EventType
from newsletter.kit.address import EmailAddress, SenderAddress
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Schema, Time, absent
from newsletter.templates.schemas import TemplateId, Variable, each_once

AutomationId = Annotated[UUID, IdField("aut")]
RunId = Annotated[UUID, IdField("run")]
EventId = Annotated[UUID, IdField("evt")]
Variables = Annotated[tuple[Variable, ...], AfterValidator(each_once)]
StepId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", examples=["welcome"])]


class StartEvent(StrEnum):
    """What may start a run: what concerns one subscriber who may be mailed afterwards. Who unsubscribed,
    bounced or complained may not, so those events start nothing."""

    subscriber_created = EventType.subscriber_created.value
    message_delivered = EventType.message_delivered.value
    message_opened = EventType.message_opened.value
    message_clicked = EventType.message_clicked.value


class EventStart(Body):
    """Something happened to a subscriber of the list."""

    name: StartEvent
    """Of messages only those of campaigns start a run; opens and clicks only those of people."""
    campaign_id: CampaignId | None = absent()
    """Only of messages of this campaign."""
    when: Condition | None = absent()
    """Only for who meets this at that moment."""

    @model_validator(mode="after")
    def _of_a_message(self) -> Self:
        if self.campaign_id is not None and self.name is StartEvent.subscriber_created:
            raise ValueError("'campaign_id' goes with events of messages")
        return self


class TimeStart(Body):
    """Once, everybody who is active on the list at that time."""

    at: Time
    when: Condition | None = absent()
    """Only who meets this then."""


class ConditionStart(Body):
    """Each subscriber of the list once, when they meet the condition: those who do already, and those who
    come to do so later, within some minutes."""

    when: Condition


class Start(Body):
    """Exactly one of its members."""

    event: EventStart | None = absent()
    time: TimeStart | None = absent()
    condition: ConditionStart | None = absent()

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.event, self.time, self.condition)) != 1:
            raise ValueError("must have exactly one of event, time, condition")
        return self

    @property
    def when(self) -> Condition | None:
        """Who is started."""
        chosen = self.event or self.time or self.condition
        return chosen.when if chosen else None

    @property
    def place_of_when(self) -> str:
        return f"start.{'event' if self.event else 'time' if self.time else 'condition'}.when"


class SendStep(Body):
    """A mail, with the footer, the suppressions and the quota of every newsletter."""

    subject: Subject
    preheader: Preheader | None = absent()
    html: Annotated[str, Field(min_length=1, examples=["<p>Hello {{ first_name }}, welcome!</p>"])]
    """The body; your template goes around it."""
    template_id: TemplateId | None = absent()
    """The project's default template when left out."""
    from_email: SenderAddress | None = absent()
    from_name: ShownName | None = absent()
    reply_to: SenderAddress | None = absent()


class WaitStep(Body):
    """A time, which is the sum of its parts, or until a moment; one that is past is no wait."""

    seconds: Annotated[int, Field(ge=0, le=10**9)] | None = absent()
    minutes: Annotated[int, Field(ge=0, le=10**8)] | None = absent()
    hours: Annotated[int, Field(ge=0, le=10**6)] | None = absent()
    days: Annotated[int, Field(ge=0, le=10**5)] | None = absent()
    until: Time | None = absent()

    @model_validator(mode="after")
    def _one(self) -> Self:
        parts = (self.seconds, self.minutes, self.hours, self.days)
        if (self.until is None) == all(part is None for part in parts):
            raise ValueError("must have either until, or some of seconds, minutes, hours, days")
        return self

    def end(self, now: datetime) -> datetime:
        """Of a wait that begins now; the moment may be past."""
        return self.until or now + timedelta(
            seconds=self.seconds or 0, minutes=self.minutes or 0, hours=self.hours or 0, days=self.days or 0
        )


class TagStep(Body):
    """Tags that the subscriber gets, and that they lose."""

    add: Annotated[list[Tag], Field(max_length=20)] = Field(default_factory=list)
    remove: Annotated[list[Tag], Field(max_length=20)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.add and not self.remove:
            raise ValueError("must name a tag to add or to remove")
        return self


class BranchStep(Body):
    """Goes on with ``yes`` where the condition is met, else with ``no``, and then behind the branch."""

    when: Condition
    yes: list["Step"] = Field(default_factory=list)
    no: list["Step"] = Field(default_factory=list)


class Step(Body):
    """Exactly one of ``send``, ``wait``, ``branch`` and ``tag``."""

    id: StepId | None = absent()
    """Its own in the automation; made up when left out. A run remembers where it is by it."""
    send: SendStep | None = absent()
    wait: WaitStep | None = absent()
    branch: BranchStep | None = absent()
    tag: TagStep | None = absent()

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.send, self.wait, self.branch, self.tag)) != 1:
            raise ValueError("must have exactly one of send, wait, branch, tag")
        return self

    @property
    def key(self) -> str:
        """Its id, which every step has that is kept."""
        if self.id is None:
            raise ValueError("the step has no id yet")
        return self.id


def each(steps: Sequence[Step], place: str = "steps", depth: int = 1) -> Iterator[tuple[str, int, Step]]:
    """Every step in reading order, with where it stands and how deep: ``steps.2.branch.yes.0``, 2."""
    for number, step in enumerate(steps):
        here = f"{place}.{number}"
        yield here, depth, step
        if step.branch is not None:
            yield from each(step.branch.yes, f"{here}.branch.yes", depth + 1)
            yield from each(step.branch.no, f"{here}.branch.no", depth + 1)


class AutomationCreate(Body):
    """A draft, until `POST /automations/{id}/activate`."""

    name: Name
    list_id: ListId
    """Whose subscribers it is for; its mails go out to that list, and are left by its unsubscribe link."""
    start: Start | None = None
    """Null: only `POST /automations/{id}/trigger` starts a run."""
    steps: Annotated[list[Step], Field(min_length=1)]
    variables: Variables = ()
    """Merge tags that its mails may have besides those of the subscriber, with what they are where a run has
    no value of its own. A call that starts a run may give one."""
    reentry: Reentry = Reentry.once
    """``always``: after a run is over, the next event or call starts another. A subscriber never has two
    runs of one automation at a time."""


class AutomationUpdate(Body):
    """Fields that are left out stay as they are. While it is active only the name may change; a run goes on
    with the changed steps, by the id of the one that it comes to next."""

    name: Name = ""
    list_id: ListId | None = None
    start: Start | None = None
    steps: Annotated[list[Step], Field(min_length=1)] = Field(default_factory=list)
    variables: Variables = ()
    reentry: Reentry = Reentry.once


class Trigger(Body):
    """Either ``subscriber_id`` or ``email`` names an active subscriber of the automation's list."""

    subscriber_id: SubscriberId | None = None
    email: EmailAddress | None = None
    variables: CustomFields = Field(default_factory=dict, examples=[{"plan": "Pro"}])
    """Values for this run of what the automation declares; null stands for the default."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.subscriber_id is None) == (self.email is None):
            raise ValueError("must have exactly one of subscriber_id, email")
        return self


class RunCounts(Schema):
    """Runs by where they stand."""

    running: int = 0
    completed: int = 0
    left: int = 0
    failed: int = 0


class AutomationOut(Schema):
    id: AutomationId
    name: str
    list_id: ListId
    status: AutomationStatus
    status_reason: StatusReason | None
    """Why it paused itself."""
    start: Start | None
    steps: list[Step]
    variables: list[Variable]
    reentry: Reentry
    version: int
    """Grows with each change."""
    runs: RunCounts
    created_at: Time
    updated_at: Time


class RunSummary(Schema):
    id: RunId
    automation_id: AutomationId
    subscriber_id: SubscriberId
    cause: Cause
    event_id: EventId | None
    """The event that started it."""
    status: RunStatus
    reason: str | None
    """Why it left or failed: ``unsubscribed``, ``suppressed``, ``content_invalid`` …; of one that is
    running, why its step is tried again later."""
    step_id: str | None
    """What comes next; null behind the last step, which may be a wait."""
    due_at: Time | None
    """When it comes; null once the run is over."""
    started_at: Time
    ended_at: Time | None


class RunStepOut(Schema):
    step_id: str | None
    outcome: StepOutcome
    reason: str | None
    message_id: MessageId | None
    """Of a mail: `GET /messages/{id}` has what became of it."""
    until: Time | None
    """When a wait ends."""
    at: Time


class RunOut(RunSummary):
    variables: dict[str, str]
    """That its call gave; empty once it is over."""
    steps: list[RunStepOut]
    """Those taken so far, in their order; none any more of a run that ended long ago."""


class HeldRun(RunOut):
    """In the export of a person."""

    automation: str
    """Its name."""
