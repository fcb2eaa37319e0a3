"""Verifies sending domains: looks at their records and says what follows.

A domain is verified when each required record was found. It is `failed` when the DNS said that one is
missing or wrong; one that was verified, only after the DNS has said so for the grace, at every look in
between that found an answer. No answer changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit import service as audit
from newsletter.accounts.project import Principal
from newsletter.domains import looking, queries, records
from newsletter.domains.models import DomainStatus, SendingDomain
from newsletter.domains.records import RecordPurpose, RecordStatus, Sight
from newsletter.domains.resolver import Resolver
from newsletter.kit import clock, ids, jobs
from newsletter.kit.db import Database
from newsletter.settings import Settings
from newsletter.settings.domains import DNSSettings

log = structlog.get_logger(__name__)

CLAIMED_AT_ONCE = 500
"""Domains whose daily look one pass begins at most."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose call had it looked at."""

    key_id: UUID
    ip: str | None


async def verify(
    db: Database,
    resolver: Resolver,
    settings: Settings,
    principal: Principal,
    row: SendingDomain,
    *,
    ip: str | None,
) -> SendingDomain:
    """Looks now, and keeps what was seen; the row as it is then. Safe to repeat. Raises `NotFound` where it
    was deleted meanwhile."""
    seen = await looking.look(resolver, records.expected(row, settings))
    async with db.unit_of_work() as session:
        row = await queries.domain(session, principal.project, row.id, lock=True)
        await _keep(session, row, seen, settings.dns, Asker(principal.key_id, ip))
    return row


async def look_again(db: Database, resolver: Resolver, settings: Settings, domain_id: UUID) -> None:
    """The daily look at a verified domain, unless somebody had it looked at meanwhile or deleted it; so a
    second run finds nothing to do."""
    async with db.read() as session:
        row = await queries.by_id(session, domain_id)
    if row is None or not _is_due(row, settings.dns):
        return
    seen = await looking.look(resolver, records.expected(row, settings))
    async with db.unit_of_work() as session:
        again = await queries.by_id(session, domain_id, lock=True)
        if again is not None and _is_due(again, settings.dns):
            await _keep(session, again, seen, settings.dns, None)


async def enqueue_due(db: Database, settings: DNSSettings) -> None:
    """A job for each domain whose daily look is due; two passes at once make one."""
    before = clock.now() - timedelta(hours=settings.recheck_hours)
    async with db.read() as session:
        due = await queries.due(session, before, CLAIMED_AT_ONCE)
    if due:
        async with db.unit_of_work() as session:
            for domain_id in due:
                key = f"domains.look_again:{domain_id}"
                await jobs.enqueue(session, "domains.look_again", {"domain_id": str(domain_id)}, key=key)


def _is_due(row: SendingDomain, settings: DNSSettings) -> bool:
    is_old = row.checked_at is None or clock.now() - row.checked_at >= timedelta(hours=settings.recheck_hours)
    return row.status is DomainStatus.verified and is_old


async def _keep(
    session: AsyncSession, row: SendingDomain, sight: Sight, settings: DNSSettings, asker: Asker | None
) -> None:
    now, before = clock.now(), row.status
    row.checks, row.checked_at = records.to_json(sight), now
    required = {record: seen for record, seen in sight.items() if record.is_required}
    absent = [record.name for record, seen in required.items() if seen.is_absent]
    if absent:
        row.absent_since = row.absent_since or now
        if before is not DomainStatus.verified or _is_over(row.absent_since, now, settings):
            row.status = DomainStatus.failed
    elif all(seen.status is RecordStatus.found for seen in required.values()):
        row.status, row.absent_since = DomainStatus.verified, None
    for record, seen in sight.items():
        # Another may have been named while this one was looked up.
        if record.purpose is RecordPurpose.tracking and record.name == row.tracking_host:
            if seen.status is RecordStatus.found:
                row.tracking_verified_at = row.tracking_verified_at or now
            elif seen.is_absent:  # At once: its links lead nowhere, those of the installation do.
                row.tracking_verified_at = None
    if row.status is not before:
        await _note(session, row, {"domain": row.domain, "absent": absent}, asker)


def _is_over(absent_since: datetime, now: datetime, settings: DNSSettings) -> bool:
    return now - absent_since >= timedelta(hours=settings.grace_hours)


async def _note(
    session: AsyncSession, row: SendingDomain, details: Mapping[str, str | list[str]], asker: Asker | None
) -> None:
    public_id = ids.public("dom", row.id)
    if asker is None:
        log.warning("a sending domain lost its verification", domain_id=public_id, absent=details["absent"])
    await audit.note(
        session,
        row.project_id,
        f"sending_domain.{row.status.value}",
        public_id,
        key_id=asker.key_id if asker else None,
        ip=asker.ip if asker else None,
        details=details,
    )
