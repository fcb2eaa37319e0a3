"""Local time over every zone of the world, around each change of its clocks."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from newsletter.campaigns import local_time

FROM, DAYS = datetime(2027, 1, 1, tzinfo=UTC), 366
QUARTER = timedelta(minutes=15)
ZONES = [ZoneInfo(name) for name in sorted(available_timezones())]


@dataclass(frozen=True)
class Change:
    """A day in which clocks are changed, and their offsets before and after."""

    day: datetime
    before: timedelta | None
    after: timedelta | None


def changes(zone: ZoneInfo) -> tuple[Change, ...]:
    days = [FROM + timedelta(days=number) for number in range(DAYS)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    changed = zip(days, offsets, offsets[1:], strict=False)
    return tuple(Change(*each) for each in changed if each[1] != each[2])


def shown(zone: ZoneInfo, start: datetime, hours: int) -> dict[datetime, list[datetime]]:
    """What the zone's clocks show each quarter of an hour, and at which moments they do."""
    found = defaultdict(list)
    for number in range(4 * hours):
        moment = start + number * QUARTER
        found[moment.astimezone(zone).replace(tzinfo=None)].append(moment)
    return found


# Zones with the same clocks are tested once.
CHANGING = {found: zone for zone in ZONES if (found := changes(zone))}.items()


def test_the_world_changes_its_clocks() -> None:
    assert len(ZONES) > 400
    assert len(CHANGING) > 10


def test_a_local_time_is_the_moment_at_which_clocks_show_it_or_is_refused() -> None:
    refused = 0
    for found, zone in CHANGING:
        for day in (change.day for change in found):
            clocks = shown(zone, day - timedelta(hours=24), 72)
            first = min(clocks)
            for number in range(4 * 70):
                wall = first + number * QUARTER
                moments = clocks.get(wall, [])
                if len(moments) == 1:
                    assert local_time.instant(wall, zone) == moments[0], (zone.key, wall)
                    continue
                refused += 1
                with pytest.raises(ValueError, match="twice" if moments else "does not exist"):
                    local_time.instant(wall, zone)
    assert refused > 100


def test_an_hour_comes_at_the_first_moment_at_which_clocks_show_it() -> None:
    skipped = 0
    for found, zone in CHANGING:
        for day in (change.day for change in found):
            start = day - timedelta(hours=12)
            clocks = shown(zone, start, 75)
            for hour in (0, 1, 2, 3, 12, 23):
                moment = local_time.next_at(hour, zone, start)
                assert start <= moment <= start + timedelta(hours=26), (zone.key, hour)
                wall = moment.astimezone(zone).replace(tzinfo=None)
                at_the_hour = (seen for seen in clocks if (seen.hour, seen.minute) == (hour, 0))
                first = min(clocks[seen][0] for seen in at_the_hour)
                if moment == first:
                    continue
                # Skipped that day: the moment at which clocks would have shown it.
                skipped += 1
                assert moment < first
                asked = wall.replace(hour=hour, minute=0)
                assert (asked if asked <= wall else asked - timedelta(days=1)) not in clocks
    assert skipped > 0


def test_every_zone_has_every_hour_within_a_day() -> None:
    start = datetime(2027, 1, 15, 10, 20, 30, tzinfo=UTC)
    for zone in ZONES:
        for hour in range(24):
            moment = local_time.next_at(hour, zone, start)
            assert timedelta(0) <= moment - start <= timedelta(hours=24), zone.key
            assert moment.astimezone(zone).strftime("%H:%M:%S") == f"{hour:02}:00:00", zone.key


def test_the_hour_at_which_it_starts_is_now_and_not_tomorrow() -> None:
    nine = datetime(2027, 1, 15, 8, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    assert local_time.next_at(9, berlin, nine) == nine
    assert local_time.next_at(9, berlin, nine + timedelta(microseconds=1)) == nine + timedelta(days=1)


def test_all_the_world_is_a_few_dozen_moments_and_what_is_no_zone_is_left_out() -> None:
    start = datetime(2027, 1, 15, tzinfo=UTC)
    names = [*available_timezones(), "Mars/Olympus", "", None]
    found = local_time.hours_of(names, 9, start, ZoneInfo("UTC"))
    assert 24 < len(found) < 50
    named = [name for zones in found.values() for name in zones]
    assert sorted(named) == sorted(available_timezones())


def test_a_time_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="9999"):
        local_time.instant(datetime.fromisoformat("9999-12-31T23:00"), ZoneInfo("America/New_York"))
