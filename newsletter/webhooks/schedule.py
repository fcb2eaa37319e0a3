"""When a failed call is made again."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

JITTER = 0.2
"""Each wait is stretched or shortened by up to this share, so that the calls which failed
together in one outage do not all come back in the same second."""
MAX_RETRY_AFTER = 86_400.0
"""Seconds of a ``Retry-After`` that are honoured at most: the longest wait of the schedule.
Without a bound an endpoint could keep its deliveries with us for ever."""

_random = secrets.SystemRandom()


def seconds_until_retry(waits: Sequence[int], failures: int, retry_after: float | None) -> float | None:
    """Seconds from the latest of ``failures`` failed calls to the next call; None: no more calls.

    ``retry_after`` is what the endpoint asked for: it can lengthen the wait, never shorten it.
    """
    if failures > len(waits):
        return None
    wait = waits[failures - 1] * _random.uniform(1 - JITTER, 1 + JITTER)
    return max(wait, min(retry_after or 0.0, MAX_RETRY_AFTER))


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110 §10.2.3: seconds or a date).

    None for a missing or unreadable header, and for a date that is over.
    """
    header = (header or "").strip()
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        at = datetime.strptime(header, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
    seconds = (at - now).total_seconds()
    return seconds if seconds > 0 else None
