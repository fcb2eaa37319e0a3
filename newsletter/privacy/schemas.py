"""The export of a person as the API shows it."""

from typing import Annotated, Any
from uuid import UUID

from newsletter.audience.schemas import ConsentOut, SubscriberOut
from newsletter.automations.schemas import HeldRun
from newsletter.feedback.schemas import SuppressionOut
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Schema, Time
from newsletter.transactional.answers import MessageSummary

EventId = Annotated[UUID, IdField("evt")]


class HeldEvent(Schema):
    id: EventId
    type: str
    at: Time
    data: dict[str, Any]


class HeldPerson(Schema):
    """Everything that the project holds of one address."""

    email: str
    """In the form that makes addresses equal; as it was spelled, in each row."""
    exported_at: Time
    is_complete: bool
    """False where there are more than 10,000 messages, events or runs: then these are the newest."""
    subscribers: list[SubscriberOut]
    """On each list."""
    consents: list[ConsentOut]
    """The oldest first, those for lists that are gone included."""
    suppressions: list[SuppressionOut]
    soft_bounces: int
    """In a row, since the last mail that is known to have arrived."""
    messages: list[MessageSummary]
    """The newest first."""
    runs: list[HeldRun]
    """Through automations, the newest first, with what became of each step that is still kept."""
    events: list[HeldEvent]
    """The newest first: opens and clicks with what is kept of their requests, bounces, complaints."""
