"""Erases a person from the books: the rows stay and still add up, the address goes."""

from uuid import UUID

from sqlalchemy import select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.models import Mailing, Message, MessageAttempt
from newsletter.delivery.queries import public_id
from newsletter.events import service as events


async def forget(session: AsyncSession, project_id: UUID, address_key: str, replacement: str) -> None:
    """Replaces the address by ``replacement`` in every message of the project, and takes it out of
    the events of these messages. Safe to repeat.

    What servers answered goes, too: they like to quote the address.
    """
    mine = select(Mailing.id).where(Mailing.project_id == project_id).scalar_subquery()
    theirs = Message.mailing_id.in_(mine), Message.address_key == address_key
    tries = select(MessageAttempt.mailing_id, MessageAttempt.seq).join(
        Message, (Message.mailing_id == MessageAttempt.mailing_id) & (Message.seq == MessageAttempt.seq)
    )
    await session.execute(
        update(MessageAttempt)
        .where(tuple_(MessageAttempt.mailing_id, MessageAttempt.seq).in_(tries.where(*theirs)))
        .values(reason=None)
        .execution_options(synchronize_session=False)
    )
    known_as = [
        public_id(*key)
        for key in await session.execute(select(Message.mailing_id, Message.seq).where(*theirs))
    ]
    await events.blank_messages(session, project_id, known_as)
    await session.execute(
        update(Message)
        .where(*theirs)
        .values(address=replacement, address_key=replacement, subscriber_id=None, reason=None)
    )
