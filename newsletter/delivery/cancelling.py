"""Takes back what still waits for its time: a single mail, with all whom its header names."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import batches, ledger
from newsletter.delivery.history import Entry
from newsletter.delivery.ledger import Books, Decision
from newsletter.delivery.models import Batch, BatchStatus, Mailing, Message, Outcome
from newsletter.delivery.statuses import CANCELLED
from newsletter.kit.db import db_now
from newsletter.kit.errors import Conflict


class NotScheduled(Conflict):
    code, status = "not_scheduled", 409
    summary = "Only a message that still waits for its time can be cancelled."


async def cancel(session: AsyncSession, entry: Entry, lease: float) -> None:
    """Gives its mails back to the plan. Raises `NotScheduled` when any of it has begun.

    Its batches are locked first, as a worker's claim locks them: what is cancelled here is not sent,
    and what a worker took is not cancelled.
    """
    seqs = entry.same_mail or [entry.seq]
    holders = (
        select(Batch)
        .where(Batch.mailing_id == entry.mailing_id, Batch.first_seq <= seqs[-1], Batch.last_seq >= seqs[0])
        .order_by(Batch.first_seq)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    locked = (await session.scalars(holders)).all()
    if any(batch.status is BatchStatus.leased for batch in locked):
        raise NotScheduled()
    waiting = select(Message.seq).where(
        Message.mailing_id == entry.mailing_id,
        Message.seq.in_(seqs),
        Message.outcome == Outcome.pending,
        Message.attempts == 0,
        Message.next_attempt_at > db_now(),
    )
    found = set(await session.scalars(waiting))
    if entry.seq not in found:
        raise NotScheduled()
    mailing = await session.get_one(Mailing, entry.mailing_id)
    for batch in locked:
        books = Books(
            *(mailing.project_id, mailing.id, batch.id, batch.token, lease),
            *(mailing.quota_owner_id, mailing.quota_period),
        )
        mine = [seq for seq in sorted(found) if batch.first_seq <= seq <= batch.last_seq]
        await ledger.write(session, books, [Decision(seq, Outcome.skipped, CANCELLED) for seq in mine])
        is_open = select(Message.seq).where(
            Message.mailing_id == mailing.id,
            Message.seq.between(batch.first_seq, batch.last_seq),
            Message.outcome.in_(ledger.OPEN),
        )
        if (await session.execute(is_open.limit(1))).first() is None:
            await batches.finish(session, books)
