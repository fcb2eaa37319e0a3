"""Calls with a key on their way into the audit log: noted once they were answered, written in blocks."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit import service
from newsletter.accounts.audit.chain import CALL
from newsletter.accounts.audit.models import AuditEntry
from newsletter.accounts.audit.service import Noted
from newsletter.accounts.project import Principal
from newsletter.kit import ids
from newsletter.kit.backlog import Backlog
from newsletter.kit.db import Database, JSONObject
from newsletter.kit.spool import Spool
from newsletter.settings import AuditSettings

_READS: Final = frozenset({"GET", "HEAD"})
_NO_DETAILS: Final[JSONObject] = {}
"""One for all, so that `bulk` spells it once."""
_PUBLIC_ID: Final = re.compile(r"[a-z]{3,4}_[0-9a-hjkmnp-tv-z]{26,32}")


class Call(NamedTuple):
    """One call that was answered: a tuple, which takes no time to make."""

    at: float
    """When it ended, in seconds since 1970."""
    principal: Principal
    method: str
    route: str
    path: Mapping[str, Any]
    """What the route's pattern names. Addresses among them are not kept."""
    status: int
    ip: str | None
    request_id: str | None
    seconds: float


class Calls(Backlog[Call, Noted]):
    """Those of one process and one event loop."""

    def __init__(self, db: Database, settings: AuditSettings, spool: Spool, node: str) -> None:
        super().__init__(
            "calls for the audit log",
            spool,
            every=settings.flush_seconds,
            block=settings.block,
            most=settings.buffer,
        )
        self._db, self._node, self._has_reads = db, node, settings.reads

    def note(self, noted: Call) -> None:
        if self._has_reads or noted.method not in _READS:
            super().note(noted)

    def rows(self, block: Sequence[Call]) -> Sequence[Noted]:
        return [
            Noted(
                call.principal.project.id,
                entry_id,
                call.principal.project.account_id,
                call.principal.key_id,
                CALL,
                call.method,
                call.route,
                call.status,
                _subject(call.path),
                _NO_DETAILS,
                _address(call.ip),
                self._node,
                call.request_id,
                round(call.seconds * 1000),
                datetime.fromtimestamp(call.at, UTC),
            )
            for call, entry_id in zip(block, ids.uuid7s(len(block)), strict=True)
        ]

    async def write(self, rows: Sequence[Noted]) -> None:
        async with self._db.unit_of_work() as session:
            await service.append(session, rows)

    async def write_again(self, rows: Sequence[Noted]) -> None:
        async with self._db.unit_of_work() as session:
            # Before it is asked which are there: another process may write them at this moment.
            await service.locked(session, {row.chain_id for row in rows})
            known = await _known(session, rows)
            if missing := [row for row in rows if row.id not in known]:
                await service.append(session, missing)

    def packed(self, row: Noted) -> JSONObject:
        return {
            **row._asdict(),
            **{name: value.hex for name, value in row._asdict().items() if isinstance(value, UUID)},
            "created_at": row.created_at.isoformat(),
        }

    def unpacked(self, packed: Any) -> Noted:
        own = {name: UUID(packed[name]) for name in ("chain_id", "id", "key_id", "account_id")}
        return Noted(**packed | own | {"created_at": datetime.fromisoformat(packed["created_at"])})


async def _known(session: AsyncSession, rows: Sequence[Noted]) -> set[UUID]:
    """The ids of those that are in the log."""
    times: dict[UUID, list[datetime]] = defaultdict(list)
    for row in rows:
        times[row.chain_id].append(row.created_at)
    known = set[UUID]()
    for chain_id, at in times.items():
        known.update(
            await session.scalars(
                select(AuditEntry.id).where(
                    AuditEntry.chain_id == chain_id, AuditEntry.created_at.between(min(at), max(at))
                )
            )
        )
    return known


def _subject(path: Mapping[str, Any]) -> str | None:
    """The last id of a path; None for one that names nothing by an id of ours."""
    found = [value for value in map(str, path.values()) if _PUBLIC_ID.fullmatch(value)] if path else []
    return found[-1] if found else None


@lru_cache(maxsize=10_000)
def _address(text: str | None) -> str | None:
    """None for what is no address: a proxy passes on what its caller says."""
    try:
        # Without its zone, which means something on one machine alone.
        return None if text is None else str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None
