"""How fast a mailing goes, and when it will be over: from its batches alone, never its messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import ledger
from newsletter.delivery.models import Batch
from newsletter.kit.db import db_in, db_now
from newsletter.kit.prepared import Among, Prepared, Statement

WINDOW = 60.0
"""Seconds that the rate looks back."""


@dataclass(frozen=True, slots=True)
class Progress:
    """``pending``: recipients that are not decided yet. ``per_second``: decided in the last minute.
    ``eta``: None while nothing moves that could be reckoned with."""

    pending: int
    per_second: float
    eta: datetime | None


@dataclass(frozen=True, slots=True)
class Share:
    """What batches add to the progress of their mailing: those that were claimed, and last heard of,
    at the same times."""

    size: int
    decided: int
    decided_before: int
    claimed_at: datetime | None
    renewed_at: datetime | None
    """Both None for those that were not heard of in the window."""
    due_at: datetime | None
    """None for those in which nothing is left."""


def _shares(is_among: Among) -> Statement:
    decided = sum((getattr(Batch, each.value) for each in ledger.COUNTED[1:]), start=Batch.sent)
    size = Batch.last_seq - Batch.first_seq + 1
    is_recent = Batch.renewed_at > db_in(-WINDOW)
    batches = (
        select(
            size.label("size"),
            decided.label("decided"),
            Batch.decided_before,
            case((is_recent, Batch.claimed_at)).label("claimed_at"),
            case((is_recent, Batch.renewed_at)).label("renewed_at"),
            case((size > decided, Batch.due_at)).label("due_at"),
        )
        .where(Batch.mailing_id == bindparam("mailing_id"))
        .subquery()
    )
    of_each = (batches.c.claimed_at, batches.c.renewed_at, batches.c.due_at)
    sums = (func.sum(batches.c[name]) for name in ("size", "decided", "decided_before"))
    return select(*sums, *of_each, db_now()).group_by(*of_each)


_SHARES = Prepared(_shares)


async def of(session: AsyncSession, mailing_id: UUID) -> Progress:
    """One indexed query, which reads 1,000 rows for a million recipients, and returns one for all
    batches that have not begun or are long over, and one for each of the others."""
    found = await _SHARES.rows(session, mailing_id=mailing_id)
    if not found:
        return Progress(0, 0.0, None)
    shares = [Share(int(row[0]), int(row[1]), int(row[2]), *row[3:6]) for row in found]
    return reckon(shares, found[0][6])


def reckon(shares: Sequence[Share], now: datetime) -> Progress:
    rate = _rate(shares, now)
    pending = due = 0
    last = now
    for share in shares:
        left = share.size - share.decided
        pending += left
        if share.due_at is not None and share.due_at > now and left:
            last = max(last, share.due_at)
        else:
            due += left
    eta = None
    if not due:
        eta = last if pending else None
    elif rate:
        eta = max(last, now + timedelta(seconds=due / rate))
    return Progress(pending, rate, eta)


def _rate(shares: Sequence[Share], now: datetime) -> float:
    """Decided messages a second, over the window or since the first claim that reaches into it.

    A batch is taken to go steadily from its claim to its last sign of life: its part inside of
    the window counts by time.
    """
    start = now - timedelta(seconds=WINDOW)
    count, first = 0.0, now
    for share in shares:
        claimed, renewed = share.claimed_at, share.renewed_at
        if claimed is None or renewed is None or renewed <= start:
            continue
        first = min(first, max(claimed, start))
        lasted = (renewed - claimed).total_seconds()
        inside = (renewed - max(claimed, start)).total_seconds()
        count += (share.decided - share.decided_before) * (inside / lasted if lasted > 0 else 1.0)
    # Below a second nothing can be told.
    return round(count / max(1.0, (now - first).total_seconds()), 1)
