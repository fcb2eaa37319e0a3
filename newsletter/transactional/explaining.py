"""Why this person did or did not get this mail."""

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.delivery import history
from newsletter.delivery.history import Attempt, Entry
from newsletter.delivery.models import MailingStatus
from newsletter.delivery.statuses import MessageStatus
from newsletter.kit.address import ascii_domain_of, domain_of
from newsletter.kit.address import parse as parse_address
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.providers.base import MailStream, Purpose
from newsletter.routing import explain as routing
from newsletter.routing.schemas import Explained
from newsletter.suppressions import queries as suppressions
from newsletter.suppressions.queries import Held
from newsletter.transactional.answers import (
    AttemptOut,
    HeldOut,
    MessageExplained,
    QuotaOut,
)

_SENTENCES = {
    MessageStatus.queued: "It waits for a worker, which takes it within moments.",
    MessageStatus.scheduled: "It waits for its time.",
    MessageStatus.sending: "It is being handed over to a sending server.",
    MessageStatus.deferred: "It was refused for now, and is tried again by the schedule.",
    MessageStatus.sent: "A sending server took it; nothing has come back since.",
    MessageStatus.delivered: "The reader's server confirmed that it has it.",
    MessageStatus.bounced: "A sending server took it, and it came back.",
    MessageStatus.complained: "It arrived, and its reader called it spam.",
    MessageStatus.failed: "It was refused for good, or given up.",
    MessageStatus.suppressed: "The address must not be mailed, so it was not tried.",
    MessageStatus.skipped: "Its reader had left before it was their turn.",
    MessageStatus.unknown: "The answer of the sending server was lost: perhaps it arrived.",
    MessageStatus.cancelled: "It was cancelled before its time.",
}
_OPEN = {MessageStatus.queued, MessageStatus.scheduled, MessageStatus.sending, MessageStatus.deferred}


async def explained(
    session: AsyncSession, principal: Principal, message_id: str, *, has_default: bool
) -> MessageExplained:
    """Raises `newsletter.kit.errors.NotFound`."""
    entry = await history.one(session, principal.project, message_id, principal.list_ids)
    tries = await history.attempts(session, entry)
    held = await _held(session, principal, entry)
    limit = principal.plan.limits[Resource.mails]
    usage = await plans.usage(session, principal.project.quota_owner_id, Resource.mails, limit)
    found = await routing.explain(
        session,
        MailStream(
            project_id=principal.project.id,
            is_test=principal.project.is_test,
            purpose=entry.purpose,
            list_id=entry.list_id,
            sender_domain=ascii_domain_of(entry.sender["from_email"]),
        ),
        to_domain=domain_of(entry.address),
        key=entry.id,
        has_default=has_default,
    )
    return MessageExplained(
        id=entry.id,
        status=entry.status,
        answer=_answer(entry, tries, held),
        mailing_status=entry.mailing_status,
        gives_up_at=entry.expires_at if entry.status in _OPEN else None,
        suppressions=[
            HeldOut(
                level=each.reach.level, reason=each.reason, source=each.source, created_at=each.created_at
            )
            for each in held
        ],
        quota=QuotaOut(used=usage.used, reserved=usage.reserved, limit=usage.limit),
        route=Explained.model_validate(found),
        attempts=[AttemptOut.model_validate(each) for each in tries],
    )


async def _held(session: AsyncSession, principal: Principal, entry: Entry) -> list[Held]:
    """What stands against mailing the address now."""
    if entry.is_erased:
        return []
    return await suppressions.against(
        session,
        principal.project.id,
        entry.list_id,
        domain_of(entry.sender["from_email"]),
        parse_address(entry.address).key,
        is_marketing=entry.purpose is Purpose.marketing,
    )


def _answer(entry: Entry, tries: list[Attempt], held: list[Held]) -> str:
    words = [_SENTENCES[entry.status]]
    if entry.reason is not None and entry.status is not MessageStatus.cancelled:
        words.append(f"The reason on record: {entry.reason}.")
    if entry.status in _OPEN and entry.mailing_status is MailingStatus.paused:
        words.append("Its mailing is paused, and goes on when somebody resumes it.")
    if len(tries) > 1:
        words.append(f"It was tried {len(tries)} times.")
    if held and entry.status in _OPEN:
        words.append("The address is suppressed by now, so it will not be sent.")
    elif held and entry.status is not MessageStatus.suppressed:
        words.append("The address is suppressed by now: nothing more is sent to it.")
    return " ".join(words)
