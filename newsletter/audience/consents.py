"""Writes the history of consent: one row for every change, and rows are never changed after.

Erasure alone touches them again: it blanks what names the person (`newsletter.audience.erase`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.audience.models import Consent, ConsentAction
from newsletter.audience.rows import Row
from newsletter.kit import bulk, clock, ids


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a change of consent came from."""

    source: str
    """``api``, ``one-click``, ``unsubscribe page``, a form's name …"""
    ip: str | None = None
    """Of the person, not of the server that calls for them."""
    text: str | None = None
    """The words that the person agreed to."""
    key_id: UUID | None = None
    at: datetime | None = None
    """When it happened, where that was before the call."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one subscriber's consent."""

    subscriber: Row
    action: ConsentAction
    evidence: Evidence


async def record(session: AsyncSession, changes: Sequence[Change]) -> None:
    now = clock.now()
    await bulk.insert_rows(
        session,
        Consent,
        [
            {
                "id": ids.uuid7(),
                "project_id": change.subscriber.project_id,
                "list_id": change.subscriber.list_id,
                "subscriber_id": change.subscriber.id,
                "address_key": change.subscriber.address_key,
                "action": change.action,
                "source": change.evidence.source,
                "ip": change.evidence.ip,
                "text": change.evidence.text,
                "key_id": change.evidence.key_id,
                "at": change.evidence.at or now,
            }
            for change in changes
        ],
    )
