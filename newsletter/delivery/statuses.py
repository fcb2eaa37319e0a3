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


CANCELLED = "cancelled"
"""The reason of what was skipped because somebody asked for it."""


def status_of(
    outcome: Outcome, feedback: Feedback | None, *, is_due: bool = True, reason: str | None = None
) -> MessageStatus:
    """What came back later says more than what became of the sending. What is not due was not tried
    before."""
    if feedback is not None:
        return MessageStatus(feedback.value)
    if outcome is Outcome.pending:
        return MessageStatus.queued if is_due else MessageStatus.scheduled
    if outcome is Outcome.skipped and reason == CANCELLED:
        return MessageStatus.cancelled
    return MessageStatus(outcome.value)
