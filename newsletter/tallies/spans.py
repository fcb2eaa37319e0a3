"""Periods of a time zone in quarters of an hour since 1970: where its days and hours begin."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

QUARTER_SECONDS = 900
_EPOCH = date(1970, 1, 1)


class Step(IntEnum):
    """How long a period is, in quarters of an hour."""

    hour = 4
    day = 96
    """By the calendar: on the two days of the year on which clocks are changed, 92 or 100."""


@dataclass(frozen=True, slots=True)
class Span:
    """Quarters from ``first`` up to, and without, ``last``, in which clocks are ``offset`` quarters
    ahead of UTC."""

    first: int
    last: int
    offset: int


def quarter_of(at: datetime) -> int:
    return int(at.timestamp()) // QUARTER_SECONDS


def spans(first: date, last: date, zone: ZoneInfo) -> list[Span]:
    """The days from ``first`` to ``last``, both included, cut where clocks are changed.

    Every zone of today begins its days with a quarter; of an older time that does not, the part of
    a quarter belongs to the day in which the quarter begins.
    """
    end = _midnight(last + timedelta(days=1), zone)
    found: list[Span] = []
    day, start = first, _midnight(first, zone)
    while start < end:
        day += timedelta(days=1)
        for span in _constant(start, min(_midnight(day, zone), end), zone):
            if found and found[-1].offset == span.offset:
                span = Span(found.pop().first, span.last, span.offset)
            found.append(span)
        start = _midnight(day, zone)
    return found


def label(span: Span, quarter: int, step: Step) -> int:
    """The period that a quarter is in: of a day its number since 1970, as `day_of` reads it; of an
    hour the quarter with which it begins."""
    local = (quarter + span.offset) // step
    return local if step is Step.day else local * step - span.offset


def day_of(number: int) -> date:
    return _EPOCH + timedelta(days=number)


def instant_of(quarter: int) -> datetime:
    return datetime.fromtimestamp(quarter * QUARTER_SECONDS, UTC)


def labels(parts: list[Span], step: Step) -> list[int]:
    """Every period of these spans once, in order."""
    return list(dict.fromkeys(label(span, each, step) for span in parts for each in _starts(span, step)))


def _starts(span: Span, step: Step) -> Iterator[int]:
    quarter = span.first
    while quarter < span.last:
        yield quarter
        quarter = ((quarter + span.offset) // step + 1) * step - span.offset


def _midnight(day: date, zone: ZoneInfo) -> int:
    return quarter_of(datetime.combine(day, time(), zone))


def _constant(first: int, last: int, zone: ZoneInfo) -> Iterator[Span]:
    """A day of the zone, in the parts between changes of its clocks; there is one change at most."""
    before, after = _offset(first, zone), _offset(last - 1, zone)
    if before == after:
        yield Span(first, last, before)
        return
    low, high = first, last - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    yield Span(first, high, before)
    yield Span(high, last, after)


def _offset(quarter: int, zone: ZoneInfo) -> int:
    offset = instant_of(quarter).astimezone(zone).utcoffset() or timedelta()
    return int(offset.total_seconds()) // QUARTER_SECONDS
