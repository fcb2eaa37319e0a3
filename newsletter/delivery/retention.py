"""Ends what single mails said and why tries were refused; that they were sent stays in the books."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import sheaf
from newsletter.delivery.models import Attachment, Content, Mailing, MailingKind, MessageAttempt, MessagePart
from newsletter.kit import ids
from newsletter.kit.db import Database

MAILINGS_AT_ONCE = 100
TRIES_AT_ONCE = 5_000


async def drop_bodies(db: Database, before: datetime) -> bool:
    """Drops text, variables and attachments of single mails that were over ``before``; of up to
    `MAILINGS_AT_ONCE` calls. False where there was nothing to drop."""
    # A mailing is not over before it began, so its id bounds the search.
    old = (
        select(Content.mailing_id)
        .join(Mailing, Mailing.id == Content.mailing_id)
        .where(
            Content.mailing_id < ids.first_of(before),
            Mailing.kind == MailingKind.transactional,
            Mailing.closed_at < before,
        )
        .distinct()
        .limit(MAILINGS_AT_ONCE)
    )
    async with db.read() as session:
        found = (await session.scalars(old)).all()
    if not found:
        return False
    async with db.unit_of_work() as session:
        for table in (Attachment, Content):
            await session.execute(delete(table).where(table.mailing_id.in_(found)))
        parts = update(MessagePart).where(MessagePart.mailing_id.in_(found)).values(variables={})
        await session.execute(parts.execution_options(synchronize_session=False))
    return True


async def drop_parts(session: AsyncSession, messages: Select[*tuple[Any, ...]]) -> None:
    """Drops the variables of these messages of automations, which are given by mailing and number."""
    key = tuple_(MessagePart.mailing_id, MessagePart.seq)
    statement = delete(MessagePart).where(key.in_(messages), MessagePart.content == sheaf.SHARED)
    await session.execute(statement.execution_options(synchronize_session=False))


async def drop_tries(db: Database, before: datetime) -> bool:
    """Drops up to `TRIES_AT_ONCE` refused tries of ``before``. False where there were none."""
    key = MessageAttempt.mailing_id, MessageAttempt.seq, MessageAttempt.attempt
    old = (
        select(*key)
        .where(MessageAttempt.mailing_id < ids.first_of(before), MessageAttempt.at < before)
        .limit(TRIES_AT_ONCE)
    )
    async with db.read() as session:
        if (await session.execute(old.limit(1))).first() is None:
            return False
    async with db.unit_of_work() as session:
        statement = delete(MessageAttempt).where(tuple_(*key).in_(old))
        await session.execute(statement.execution_options(synchronize_session=False))
    return True
