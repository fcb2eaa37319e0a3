"""What came back from a mail, in the books: beside its outcome, which it proves where nobody knew it.

Which feedback may follow which is in `newsletter.delivery.ledger`.
"""

from collections import Counter
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from newsletter.delivery import ledger
from newsletter.delivery.models import Batch, Feedback, Mailing, MailingStatus, Message, Outcome
from newsletter.kit import jobs
from newsletter.kit.bulk import each_of
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Metric


async def apply_feedback(session: AsyncSession, mailing_id: UUID, seq: int, feedback: Feedback) -> bool:
    """Notes what came back; False when it changes nothing (late, repeated, or no such message)."""
    counter = _COUNTERS.get(feedback)
    if counter is not None or await _may_be_unknown(session, mailing_id, seq):
        # The batch before its message, as workers go: the other way round, each would wait for the other.
        await session.execute(select(Batch.id).where(_batch_of(mailing_id, seq)).with_for_update())
    allowed = [earlier for earlier, later in ledger.FEEDBACK_AFTER.items() if feedback in later]
    known = [value for value in allowed if value is not None]
    statement = (
        update(Message)
        .where(
            Message.mailing_id == mailing_id,
            Message.seq == seq,
            Message.feedback.is_(None) | Message.feedback.in_(known),
        )
        .values(feedback=feedback)
        .returning(Message.outcome, Message.server_id)
    )
    changed = (await session.execute(statement)).one_or_none()
    if changed is None:
        return False
    counted: dict[Metric, int] = {Metric(feedback.value): 1}
    if changed.outcome is Outcome.unknown:
        await _prove_sent(session, mailing_id, seq)
        counted |= {Metric.unknown: -1, Metric.sent: 1}
    if counter is not None:
        await _count_back(session, mailing_id, seq, counter)
    project_id = (await session.scalars(select(Mailing.project_id).where(Mailing.id == mailing_id))).one()
    await tallies.add_now(session, project_id, mailing_id, changed.server_id, counted)
    return True


async def _may_be_unknown(session: AsyncSession, mailing_id: UUID, seq: int) -> bool:
    """Whether the message is ``unknown``, or may become so before this transaction is through."""
    outcome = select(Message.outcome).where(Message.mailing_id == mailing_id, Message.seq == seq)
    return (await session.scalars(outcome)).one_or_none() in {Outcome.unknown, *ledger.OPEN}


async def apply_deliveries(
    session: AsyncSession, project_id: UUID, mailing_id: UUID, seqs: Collection[int]
) -> set[int]:
    """`apply_feedback` with ``delivered`` for those messages of a mailing that are in the books as sent, as
    nearly all are that a provider reports; the numbers of those that it changed.

    It touches no batch, and so no lock that a worker holds; all others are for `apply_feedback`.
    """
    statement = (
        update(Message)
        .where(
            # These lie anywhere in the mailing.
            each_of(session, Message.seq, seqs, lambda one: one.mailing_id == mailing_id),
            Message.outcome == Outcome.sent,
            Message.feedback.is_(None),
        )
        .values(feedback=Feedback.delivered)
        .returning(Message.seq, Message.server_id)
        .execution_options(**ledger.UNSEEN)
    )
    changed = (await session.execute(statement)).all()
    for server_id, number in Counter(row.server_id for row in changed).items():
        await tallies.add_now(session, project_id, mailing_id, server_id, {Metric.delivered: number})
    return {row.seq for row in changed}


_COUNTERS = {Feedback.bounced: "bounced", Feedback.complained: "complained"}


async def _count_back(session: AsyncSession, mailing_id: UUID, seq: int, counter: str) -> None:
    """Has a mailing that still runs looked at: it may have to pause (`newsletter.delivery.brake`)."""
    values = ledger.plus(Batch, {counter: 1})
    await session.execute(update(Batch).where(_batch_of(mailing_id, seq)).values(values))
    running = select(Mailing.id).where(Mailing.id == mailing_id, Mailing.status == MailingStatus.running)
    if (await session.execute(running)).first() is not None:
        key = f"delivery.look_back:{mailing_id}"
        await jobs.enqueue(session, "delivery.look_back", {"mailing_id": str(mailing_id)}, key=key)


def _batch_of(mailing_id: UUID, seq: int) -> ColumnElement[bool]:
    """Batches do not overlap, so it is the last that begins by then: or else all before it would be read."""
    one = aliased(Batch)
    last = select(one.id).where(one.mailing_id == mailing_id, one.first_seq <= seq)
    is_last = Batch.id == last.order_by(one.first_seq.desc()).limit(1).scalar_subquery()
    return is_last & (Batch.first_seq <= seq) & (Batch.last_seq >= seq)


async def _prove_sent(session: AsyncSession, mailing_id: UUID, seq: int) -> None:
    """Feedback on an unknown message: the server did take it. Its mail was spent already."""
    await session.execute(
        update(Message)
        .where(Message.mailing_id == mailing_id, Message.seq == seq)
        .values(outcome=Outcome.sent)
    )
    moved = {"unknown": -1, "sent": 1}
    await session.execute(update(Batch).where(_batch_of(mailing_id, seq)).values(ledger.plus(Batch, moved)))
    closed = (Mailing.id == mailing_id) & (Mailing.status == MailingStatus.closed)
    await session.execute(update(Mailing).where(closed).values(ledger.plus(Mailing, moved)))
