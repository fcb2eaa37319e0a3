"""Soft bounces that repeat: an address that fails for long enough is as good as none."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import case, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.feedback.models import SoftBounces
from newsletter.kit import clock
from newsletter.kit.bulk import among
from newsletter.kit.db import insert
from newsletter.settings import BounceSettings


async def count(session: AsyncSession, project_id: UUID, address_key: str, settings: BounceSettings) -> bool:
    """Counts one more; True when the address has had enough of them within the window, which then begins
    anew. Call it once for each message."""
    now = clock.now()
    is_over = SoftBounces.since < now - timedelta(days=settings.soft_days)
    first = {"project_id": project_id, "address_key": address_key, "count": 1, "since": now}
    statement = (
        insert(session, SoftBounces)
        .values(first)
        .on_conflict_do_update(
            index_elements=["project_id", "address_key"],
            set_={
                "count": case((is_over, 1), else_=SoftBounces.count + 1),
                "since": case((is_over, now), else_=SoftBounces.since),
            },
        )
        .returning(SoftBounces.count)
    )
    if (await session.execute(statement)).scalar_one() < settings.soft_limit:
        return False
    await forget(session, project_id, address_key)
    return True


async def forget(session: AsyncSession, project_id: UUID, *address_keys: str) -> None:
    """Mails arrived there, or the person is erased."""
    await session.execute(
        delete(SoftBounces).where(
            SoftBounces.project_id == project_id, among(session, SoftBounces.address_key, set(address_keys))
        )
    )


async def counted(session: AsyncSession, project_id: UUID, address_key: str) -> int:
    """How many there are in a row."""
    statement = select(SoftBounces.count).where(
        SoftBounces.project_id == project_id, SoftBounces.address_key == address_key
    )
    return (await session.scalars(statement)).one_or_none() or 0
