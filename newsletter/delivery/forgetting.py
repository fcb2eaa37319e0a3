"""Erases a person from the books: the rows stay and still add up, the address goes."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import ledger, rolls
from newsletter.delivery.models import Attachment, Content, Mailing, Message, MessageAttempt, MessagePart
from newsletter.delivery.queries import public_id
from newsletter.events import service as events
from newsletter.kit import address
from newsletter.kit.db import is_postgresql


async def forget(session: AsyncSession, project_id: UUID, address_key: str, replacement: str) -> list[str]:
    """Replaces the address by ``replacement`` in every message of the project, and takes it out of
    the events of these messages, whose public ids it returns. Safe to repeat.

    What servers answered goes, too: they like to quote the address.
    """
    if is_postgresql(session):
        # Before the messages: a worker that writes a roll out meanwhile has done so when this is through.
        await rolls.forget(session, project_id, address_key, replacement)
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
    await _forget_contents(session, theirs, address_key)
    await session.execute(
        update(Message)
        .where(*theirs)
        .values(address=replacement, address_key=replacement, subscriber_id=None, reason=None)
    )
    return known_as


async def _forget_contents(
    session: AsyncSession, theirs: Sequence[ColumnElement[bool]], address_key: str
) -> None:
    """What single mails said to this person alone, and of them to others."""
    same = and_(MessagePart.mailing_id == Message.mailing_id, MessagePart.seq == Message.seq)
    parts = (await session.scalars(select(MessagePart).join(Message, same).where(*theirs))).all()
    for part in parts:
        part.name = None
        # All readers of one mail have its variables, which speak of whom it is for. Those who have
        # yet to get it still need them.
        still = select(Message.seq).where(
            Message.mailing_id == part.mailing_id, Message.outcome.in_(ledger.OPEN), ~and_(*theirs)
        )
        same_mail = MessagePart.mailing_id == part.mailing_id, MessagePart.item == part.item
        over = MessagePart.seq.not_in(still)
        await session.execute(
            update(MessagePart)
            .where(*same_mail, over)
            .values(variables={})
            .execution_options(synchronize_session=False)
        )
        content = await session.get(Content, (part.mailing_id, part.content))
        if content is None:
            continue
        readers = select(func.count()).where(
            MessagePart.mailing_id == part.mailing_id, MessagePart.content == part.content
        )
        if (await session.execute(readers)).scalar_one() > 1:
            content.head = {
                name: [each for each in value if address.parse(each[0]).key != address_key]
                if name in ("to", "cc")
                else value
                for name, value in content.head.items()
            }
            continue
        content.compiled, content.head = {}, {"reply_to": None, "headers": []}
        own = Attachment.mailing_id == part.mailing_id, Attachment.content == part.content
        await session.execute(delete(Attachment).where(*own))
    await session.flush()
