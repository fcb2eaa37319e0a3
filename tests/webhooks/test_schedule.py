"""When a failed call is made again."""

from datetime import UTC, datetime

import pytest

from newsletter.settings import WebhookSettings
from newsletter.webhooks.schedule import MAX_RETRY_AFTER, read_retry_after, seconds_until_retry

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
WAITS = WebhookSettings(allowed_ranges=()).retry_seconds


def test_the_waits_are_those_of_the_contract() -> None:
    hours = 3600
    assert (5, 300, 1800, 2 * hours, 5 * hours, 10 * hours, 14 * hours, 20 * hours, 24 * hours) == WAITS
    assert sum(WAITS) == 75 * hours + 35 * 60 + 5
    assert WebhookSettings().timeout == 8


@pytest.mark.parametrize("failures", range(1, len(WAITS) + 1))
def test_each_wait_is_spread_by_a_fifth_both_ways(failures: int) -> None:
    wait = WAITS[failures - 1]
    drawn = [seconds_until_retry(WAITS, failures, None) or 0.0 for _ in range(500)]
    assert wait * 0.8 <= min(drawn) < wait * 0.9
    assert wait * 1.1 < max(drawn) <= wait * 1.2


def test_after_the_last_failure_there_is_no_further_call() -> None:
    assert seconds_until_retry(WAITS, len(WAITS) + 1, None) is None
    assert seconds_until_retry(WAITS, len(WAITS) + 1, 60.0) is None


def test_retry_after_lengthens_a_wait_and_never_shortens_it() -> None:
    assert seconds_until_retry(WAITS, 1, 90.0) == 90.0
    assert (seconds_until_retry(WAITS, 3, 1.0) or 0) >= 1800 * 0.8


def test_retry_after_is_bounded() -> None:
    assert seconds_until_retry(WAITS, 1, 1e9) == MAX_RETRY_AFTER
    assert seconds_until_retry(WAITS, 1, float("inf")) == MAX_RETRY_AFTER


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sat, 21 Nov 2026 12:01:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", None),
        ("9" * 6000, float("inf")),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header, NOW) == seconds
