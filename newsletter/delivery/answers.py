"""What a server's answer to one message does to the books."""

from collections.abc import Sequence

from newsletter.delivery.batches import Claim
from newsletter.delivery.ledger import Decision
from newsletter.delivery.models import Outcome, UnknownPolicy
from newsletter.delivery.reading import Recipient
from newsletter.providers.base import Permanent, Receipt, Refusal, Result, ServerDown, Temporary, Throttled


class Answers:
    """The rules of one mailing: what it does about the unknown, and until when it tries."""

    def __init__(self, claimed: Claim, retry_minutes: Sequence[int]) -> None:
        self._claimed, self._policy = claimed, claimed.mailing.policy
        self._retry_minutes = retry_minutes

    def decide(self, to: Recipient, result: Result) -> Decision:
        if isinstance(result, Receipt):
            # By position, which takes half of the time: this is what becomes of nearly every mail.
            return Decision(to.seq, Outcome.sent, None, None, False, to.attempts + 1, result.server_id)
        return self._refused(to, result)._replace(
            attempt=to.attempts + 1,
            server_id=result.server_id,
            code=result.code,
            enhanced=result.enhanced,
        )

    def _refused(self, to: Recipient, result: Refusal) -> Decision:
        reason = result.text
        if isinstance(result, ServerDown):
            return Decision(to.seq, Outcome.pending, reason)
        if isinstance(result, Throttled):
            return Decision(to.seq, Outcome.pending, reason, retry_after=result.retry_after)
        if isinstance(result, Permanent):
            return Decision(to.seq, Outcome.failed, reason, is_bad_address=result.is_bad_address)
        if isinstance(result, Temporary):
            return self._deferred(to, reason)
        if self._policy is UnknownPolicy.resend_once and to.attempts == 0:
            return self._deferred(to, reason)
        return Decision(to.seq, Outcome.unknown, reason)

    def _deferred(self, to: Recipient, reason: str) -> Decision:
        """Tries again by the schedule, whose last wait repeats, or fails now when no further try would
        come in time."""
        wait = 60.0 * self._retry_minutes[min(to.attempts, len(self._retry_minutes) - 1)]
        if wait > self._claimed.seconds_left:
            return Decision(to.seq, Outcome.failed, f"expired: {reason}"[:500])
        return Decision(to.seq, Outcome.deferred, reason, retry_after=wait)
