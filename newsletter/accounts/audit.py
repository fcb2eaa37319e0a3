"""Who changed what, or had it changed: written in the transaction of the change, and never altered."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.models import AuditEntry
from newsletter.kit import clock, ids
from newsletter.kit.db import JSONObject


async def note(
    session: AsyncSession,
    project_id: UUID | None,
    action: str,
    subject: str,
    *,
    key_id: UUID | None = None,
    ip: str | None = None,
    details: JSONObject | None = None,
) -> None:
    """No ``key_id``: an operator at the machine itself, or the service by its schedule. ``details`` hold no
    address of a reader, so that there is nothing to erase."""
    session.add(
        AuditEntry(
            id=ids.uuid7(),
            project_id=project_id,
            key_id=key_id,
            action=action,
            subject=subject,
            details=dict(details or {}),
            ip=ip,
            created_at=clock.now(),
        )
    )
    await session.flush()
