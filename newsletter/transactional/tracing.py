"""What became of a message: its state, its tries, and everything that happened to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.delivery import history
from newsletter.delivery.history import Attempt, Entry
from newsletter.delivery.models import Outcome
from newsletter.delivery.queries import MessageKey, public_id
from newsletter.events import queries as events
from newsletter.feedback import queries as feedback
from newsletter.feedback.queries import Engaged
from newsletter.transactional.answers import (
    AttemptOut,
    MessageEvent,
    MessageOut,
    MessageSummary,
)

MAX_EVENTS = 1_000
"""Events that one answer shows: somebody's mail program may open a mail every few seconds."""

_DERIVED = {
    Outcome.sent: "message.accepted",
    Outcome.deferred: "message.deferred",
    Outcome.failed: "message.failed",
    Outcome.suppressed: "message.suppressed",
}
"""What the books know as well as the log, which has it only where somebody listens."""


async def shown(session: AsyncSession, entries: Sequence[Entry]) -> list[MessageSummary]:
    engaged = await feedback.engaged(session, [(entry.mailing_id, entry.seq) for entry in entries])
    return [MessageSummary(**_fields(entry, engaged)) for entry in entries]


async def traced(session: AsyncSession, principal: Principal, message_id: str) -> MessageOut:
    """Raises `newsletter.kit.errors.NotFound`."""
    entry = await history.one(session, principal.project, message_id, principal.list_ids)
    tries = await history.attempts(session, entry)
    logged = [
        MessageEvent(
            type=row.type,
            at=row.created_at,
            data={name: value for name, value in row.data.items() if name != "message"},
        )
        for row in await events.of_message(
            session, principal.project.id, entry.id, entry.created_at, MAX_EVENTS
        )
    ]
    known = {event.type for event in logged}
    happened = [event for event in _derived(entry, tries) if event.type not in known] + logged
    happened.sort(key=lambda event: event.at)
    engaged = await feedback.engaged(session, [(entry.mailing_id, entry.seq)])
    return MessageOut(
        **_fields(entry, engaged),
        recipients=[public_id(entry.mailing_id, seq) for seq in entry.same_mail or [entry.seq]],
        history=[AttemptOut.model_validate(each) for each in tries],
        events=happened,
    )


def _fields(entry: Entry, engaged: Mapping[MessageKey, Engaged]) -> dict[str, object]:
    is_waiting = entry.outcome in (Outcome.pending, Outcome.deferred)
    return {
        "id": entry.id,
        "status": entry.status,
        "reason": entry.reason,
        "kind": entry.kind,
        "purpose": entry.purpose,
        "campaign_id": entry.campaign_id,
        "subscriber_id": entry.subscriber_id,
        "from_": entry.sender["from_email"],
        "to": None if entry.is_erased else entry.address,
        "role": entry.role,
        "subject": entry.subject,
        "tags": list(entry.tags),
        "attempts": entry.attempts,
        "scheduled_at": entry.next_attempt_at if is_waiting else None,
        "created_at": entry.created_at,
        "decided_at": entry.decided_at,
        "server_id": entry.server_id,
        **asdict(engaged.get((entry.mailing_id, entry.seq), feedback.NOT_ENGAGED)),
    }


def _derived(entry: Entry, tries: Sequence[Attempt]) -> Iterator[MessageEvent]:
    yield _event("message.queued", entry.created_at)
    for each in tries:
        if each.outcome in _DERIVED:
            details = {"code": each.code, "enhanced_status": each.enhanced, "reason": each.reason}
            given = {name: value for name, value in details.items() if value is not None}
            yield _event(_DERIVED[each.outcome], each.at, attempt=each.number, **given)
    was_tried = {each.outcome for each in tries}
    if entry.decided_at is not None and entry.outcome not in was_tried:
        kind = _DERIVED.get(entry.outcome, f"message.{entry.status}")
        yield _event(kind, entry.decided_at, reason=entry.reason)


def _event(kind: str, at: datetime, **data: object) -> MessageEvent:
    return MessageEvent(type=kind, at=at, data=data)
