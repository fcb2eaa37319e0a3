"""Reads the event log."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events.models import Event


async def by_ids(session: AsyncSession, event_ids: Sequence[UUID]) -> Sequence[Event]:
    """For jobs, which carry ids; in the order in which the events happened."""
    return (await session.scalars(select(Event).where(Event.id.in_(event_ids)).order_by(Event.id))).all()
