"""Sends again what nobody knows the fate of: on request, once for each request.

A message whose answer was lost is `unknown`, perhaps sent, and never sent again unasked. When
the customer asks, it goes back to `pending` in the batch that it is counted in, so that the
books go on to balance, and keeps its Message-ID, by which mailboxes may tell the second copy.
"""

from collections import Counter
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.delivery import urgency
from newsletter.delivery.models import (
    Batch,
    BatchStatus,
    Mailing,
    MailingKind,
    MailingStatus,
    Message,
    Outcome,
)
from newsletter.delivery.service import reserve_mails
from newsletter.kit import clock
from newsletter.kit.db import db_in, db_now
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.settings import DeliverySettings
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Metric


async def resend_unknown(
    session: AsyncSession,
    project: Project,
    mailing_id: UUID,
    *,
    mail_limit: int | None,
    settings: DeliverySettings,
) -> int:
    """Opens a closed mailing again for its unknown messages; returns how many there are.

    Each counted as spent, and so needs a mail of the plan of its own. Raises `QuotaExceeded`;
    the transaction is then the caller's to roll back.
    """
    holders = (
        select(Batch.id, Batch.first_seq, Batch.last_seq)
        .where(Batch.mailing_id == mailing_id, Batch.unknown > 0)
        .order_by(Batch.first_seq)
        # Batches before messages, as everybody goes who counts what comes back.
        .with_for_update()
    )
    found: dict[UUID, int] = {}
    for batch_id, first, last in (await session.execute(holders)).all():
        again = (
            update(Message)
            .where(
                Message.mailing_id == mailing_id,
                Message.seq.between(first, last),
                Message.outcome == Outcome.unknown,
            )
            .values(outcome=Outcome.pending, reason=None, decided_at=None, next_attempt_at=None)
            .returning(Message.server_id)
        )
        by_server = Counter((await session.scalars(again)).all())
        for server_id, number in by_server.items():
            fewer = {Metric.unknown: -number}
            await tallies.add_now(session, project.id, mailing_id, server_id, fewer)
        if by_server:
            found[batch_id] = by_server.total()
    for batch_id, number in found.items():
        values = {"status": BatchStatus.waiting, "unknown": Batch.unknown - number}
        values |= {"crashes": 0, "outages": 0, "due_at": db_now()}
        await session.execute(update(Batch).where(Batch.id == batch_id).values(values))
    if not found:
        return 0
    kind = await _reopen(session, project, mailing_id, sum(found.values()), mail_limit, settings)
    await urgency.enqueue(session, urgency.of_mailing(kind), found)
    return sum(found.values())


async def _reopen(
    session: AsyncSession,
    project: Project,
    mailing_id: UUID,
    count: int,
    mail_limit: int | None,
    settings: DeliverySettings,
) -> MailingKind:
    period = plans.period_of(Resource.mails, clock.now())
    await reserve_mails(session, project.quota_owner_id, count, mail_limit, period)
    # Nothing of a closed mailing is reserved: from now on it settles in the month of this call.
    reopened = (
        update(Mailing)
        .where(Mailing.id == mailing_id, Mailing.project_id == project.id)
        .values(
            status=MailingStatus.running,
            closed_at=None,
            quota_period=period,
            expires_at=db_in(3600 * settings.campaign_hours),
        )
        .returning(Mailing.kind)
    )
    return (await session.scalars(reopened)).one()
