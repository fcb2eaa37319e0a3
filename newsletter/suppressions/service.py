"""Writes suppressions. Each function is safe to repeat."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit import bulk, clock, ids
from newsletter.kit.db import insert
from newsletter.suppressions.models import STRENGTH, Reason, Suppression
from newsletter.suppressions.queries import GLOBAL_SCOPE


@dataclass(frozen=True, slots=True)
class Wanted:
    """An address at one level, why, and who said so."""

    scope: str
    address_key: str
    reason: Reason
    source: str

    @property
    def place(self) -> tuple[str, str]:
        """What there is one suppression for."""
        return self.scope, self.address_key


_PAGED = {"insertmanyvalues_page_size": 100}
"""Rows of one statement: its text differs by their number, and the driver prepares each text once."""


async def suppress(
    session: AsyncSession,
    *,
    project_id: UUID | None,
    scope: str,
    address_keys: Collection[str],
    reason: Reason,
    source: str,
) -> set[str]:
    """`suppress_each` of addresses that have all but themselves in common. Returns those that were not
    suppressed there before."""
    wanted = [Wanted(scope, address_key, reason, source) for address_key in set(address_keys)]
    return {address_key for _, address_key in await suppress_each(session, project_id, wanted)}


async def suppress_each(
    session: AsyncSession, project_id: UUID | None, wanted: Collection[Wanted]
) -> set[tuple[str, str]]:
    """Suppresses each address at its level (`queries.project_scope` and its like), of which there is one
    among ``wanted``; the global level belongs to no project. At most four statements for 100 of them.

    Returns the places that were not suppressed before.
    """
    if not wanted:
        return set()
    now = clock.now()
    rows = [
        {
            "id": ids.uuid7(),
            "project_id": project_id,
            "scope": each.scope,
            "address_key": each.address_key,
            "reason": each.reason,
            "source": each.source,
            "created_at": now,
        }
        # In one order: two calls with the same addresses do not wait in a circle.
        for each in sorted(wanted, key=lambda each: each.place)
    ]
    table = bulk.plain_table(Suppression)
    statement = insert(session, Suppression).on_conflict_do_nothing()
    connection = await session.connection()
    written = await connection.execute(
        statement.returning(table.c.scope, table.c.address_key), rows, execution_options=_PAGED
    )
    added = {(scope, address_key) for scope, address_key in written}
    await _strengthen(session, {each.place: each for each in wanted if each.place not in added})
    return added


async def _strengthen(session: AsyncSession, known: Mapping[tuple[str, str], Wanted]) -> None:
    """Gives those that are there for a weaker reason the new one."""
    if not known:
        return
    places = bulk.among_pairs(session, (Suppression.scope, Suppression.address_key), known.keys())
    found = list(await session.scalars(select(Suppression.id).where(places)))
    # By their ids: where a row is, by which pairs are found, changes while one waits for its lock.
    statement = (
        select(Suppression.id, Suppression.scope, Suppression.address_key, Suppression.reason)
        .where(bulk.among(session, Suppression.id, found))
        .order_by(Suppression.id)
        .with_for_update()
    )
    changes = []
    for suppression_id, scope, address_key, reason in await session.execute(statement):
        each = known[scope, address_key]
        if STRENGTH.index(each.reason) > STRENGTH.index(reason):
            changes.append({"id": suppression_id, "reason": each.reason, "source": each.source})
    await bulk.update_rows(session, Suppression, changes)


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
