"""How fast it goes, and when it will be over."""

from datetime import UTC, datetime, timedelta

import pytest

from newsletter.delivery import progress
from newsletter.delivery.progress import Progress, Share
from newsletter.runtime import Runtime
from tests.client import Client
from tests.delivery.conftest import Launch
from tests.jobs import run_due
from tests.smtp_sink import Sink

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def share(
    decided: int,
    size: int = 500,
    before: int = 0,
    claimed: datetime | None = None,
    renewed: datetime | None = None,
    due: datetime | None = None,
) -> Share:
    return Share(size, decided, before, claimed, renewed, due)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        # Nothing has begun: nothing can be told.
        ([share(0), share(0)], Progress(1000, 0.0, None)),
        # 500 in the last ten seconds, 250 left.
        (
            [share(500, claimed=ago(10), renewed=ago(0)), share(0, size=250)],
            Progress(250, 50.0, NOW + timedelta(seconds=5)),
        ),
        # Of a batch that began before the window, the part inside of it counts.
        (
            [share(200, size=1400, claimed=ago(120), renewed=ago(0))],
            Progress(1200, 1.7, NOW + timedelta(seconds=1200 / 1.7)),
        ),
        # What was decided before the claim is no speed of this one.
        (
            [share(490, before=480, claimed=ago(10), renewed=ago(0))],
            Progress(10, 1.0, NOW + timedelta(seconds=10)),
        ),
        # Over a minute ago: it stands still.
        ([share(100, claimed=ago(300), renewed=ago(90))], Progress(400, 0.0, None)),
        # Only what waits for its hour is left.
        (
            [
                share(500, claimed=ago(300), renewed=ago(90)),
                share(0, due=NOW + timedelta(hours=3)),
                share(0, due=NOW + timedelta(hours=9)),
            ],
            Progress(1000, 0.0, NOW + timedelta(hours=9)),
        ),
        ([share(500, claimed=ago(10), renewed=ago(0))], Progress(0, 50.0, None)),
        ([], Progress(0, 0.0, None)),
    ],
)
def test_the_rate_and_the_end_are_reckoned_from_batches(shares: list[Share], expected: Progress) -> None:
    assert progress.reckon(shares, NOW) == expected


async def test_a_campaign_on_its_way_shows_how_it_goes(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u2@example.com", "451 4.3.0 later please", times=1)
    sent = await launch(12)
    path = f"/campaigns/{sent.id}"
    before = await live_client.data("GET", path)
    assert (before["emails_pending"], before["emails_per_second"], before["eta"]) == (12, 0.0, None)
    assert before["started_at"] is not None
    await run_due(runtime)
    during = await live_client.data("GET", path)
    assert (during["status"], during["emails_pending"], during["emails_sent"]) == ("sending", 1, 11)
    assert during["emails_per_second"] > 0
    # The one that is left waits five minutes for its second try.
    assert during["eta"] > during["started_at"]
    assert during["finished_at"] is None
    await live_client.data("POST", f"{path}/cancel", 200)
    await run_due(runtime)
    after = await live_client.data("GET", path)
    assert (after["emails_pending"], after["emails_per_second"], after["eta"]) == (0, None, None)
    assert after["finished_at"] is not None
