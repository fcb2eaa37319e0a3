"""Writes suppressions. Each function is safe to repeat."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit import clock, ids
from newsletter.kit.db import insert
from newsletter.suppressions.models import Reason, Suppression
from newsletter.suppressions.queries import GLOBAL_SCOPE

_STRENGTH = (Reason.unsubscribe, Reason.hard_bounce, Reason.complaint, Reason.manual, Reason.erased)
"""A stronger reason takes the place of a weaker one, never the other way round."""


async def suppress(
    session: AsyncSession,
    *,
    project_id: UUID | None,
    scope: str,
    address_keys: Collection[str],
    reason: Reason,
    source: str,
) -> set[str]:
    """Suppresses the addresses at one level (`queries.project_scope` and its like); the global
    level belongs to no project.

    Returns those that were not suppressed there before.
    """
    if not address_keys:
        return set()
    now = clock.now()
    rows = [
        {
            "id": ids.uuid7(),
            "project_id": project_id,
            "scope": scope,
            "address_key": address_key,
            "reason": reason,
            "source": source,
            "created_at": now,
        }
        for address_key in sorted(address_keys)
    ]
    statement = insert(session, Suppression).values(rows).on_conflict_do_nothing()
    added = set(await session.scalars(statement.returning(Suppression.address_key)))
    if known := set(address_keys) - added:
        weaker = _STRENGTH[: _STRENGTH.index(reason)]
        await session.execute(
            update(Suppression)
            .where(
                Suppression.project_id == project_id,
                Suppression.scope == scope,
                Suppression.address_key.in_(known),
                Suppression.reason.in_(weaker),
            )
            .values(reason=reason, source=source)
        )
    return added


async def lift(
    session: AsyncSession,
    *,
    project_id: UUID,
    scope: str,
    address_keys: Collection[str],
    reasons: Collection[Reason],
) -> None:
    """Removes what was suppressed at this level for one of these reasons."""
    if address_keys:
        await session.execute(
            delete(Suppression).where(
                Suppression.project_id == project_id,
                Suppression.scope == scope,
                Suppression.address_key.in_(address_keys),
                Suppression.reason.in_(reasons),
            )
        )


async def lift_everywhere(session: AsyncSession, address_keys: Collection[str]) -> int:
    """Removes addresses from the level of the whole installation; returns how many were there."""
    statement = delete(Suppression).where(
        Suppression.scope == GLOBAL_SCOPE, Suppression.address_key.in_(address_keys)
    )
    return len((await session.scalars(statement.returning(Suppression.id))).all())


async def forget_scope(session: AsyncSession, project_id: UUID, scope: str) -> None:
    """Removes a whole level: its list was deleted."""
    await session.execute(
        delete(Suppression).where(Suppression.project_id == project_id, Suppression.scope == scope)
    )


async def forget_address(session: AsyncSession, project_id: UUID, address_key: str) -> None:
    """Removes the address from every level of the project: its tombstone takes over."""
    await session.execute(
        delete(Suppression).where(
            Suppression.project_id == project_id, Suppression.address_key == address_key
        )
    )


async def correct(session: AsyncSession, suppression_id: UUID, source: str) -> None:
    """Where it came from was noted wrongly."""
    await session.execute(update(Suppression).where(Suppression.id == suppression_id).values(source=source))


async def remove(session: AsyncSession, suppression_id: UUID) -> None:
    await session.execute(delete(Suppression).where(Suppression.id == suppression_id))
