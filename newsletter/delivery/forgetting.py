"""Erases a person from the books: the rows stay and still add up, the address goes."""

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.models import Mailing, Message


async def forget(session: AsyncSession, project_id: UUID, address_key: str, replacement: str) -> None:
    """Replaces the address by ``replacement`` in every message of the project. Safe to repeat."""
    mine = select(Mailing.id).where(Mailing.project_id == project_id).scalar_subquery()
    await session.execute(
        update(Message)
        .where(Message.mailing_id.in_(mine), Message.address_key == address_key)
        .values(address=replacement, address_key=replacement, subscriber_id=None)
    )
