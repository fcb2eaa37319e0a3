"""Applies what comes back from a mail, whatever way it came."""

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.audience import service as audience
from newsletter.delivery import ledger
from newsletter.delivery import queries as delivery
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import Feedback


async def apply(session: AsyncSession, message_id: str, feedback: Feedback, source: str) -> bool:
    """Notes feedback on a message and suppresses the address where it must never be mailed again.

    False when it changes nothing: late, repeated, or about no message of ours.
    """
    found = await delivery.by_public_id(session, message_id)
    if found is None or not await ledger.apply_feedback(session, found.mailing_id, found.seq, feedback):
        return False
    project = await accounts.project_by_id(session, found.project_id)
    if project is not None and feedback is Feedback.bounced:
        await audience.mark_bounced(session, project, found.address_key, source=source)
    elif project is not None and feedback is Feedback.complained:
        await audience.mark_complained(session, project, found.address_key, source=source)
    return True


async def unsubscribe(session: AsyncSession, ref: MessageRef, *, source: str, ip: str | None) -> None:
    """What the unsubscribe link of a mail does. Idempotent; a test send's link changes nothing."""
    if ref.subscriber_id is not None:
        await audience.unsubscribe_by_id(session, ref.subscriber_id, source=source, ip=ip)
