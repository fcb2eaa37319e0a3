"""What customers call the state of a message: one word for its outcome and its feedback."""

from enum import StrEnum

from newsletter.delivery.models import Feedback, Outcome


class MessageStatus(StrEnum):
    queued = "queued"
    scheduled = "scheduled"
    sending = "sending"
    deferred = "deferred"
    sent = "sent"
    delivered = "delivered"
    bounced = "bounced"
    complained = "complained"
    failed = "failed"
    suppressed = "suppressed"
    skipped = "skipped"
    unknown = "unknown"
    cancelled = "cancelled"


def status_of(outcome: Outcome, feedback: Feedback | None) -> MessageStatus:
    """What came back later says more than what became of the sending."""
    if feedback is not None:
        return MessageStatus(feedback.value)
    return MessageStatus.queued if outcome is Outcome.pending else MessageStatus(outcome.value)
