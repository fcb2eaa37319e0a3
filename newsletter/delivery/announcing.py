"""Tells the event log what happened to messages, in the transaction in which it happened.

Whatever provider a mail went through, its events have one shape: ``{"message": {…}}``, and beside
it what this event knows more, such as ``"bounce": {…}``. What comes back from a mail is always in
the log. What became of the sending itself is in the books already, and a million recipients have
a million of it: that is written only where anybody listens.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.ledger import Decision
from newsletter.delivery.models import Mailing, MailingKind, Message, Outcome
from newsletter.delivery.queries import MessageKey, is_erased, public_id
from newsletter.delivery.statuses import status_of
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.bulk import among_pairs
from newsletter.kit.db import JSONObject
from newsletter.routing import queries as routing


@dataclass(frozen=True, slots=True)
class Described:
    """A message as events show it, and whose it is."""

    project_id: UUID
    is_erased: bool
    """Its reader was erased: nothing may name them."""
    message: JSONObject


@dataclass(frozen=True, slots=True)
class Happened:
    """That something happened to a message, and what is known of it besides the message."""

    mailing_id: UUID
    seq: int
    details: JSONObject = field(default_factory=dict)
    """What stands beside ``message``: ``{"bounce": {"kind": "hard", …}}``."""


async def described(session: AsyncSession, keys: Collection[MessageKey]) -> dict[MessageKey, Described]:
    """The messages as they are now, by their keys, of which a block has some thousand at most;
    those that are gone are left out."""
    if not keys:
        return {}
    mailings = await _mailings(session, {mailing_id for mailing_id, _ in keys})
    statement = select(
        Message.mailing_id,
        Message.seq,
        Message.subscriber_id,
        Message.address,
        Message.outcome,
        Message.feedback,
        Message.server_id,
    ).where(among_pairs(session, (Message.mailing_id, Message.seq), keys))
    rows = (await session.execute(statement)).all()
    servers = await routing.types_of(session, {row.server_id for row in rows if row.server_id})
    found = {}
    for row in rows:
        mailing = mailings[row.mailing_id]
        was_erased = is_erased(row.address)
        message: JSONObject = {
            "id": public_id(row.mailing_id, row.seq),
            "campaign_id": mailing.campaign_id,
            "subscriber_id": row.subscriber_id and ids.public("sub", row.subscriber_id),
            "to": None if was_erased else row.address,
            "from": mailing.from_email,
            "tags": list(mailing.tags),
            "sending_server": row.server_id and ids.public("srv", row.server_id),
            "provider": servers.get(row.server_id),
            "status": status_of(row.outcome, row.feedback).value,
        }
        found[row.mailing_id, row.seq] = Described(mailing.project_id, was_erased, message)
    return found


async def announce(session: AsyncSession, kind: EventType, happened: Sequence[Happened]) -> None:
    """One event for each, in their order; none for a message that is gone."""
    known = await described(session, {(each.mailing_id, each.seq) for each in happened})
    rows: dict[UUID, list[JSONObject]] = {}
    for each in happened:
        about = known.get((each.mailing_id, each.seq))
        if about is not None:
            told: JSONObject = {"message": about.message, **each.details}
            # What comes back late quotes an address that the message has not any more.
            told = events.anonymous(told) if about.is_erased else told
            rows.setdefault(about.project_id, []).append(told)
    for project_id, data in rows.items():
        await events.record_many(session, project_id, kind, data)


OUTCOMES: Mapping[Outcome, EventType] = {
    Outcome.sent: EventType.message_accepted,
    Outcome.deferred: EventType.message_deferred,
    Outcome.failed: EventType.message_failed,
    Outcome.suppressed: EventType.message_suppressed,
}
"""What is announced of our own sending."""
KINDS = frozenset(OUTCOMES.values())
_DETAILS = {Outcome.deferred: "deferral", Outcome.failed: "failure", Outcome.suppressed: "suppression"}


async def announce_outcomes(
    session: AsyncSession, listened: Collection[EventType], mailing_id: UUID, decisions: Iterable[Decision]
) -> None:
    """The events of what was decided, of the kinds that somebody listens to."""
    by_kind: dict[EventType, list[Happened]] = {}
    for each in decisions:
        kind = OUTCOMES.get(each.outcome)
        if kind is not None and kind in listened:
            by_kind.setdefault(kind, []).append(Happened(mailing_id, each.seq, _details(each)))
    for kind, happened in by_kind.items():
        await announce(session, kind, happened)


def _details(decision: Decision) -> JSONObject:
    name = _DETAILS.get(decision.outcome)
    if name is None:
        return {}
    answer = {"reason": decision.reason, "code": decision.code, "enhanced_status": decision.enhanced}
    return {name: {"reason": decision.reason} if decision.outcome is Outcome.suppressed else answer}


@dataclass(frozen=True, slots=True)
class _Mailing:
    project_id: UUID
    campaign_id: str | None
    from_email: str
    tags: Sequence[str]


async def _mailings(session: AsyncSession, mailing_ids: Collection[UUID]) -> dict[UUID, _Mailing]:
    campaign = case((Mailing.kind == MailingKind.campaign, Mailing.source_id))
    statement = select(Mailing.id, Mailing.project_id, campaign, Mailing.sender, Mailing.tags)
    rows = await session.execute(statement.where(Mailing.id.in_(mailing_ids)))
    return {
        mailing_id: _Mailing(
            project_id, campaign_id and ids.public("cmp", campaign_id), sender["from_email"], tags
        )
        for mailing_id, project_id, campaign_id, sender, tags in rows
    }
