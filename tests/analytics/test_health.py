"""The health score: what is judged, day by day, and on demand."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from newsletter.accounts.project import Project
from newsletter.analytics import health, scoring
from newsletter.analytics.health import RULES, Health, Judged, Level, Numbers, judge
from newsletter.analytics.models import HealthScore
from newsletter.delivery import queries as delivery
from newsletter.domains.models import DomainStatus, SendingDomain
from newsletter.kit import clock, ids
from newsletter.kit.db import Database
from newsletter.runtime import Runtime
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Dimension, Metric, Rollup
from newsletter.tallies.service import Count
from newsletter.tallies.spans import quarter_of
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list

PAGE = Path(__file__).parents[2] / "docs" / "analytics.md"
ALL_WELL = {
    Metric.sent: 1000,
    Metric.opens: 300,
    Metric.unique_opens: 300,
    Metric.clicks: 40,
    Metric.unique_clicks: 40,
}


def judged(
    *, authenticated: float | None = 1.0, days: tuple[int, ...] = (100,) * 10, **numbers: int
) -> Health:
    total = ALL_WELL | {Metric(name): number for name, number in numbers.items()}
    return judge(Numbers(total, days, is_live=True, authenticated=authenticated))


def test_who_does_all_well_has_a_hundred_points() -> None:
    found = judged()
    assert (found.score, found.grade) == (100, "A+")
    assert [each.judged for each in found.insights] == list(Judged)
    assert {each.level for each in found.insights} == {Level.good}
    assert {each.advice for each in found.insights} == {None}
    assert sum(rule.weight for rule in RULES.values()) == 100


@pytest.mark.parametrize(
    ("numbers", "score", "grade"),
    [
        ({"complained": 2}, 85, "B"),  # Half way between 0.1 and 0.3 %.
        ({"complained": 3}, 59, "F"),
        ({"bounced": 35}, 88, "B"),
        ({"bounced": 50}, 69, "D"),
        ({"authenticated": 0.0}, 80, "B"),
        ({"authenticated": 0.75}, 95, "A+"),
        ({"unsubscribed": 20}, 90, "A"),
        ({"unique_opens": 50}, 95, "A+"),
        ({"unique_clicks": 10}, 98, "A+"),
        ({"days": (10, 10, 10, 10, 10, 65)}, 98, "A+"),
        (
            {"complained": 50, "bounced": 90, "authenticated": 0.0, "unsubscribed": 90, "unique_opens": 0},
            10,
            "F",
        ),
    ],
)
def test_what_goes_wrong_costs_points(numbers: dict[str, Any], score: int, grade: str) -> None:
    found = judged(**numbers)
    assert (found.score, found.grade) == (score, grade)
    assert all((each.level is Level.good) == (each.advice is None) for each in found.insights)


def test_what_cannot_be_judged_takes_its_weight_with_it() -> None:
    """Nobody tracks opens and clicks, there are few days, and it is a sandbox."""
    found = judge(
        Numbers({Metric.sent: 1000, Metric.complained: 2}, (1000,), is_live=False, authenticated=0.0)
    )
    assert [each.judged for each in found.insights] == [
        Judged.complaints,
        Judged.bounces,
        Judged.unsubscribes,
    ]
    assert found.score == round(100 * (15 + 25 + 10) / 65)
    assert judge(Numbers({Metric.sent: 99}, (99,), is_live=True, authenticated=1.0)) == Health(None, None, ())
    lost = judge(Numbers({Metric.sent: 100, Metric.bounced: 100}, (100,), is_live=True, authenticated=None))
    assert (lost.score, [each.judged for each in lost.insights]) == (0, [Judged.bounces])


def test_the_page_has_the_table_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \| ([\d.]+)( %)? \| ([\d.]+)( %)? \|", PAGE.read_text(), re.MULTILINE
    )
    shown = {
        name: (int(weight), *(float(at) / (100 if unit else 1) for at, unit in ((good, one), (bad, two))))
        for name, weight, good, one, bad, two in rows
    }
    assert {name: pytest.approx(row) for name, row in shown.items()} == {
        judged.value: (rule.weight, rule.good, rule.bad) for judged, rule in RULES.items()
    }
    for least, grade in health.GRADES:
        assert f"{grade} from {least}" in PAGE.read_text()


Tell = Callable[..., Awaitable[None]]


@pytest.fixture
async def tell(
    db: Database, client: Client, runtime: Runtime, project: Project, monkeypatch: pytest.MonkeyPatch
) -> Tell:
    """Counts something so many days ago, for a campaign that went out. The clock stands still, at the noon of
    tomorrow: the campaign's own mail is in the window, on whatever side of midnight it went out."""
    campaign = await send_campaign(client, runtime, await subscribed_list(client, "Ada"))
    async with db.read() as session:
        rows = await client.data("GET", f"/campaigns/{campaign['id']}/recipients")
        found = await delivery.by_public_id(session, rows[0]["id"])
    assert found is not None
    mailing_id: UUID = found.mailing_id
    noon = (clock.now() + timedelta(days=1)).replace(hour=12)
    monkeypatch.setattr(clock, "now", lambda: noon)

    async def told(*, days_ago: int = 0, **numbers: int) -> None:
        quarter = quarter_of(clock.now() - timedelta(days=days_ago))
        counts = [Count(mailing_id, None, quarter, Metric(name), number) for name, number in numbers.items()]
        async with db.unit_of_work() as session:
            await tallies.add(session, project.id, counts)

    return told


async def test_a_refresh_counts_what_just_happened_and_keeps_one_row_of_the_day(
    client: Client, tell: Tell, db: Database
) -> None:
    before = await client.data("GET", "/health-score")
    assert (before["score"], before["grade"], before["insights"]) == (None, None, [])
    await tell(sent=999)
    first = await client.data("POST", "/health-score/refresh")
    assert (first["score"], first["grade"], first["sent"]) == (100, "A+", 1000)
    await tell(complained=3, days_ago=29)
    await tell(complained=1000, days_ago=30)  # Before the window.
    assert (await client.data("GET", "/health-score"))["score"] == 100  # As it was calculated last.
    second = await client.data("POST", "/health-score/refresh")
    assert (second["score"], second["grade"], second["complaint_rate"]) == (54, "F", 0.003)
    assert second["insights"][0]["advice"].startswith("Mail only who asked")
    history = await client.data("GET", "/health-score/history", params={"days": 1})
    assert (history["period_days"], [day["score"] for day in history["history"]]) == (1, [54])


async def test_each_day_is_scored_once_and_kept_for_a_year(
    client: Client, tell: Tell, runtime: Runtime, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(sent=999)
    await tallies.fold(db, delivery.abouts)
    start = clock.now()
    for days in (0, 0, 1, 1):
        monkeypatch.setattr(clock, "now", lambda days=days: start + timedelta(days=days))
        await scoring.enqueue_due(db)
        await scoring.enqueue_due(db)
        done = await run_due(runtime)
        assert done.count("analytics.score_health") <= 1
    history = (await client.data("GET", "/health-score/history"))["history"]
    assert [day["day"] for day in history] == [str((start + timedelta(days=days)).date()) for days in (0, 1)]
    # Nothing was sent for a month: no row of that day, and none is missed.
    monkeypatch.setattr(clock, "now", lambda: start + timedelta(days=40))
    await scoring.enqueue_due(db)
    assert "analytics.score_health" not in await run_due(runtime)
    assert len((await client.data("GET", "/health-score/history", params={"days": 365}))["history"]) == 2
    monkeypatch.setattr(clock, "now", lambda: start + timedelta(days=365))
    await client.data("POST", "/health-score/refresh")
    async with db.read() as session:
        kept = (await session.scalars(select(HealthScore.day).order_by(HealthScore.day))).all()
    assert kept == [(start + timedelta(days=days)).date() for days in (1, 365)]


async def test_mail_counts_as_authenticated_where_its_domain_is_verified(
    make_client: MakeClient, make_project: MakeProject, db: Database
) -> None:
    project = await make_project(is_test=False)
    live = await make_client(project)
    made = {"domain": "acme.example.com", "mode": "relay"}
    await live.data("POST", "/sending-domains", 201, json=made)
    quarter = quarter_of(clock.now())
    async with db.unit_of_work() as session:
        for dimension, value, sent in (
            (Dimension.total, "", 400),
            (Dimension.domain, "acme.example.com", 300),
            (Dimension.domain, "example.org", 100),
        ):
            row = Rollup(project_id=project.id, dimension=dimension, value=value, quarter=quarter, sent=sent)
            session.add(row)

    async def share() -> Any:
        insights = (await live.data("POST", "/health-score/refresh"))["insights"]
        return next(each["value"] for each in insights if each["judged"] == "authentication")

    assert await share() == 0
    async with db.unit_of_work() as session:
        await session.execute(update(SendingDomain).values(status=DomainStatus.verified))
    assert await share() == 0.5625
    seen = {"purpose": "dmarc", "name": "_dmarc.acme.example.com", "value": "v=DMARC1; p=none"}
    checks: list[dict[str, Any]] = [seen | {"status": "found", "found": [], "reason": None}]
    async with db.unit_of_work() as session:
        await session.execute(update(SendingDomain).values(checks=checks))
    assert await share() == 0.75


@pytest.mark.parametrize("days", [0, 366])
async def test_a_history_is_of_one_day_to_a_year(client: Client, days: int) -> None:
    error = await client.expect_error(
        "GET", "/health-score/history", 422, "validation_failed", params={"days": days}
    )
    assert set(error["errors"]) == {"days"}


async def test_a_key_of_some_lists_sees_no_score_of_all(
    make_client: MakeClient, project: Project, client: Client
) -> None:
    list_id = (await client.data("POST", "/lists", 201, json={"name": "One"}))["id"]
    narrow = await make_client(project, list_ids=(ids.in_path("lst", list_id),))
    for method, path in (("GET", ""), ("GET", "/history"), ("POST", "/refresh")):
        await narrow.expect_error(method, f"/health-score{path}", 403, "forbidden")
