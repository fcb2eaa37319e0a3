"""Days and hours of a time zone in quarters of an hour, also where its clocks are changed."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.tallies.spans import Step, day_of, instant_of, label, labels, quarter_of, spans

BERLIN, KATHMANDU = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")
ZONES = (
    *("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Adelaide", "America/St_Johns"),
    *("Pacific/Chatham", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana", "Asia/Beirut"),
)


@pytest.mark.parametrize(
    ("zone", "day", "quarters", "parts"),
    [
        (BERLIN, date(2026, 3, 28), 96, 1),
        (BERLIN, date(2026, 3, 29), 92, 2),
        (BERLIN, date(2026, 10, 25), 100, 2),
        (KATHMANDU, date(2026, 3, 29), 96, 1),
        (ZoneInfo("Australia/Lord_Howe"), date(2026, 4, 5), 98, 2),
    ],
)
def test_a_day_is_as_long_as_its_clocks_say(zone: ZoneInfo, day: date, quarters: int, parts: int) -> None:
    found = spans(day, day, zone)

    assert len(found) == parts
    assert sum(span.last - span.first for span in found) == quarters
    assert labels(found, Step.day) == [(day - date(1970, 1, 1)).days]


def test_a_year_has_as_many_spans_as_its_clocks_have_offsets() -> None:
    assert len(spans(date(2026, 1, 1), date(2026, 12, 31), BERLIN)) == 3
    assert len(spans(date(2026, 1, 1), date(2026, 12, 31), KATHMANDU)) == 1


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    found = spans(date(2026, 10, 25), date(2026, 10, 25), BERLIN)
    hours = [instant_of(hour).astimezone(BERLIN) for hour in labels(found, Step.hour)]

    assert len(hours) == 25
    assert [hour.isoformat()[11:] for hour in hours[1:5]] == [
        *("01:00:00+02:00", "02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00"),
    ]


def test_hours_of_half_hours_begin_with_the_full_hour_of_their_clocks() -> None:
    found = spans(date(2026, 11, 21), date(2026, 11, 21), KATHMANDU)
    hours = [instant_of(hour).astimezone(KATHMANDU) for hour in labels(found, Step.hour)]

    assert len(hours) == 24
    assert {hour.minute for hour in hours} == {0}


@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(date(2000, 1, 1), date(2035, 12, 31)),
    length=st.integers(0, 400),
    minute=st.integers(0, 1439),
)
def test_every_moment_of_the_days_is_in_the_day_that_its_clocks_show(
    zone: str, day: date, length: int, minute: int
) -> None:
    where = ZoneInfo(zone)
    found = spans(day, day + timedelta(days=length), where)
    assert all(one.last == other.first for one, other in pairwise(found))
    at = datetime.fromtimestamp(found[0].first * 900, UTC) + timedelta(minutes=minute + 1440 * (length // 2))
    quarter = quarter_of(at)
    span = next((span for span in found if quarter < span.last), None)
    if span is None:
        return
    shown = day_of(label(span, quarter, Step.day))
    assert shown == at.astimezone(where).date()
    hour = instant_of(label(span, quarter, Step.hour))
    assert timedelta() <= at - hour < timedelta(hours=1)
