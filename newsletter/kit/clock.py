"""The wall clock of this process, in UTC. Leases use the database's clock instead (`kit.db`)."""

from datetime import UTC, datetime
from functools import lru_cache


def now() -> datetime:
    return datetime.now(UTC)


def month(at: datetime) -> str:
    """The billing period ``at`` falls in, ``2026-11``: calendar months in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m")


def seconds_to_next_month(at: datetime) -> int:
    """Whole seconds, at least 1, until the next billing period begins."""
    at = at.astimezone(UTC)
    year, number = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)
    return max(1, -int((at - datetime(year, number, 1, tzinfo=UTC)).total_seconds() // 1))


# Rows of one step were made at one moment, which was written six times for each of them.
@lru_cache(maxsize=1_000)
def rfc3339(at: datetime) -> str:
    """``2026-11-21T09:30:00Z``, with microseconds only where there are any (RFC 3339)."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat().replace("+00:00", "Z")
