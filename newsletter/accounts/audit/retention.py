"""Ends the beginnings of chains that are old; what stays can still be verified."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import and_, delete, select

from newsletter.accounts.audit import service
from newsletter.accounts.audit.models import AuditChain, AuditEntry
from newsletter.accounts.audit.notary import notary_of
from newsletter.kit import clock
from newsletter.kit.db import Database

log = structlog.get_logger(__name__)

ENTRIES_AT_ONCE = 5_000


async def drop_entries(db: Database, before: datetime) -> bool:
    """Drops up to `ENTRIES_AT_ONCE` entries of ``before`` at the beginning of each chain that has any, and
    keeps the hash of the last one, signed. False where there were none.

    A chain whose head has no good signature stays as it is: it is evidence.
    """
    first_is_old = and_(
        AuditEntry.chain_id == AuditChain.id,
        AuditEntry.seq == AuditChain.pruned_seq + 1,
        AuditEntry.created_at < before,
    )
    old = select(AuditChain.id).join(AuditEntry, first_is_old).where(AuditChain.signature != "")
    async with db.read() as session:
        chain_ids = (await session.scalars(old)).all()
    found = [await _drop(db, chain_id, before) for chain_id in chain_ids]
    return any(found)


async def _drop(db: Database, chain_id: UUID, before: datetime) -> bool:
    async with db.unit_of_work() as session:
        head = (await service.locked(session, {chain_id}))[chain_id]
        if not notary_of(session).is_signed(head):
            log.error("an audit chain is not pruned, as its head is not signed", chain=str(chain_id))
            return False
        first = (
            select(AuditEntry.seq, AuditEntry.hash, AuditEntry.created_at)
            .where(AuditEntry.chain_id == chain_id, AuditEntry.seq > head.pruned_seq)
            .order_by(AuditEntry.seq)
            .limit(ENTRIES_AT_ONCE)
        )
        last: tuple[int, str] | None = None
        for seq, hash_, created_at in await session.execute(first):
            if created_at >= before:
                break
            last = seq, hash_
        if last is None:
            return False
        await session.execute(
            delete(AuditEntry).where(AuditEntry.chain_id == chain_id, AuditEntry.seq <= last[0])
        )
        shorter = replace(head, pruned_seq=last[0], pruned_hash=last[1], signed_at=clock.now())
        await service.write_heads(session, [notary_of(session).signed(shorter)])
    return True
