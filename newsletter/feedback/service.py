"""Applies what comes back from a mail, whatever way it came."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.audience import service as audience
from newsletter.delivery import announcing, returns
from newsletter.delivery import queries as delivery
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import Feedback
from newsletter.delivery.queries import FoundMessage
from newsletter.events.vocabulary import EventType
from newsletter.feedback import repeated
from newsletter.kit.db import JSONObject
from newsletter.settings import BounceSettings
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Metric

REPEATED = "repeated soft bounces"
"""The source of a suppression for them."""


async def apply(
    session: AsyncSession, settings: BounceSettings, message_id: str, feedback: Feedback, source: str
) -> bool:
    """Notes feedback on a message and suppresses the address where it must never be mailed again.

    False when it changes nothing: late, repeated, or about no message of ours.
    """
    found = await delivery.by_public_id(session, message_id)
    if found is None:
        return False
    if feedback is Feedback.bounced:
        return await bounce(session, found, settings, source=source, is_hard=True)
    if feedback is Feedback.complained:
        return await complain(session, found, source=source)
    return await note(session, found, feedback)


_EVENTS = {
    Feedback.delivered: EventType.message_delivered,
    Feedback.bounced: EventType.message_bounced,
    Feedback.complained: EventType.message_complained,
}


async def note(
    session: AsyncSession, message: FoundMessage, feedback: Feedback, details: JSONObject | None = None
) -> bool:
    """Writes feedback to the books and, with what is known besides, to the event log. False when it
    changes nothing."""
    if not await returns.apply_feedback(session, message.mailing_id, message.seq, feedback):
        return False
    if feedback is Feedback.delivered:
        await repeated.forget(session, message.project_id, message.address_key)
    happened = announcing.Happened(message.mailing_id, message.seq, details or {})
    await announcing.announce(session, _EVENTS[feedback], [happened])
    return True


async def arrived(session: AsyncSession, messages: Sequence[FoundMessage]) -> None:
    """`note` with ``delivered`` for many messages, in a few statements for each mailing: a report of 1,000
    deliveries took 0.5 s of this process's time, where one by one they took 10."""
    by_mailing: dict[tuple[UUID, UUID], dict[int, FoundMessage]] = {}
    for each in messages:
        by_mailing.setdefault((each.project_id, each.mailing_id), {})[each.seq] = each
    for (project_id, mailing_id), mine in by_mailing.items():
        changed = sorted(await returns.apply_deliveries(session, project_id, mailing_id, list(mine)))
        await repeated.forget(session, project_id, *(mine[seq].address_key for seq in changed))
        happened = [announcing.Happened(mailing_id, seq, {}) for seq in changed]
        await announcing.announce(session, EventType.message_delivered, happened)
        for seq in sorted(mine.keys() - set(changed)):
            await note(session, mine[seq], Feedback.delivered)


async def bounce(
    session: AsyncSession,
    message: FoundMessage,
    settings: BounceSettings,
    *,
    source: str,
    is_hard: bool,
    reason: str | None = None,
    enhanced_status: str | None = None,
) -> bool:
    """The mail did not arrive; a hard bounce, or one soft bounce too many in a row, suppresses its
    address in the whole project."""
    details: JSONObject = {
        "bounce": {
            "kind": "hard" if is_hard else "soft",
            "enhanced_status": enhanced_status,
            "reason": reason,
            "source": source,
        }
    }
    if not await note(session, message, Feedback.bounced, details):
        return False
    if not is_hard and await repeated.count(session, message.project_id, message.address_key, settings):
        is_hard, source = True, REPEATED
    project = await accounts.project_by_id(session, message.project_id)
    if project is not None and is_hard:
        await audience.mark_bounced(session, project, message.address_key, source=source)
    return True


async def complain(session: AsyncSession, message: FoundMessage, *, source: str) -> bool:
    """The reader called the mail spam: nothing more from this project."""
    if not await note(session, message, Feedback.complained, {"complaint": {"source": source}}):
        return False
    project = await accounts.project_by_id(session, message.project_id)
    if project is not None:
        await audience.mark_complained(session, project, message.address_key, source=source)
    return True


async def unsubscribe(session: AsyncSession, ref: MessageRef, *, source: str, ip: str | None = None) -> bool:
    """What the unsubscribe link of a mail does, and what its provider reports. Idempotent: False when
    it changes nothing, as a test send's link does."""
    if ref.subscriber_id is None:
        return await _leave_all(session, ref, source=source, ip=ip)
    ended = await audience.unsubscribe_by_id(session, ref.subscriber_id, source=source, ip=ip)
    message = await delivery.by_key(session, ref.mailing_id, ref.seq) if ended else None
    if message is not None:
        counted = {Metric.unsubscribed: ended}
        await tallies.add_now(session, message.project_id, ref.mailing_id, None, counted)
    return bool(ended)


async def _leave_all(session: AsyncSession, ref: MessageRef, *, source: str, ip: str | None) -> bool:
    """Marketing that was sent by a call belongs to no list: who leaves gets no more marketing from the
    project, and is taken off all its lists."""
    message = await delivery.single_marketing(session, ref)
    project = await accounts.project_by_id(session, message.project_id) if message else None
    if message is None or project is None:
        return False
    await audience.unsubscribe(session, project, source=source, ip=ip, address_key=message.address_key)
    added = await suppressions.suppress(
        session,
        project_id=project.id,
        scope=suppressed.project_scope(project.id),
        address_keys=[message.address_key],
        reason=Reason.unsubscribe,
        source=source,
    )
    if added:
        await tallies.add_now(session, project.id, ref.mailing_id, None, {Metric.unsubscribed: 1})
    return bool(added)
