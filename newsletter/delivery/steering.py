"""Pauses, resumes and cancels a mailing on its way.

Workers read its status with each block and before each message, so each of these holds
within a second. A batch of a paused mailing is given back without a job; a resume makes
jobs for exactly those.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.delivery import brake, urgency
from newsletter.delivery.models import Batch, BatchStatus, Mailing, MailingStatus
from newsletter.kit.db import db_now
from newsletter.settings import DeliverySettings


async def pause(session: AsyncSession, project: Project, mailing_id: UUID) -> bool:
    """Stops a running mailing; False when it is not running."""
    statement = (
        update(Mailing)
        .where(
            Mailing.id == mailing_id,
            Mailing.project_id == project.id,
            Mailing.status == MailingStatus.running,
        )
        .values(status=MailingStatus.paused, paused_at=db_now())
        .returning(Mailing.id)
    )
    return (await session.execute(statement)).first() is not None


async def resume(
    session: AsyncSession, project: Project, mailing_id: UUID, settings: DeliverySettings
) -> bool:
    """Goes on with a paused mailing; False when it is not paused.

    The clock of expiry stood still: messages that wait for another try have as long as before.
    """
    held = select(Mailing).where(Mailing.id == mailing_id, Mailing.project_id == project.id)
    # The lock that `halting.is_paused` waits for, and no stronger: the batches' foreign keys share it.
    held = held.with_for_update(key_share=True).execution_options(populate_existing=True)
    mailing = (await session.scalars(held)).one_or_none()
    if mailing is None or mailing.status is not MailingStatus.paused:
        return False
    now = (await session.execute(select(db_now()))).scalar_one()
    mailing.expires_at += max(timedelta(0), now - (mailing.paused_at or now))
    mailing.paused_at = None
    await brake.release(session, mailing, settings)
    mailing.status = MailingStatus.running
    await session.flush()
    parked = (
        update(Batch)
        .where(
            Batch.mailing_id == mailing_id,
            Batch.status == BatchStatus.waiting,
            Batch.due_at.is_(None),
        )
        .values(due_at=db_now())
        .returning(Batch.id)
    )
    await urgency.enqueue(session, urgency.of_mailing(mailing.kind), (await session.scalars(parked)).all())
    return True


async def cancel(session: AsyncSession, project: Project, mailing_id: UUID) -> bool:
    """Ends a mailing: what is not begun is skipped. False when it is over already."""
    statement = (
        update(Mailing)
        .where(
            Mailing.id == mailing_id,
            Mailing.project_id == project.id,
            Mailing.status.in_([MailingStatus.running, MailingStatus.paused]),
        )
        .values(status=MailingStatus.cancelled)
        .returning(Mailing.kind)
    )
    kind = (await session.scalars(statement)).one_or_none()
    if kind is None:
        return False
    # Batches whose next message is due later would see it late, and parked ones never: wake each.
    waiting = select(Batch.id).where(Batch.mailing_id == mailing_id, Batch.status == BatchStatus.waiting)
    await urgency.enqueue(session, urgency.of_mailing(kind), (await session.scalars(waiting)).all())
    return True
