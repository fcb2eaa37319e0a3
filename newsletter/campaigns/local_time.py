"""Local time: what a schedule means in its zone, and when a reader's clock shows an hour."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def instant(at: datetime, zone: ZoneInfo) -> datetime:
    """A local time without a zone as a moment in UTC.

    Raises `ValueError` for a time that the zone's clocks skip or show twice: an hour too early or
    too late is for the caller to choose, who gets both ways to write it.
    """
    try:
        first, second = (at.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        raise ValueError("must be between the years 1 and 9999 in UTC") from None
    if first == second:
        return first
    choices = " or ".join(each.astimezone(zone).isoformat() for each in sorted((first, second)))
    if first > second:
        raise ValueError(f"does not exist in {zone.key}, where clocks are put forward: send {choices}")
    raise ValueError(f"comes twice in {zone.key}, where clocks are put back: send {choices}")


def next_at(hour: int, zone: ZoneInfo, start: datetime) -> datetime:
    """The first moment from ``start`` on at which the zone's clocks show ``hour`` o'clock, in UTC.

    Where they skip it that day, the moment at which they would have shown it. At most 26 hours
    away: a day of the longest change of clocks.
    """
    today = start.astimezone(zone).date()
    days = (today + timedelta(days=ahead) for ahead in range(3))
    return min(moment for day in days for moment in _moments(day, hour, zone) if moment >= start)


def _moments(day: date, hour: int, zone: ZoneInfo) -> Iterator[datetime]:
    local = datetime.combine(day, time(hour))
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    yield first
    if second > first:
        yield second


def hours_of(
    zones: Collection[str | None], hour: int, start: datetime, default: ZoneInfo
) -> Mapping[datetime, list[str]]:
    """Which of these zones show the hour at which moment: a few dozen moments for all the world.

    Names that are no zone (any more) are left out, and are for the caller to take as ``default``.
    """
    found: dict[datetime, list[str]] = {next_at(hour, default, start): []}
    for name in sorted(name for name in zones if name):
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
        found.setdefault(next_at(hour, zone, start), []).append(name)
    return found
