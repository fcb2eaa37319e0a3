"""Summaries, daily statistics, reports and numbers at a glance, read from what was counted."""

import csv
import io
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from newsletter.accounts.project import Project
from newsletter.delivery import queries as delivery
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.runtime import Runtime
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Metric
from newsletter.tallies.service import Count
from newsletter.tallies.spans import quarter_of
from tests.client import Client
from tests.mailbox import send_campaign, subscribed_list

Tell = Callable[..., Awaitable[None]]
NOVEMBER = {"since": "2025-11-01", "until": "2025-11-30"}


@pytest.fixture
async def mailing(client: Client, runtime: Runtime, db: Database) -> tuple[UUID, str]:
    """A campaign that went out, by mailing and id; what it counted itself lies on another day."""
    list_id = await subscribed_list(client, "Ada", "Grace")
    campaign = await send_campaign(client, runtime, list_id, name="=Beans", html="<p>Hello</p>")
    async with db.read() as session:
        found = await delivery.by_public_id(
            session, (await client.data("GET", f"/campaigns/{campaign['id']}/recipients"))[0]["id"]
        )
    assert found is not None
    return found.mailing_id, campaign["id"]


@pytest.fixture
def tell(db: Database, project: Project, mailing: tuple[UUID, str]) -> Tell:
    """Counts something at a time, and folds it or leaves it as it is."""

    async def told(at: str, *, is_folded: bool = True, server_id: UUID | None = None, **numbers: int) -> None:
        quarter = quarter_of(datetime.fromisoformat(at).astimezone(UTC))
        counts = [
            Count(mailing[0], server_id, quarter, Metric(name), number) for name, number in numbers.items()
        ]
        async with db.unit_of_work() as session:
            await tallies.add(session, project.id, counts)
        if is_folded:
            await tallies.fold(db, delivery.abouts)

    return told


async def summary(client: Client, **asked: str) -> Any:
    return await client.data("GET", "/analytics/summary", params=NOVEMBER | asked)


async def test_a_summary_by_day_has_every_day_and_the_rates_of_people(client: Client, tell: Tell) -> None:
    await tell("2025-11-03T10:00:00Z", sent=100, bounced=20, unique_opens=40, opens=50, machine_opens=70)
    await tell("2025-11-03T23:59:00Z", unique_clicks=8, complained=1, unsubscribed=2, is_folded=False)
    await tell("2025-11-04T00:01:00Z", sent=-1, unknown=1)

    found = await summary(client)

    assert [row["key"] for row in found["rows"]] == [f"2025-11-{day:02}" for day in range(1, 31)]
    third, fourth = found["rows"][2], found["rows"][3]
    assert (third["sent"], third["opens"], third["machine_opens"], third["unique_clicks"]) == (100, 50, 70, 8)
    assert (third["open_rate"], third["click_rate"], third["click_to_open_rate"]) == (0.5, 0.1, 0.2)
    assert (third["bounce_rate"], third["complaint_rate"], third["unsubscribe_rate"]) == (0.2, 0.0125, 0.025)
    assert (fourth["sent"], fourth["unknown"], fourth["open_rate"]) == (-1, 1, None)
    assert (found["total"]["sent"], found["total"]["unknown"], found["time_zone"]) == (99, 1, "UTC")


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", {"2025-11-10": 3}),
        ("Asia/Kathmandu", {"2025-11-10": 1, "2025-11-11": 2}),
        ("America/St_Johns", {"2025-11-10": 3}),
        ("Pacific/Chatham", {"2025-11-11": 3}),
    ],
)
async def test_days_are_those_of_the_project(
    client: Client, tell: Tell, zone: str, days: dict[str, int]
) -> None:
    await client.data("PATCH", "/project", json={"time_zone": zone})
    # Midnight in Kathmandu is 18:15 in UTC.
    await tell("2025-11-10T18:14:59Z", sent=1)
    await tell("2025-11-10T18:15:00Z", sent=1)
    await tell("2025-11-10T23:45:00Z", sent=1, is_folded=False)

    found = await summary(client)

    assert {row["key"]: row["sent"] for row in found["rows"] if row["sent"]} == days
    assert found["time_zone"] == zone


async def test_the_hour_that_comes_twice_is_two_rows(client: Client, tell: Tell) -> None:
    await client.data("PATCH", "/project", json={"time_zone": "Europe/Berlin"})
    await tell("2025-10-26T02:30:00+02:00", sent=1)
    await tell("2025-10-26T02:30:00+01:00", sent=2, is_folded=False)

    found = await summary(client, since="2025-10-26", until="2025-10-26", group_by="hour")

    assert len(found["rows"]) == 25
    assert [(row["key"], row["sent"]) for row in found["rows"] if row["sent"]] == [
        ("2025-10-26T02:00:00+02:00", 1),
        ("2025-10-26T02:00:00+01:00", 2),
    ]


async def test_a_summary_by_campaign_domain_and_server_has_those_most_used_first(
    client: Client, tell: Tell, mailing: tuple[UUID, str]
) -> None:
    own = ids.uuid7()
    await tell("2025-11-05T10:00:00Z", sent=3)
    await tell("2025-11-06T10:00:00Z", sent=4, suppressed=9, server_id=own)

    by_campaign = await summary(client, group_by="campaign")
    by_domain = await summary(client, group_by="domain")
    by_server = await summary(client, group_by="sending_server")

    [row] = by_campaign["rows"]
    assert (row["key"], row["name"], row["sent"], row["suppressed"]) == (mailing[1], "=Beans", 7, 9)
    [row] = by_domain["rows"]
    assert (row["key"], row["sent"]) == ("acme.example.com", 7)
    assert [(row["key"], row["sent"], row["suppressed"]) for row in by_server["rows"]] == [
        (ids.public("srv", own), 4, 0),
        (None, 3, 0),
    ]
    assert by_server["total"]["suppressed"] == 9


async def test_one_campaign_domain_or_server_by_period(
    client: Client, tell: Tell, mailing: tuple[UUID, str]
) -> None:
    own = ids.uuid7()
    await tell("2025-11-05T10:00:00Z", sent=3)
    await tell("2025-11-06T10:00:00Z", sent=4, server_id=own, is_folded=False)
    for asked, sent in (
        ({"campaign_id": mailing[1]}, 7),
        ({"domain": "ACME.Example.com"}, 7),
        ({"domain": "example.org"}, 0),
        ({"tag": "welcome"}, 0),
        ({"sending_server_id": ids.public("srv", own)}, 4),
        ({"sending_server_id": "default"}, 3),
    ):
        found = await summary(client, group_by="month", **asked)
        assert [(row["key"], row["sent"]) for row in found["rows"]] == [("2025-11", sent)], asked


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"since": "2025-11-30", "until": "2025-11-01"}, "since"),
        ({"since": "2020-01-01"}, "since"),
        ({"until": "9999-12-31"}, "until"),
        ({"since": "yesterday"}, "since"),
        ({"group_by": "week"}, "group_by"),
        ({"since": "2025-10-01", "group_by": "hour"}, "group_by"),
        ({"campaign_id": "cmp_x"}, "campaign_id"),
        ({"campaign_id": ids.public("cmp", UUID(int=1))}, "campaign_id"),
        ({"tag": "a", "domain": "example.com"}, "domain"),
        ({"tag": "a", "group_by": "campaign"}, "tag"),
        ({"domain": "not a domain"}, "domain"),
        ({"sending_server_id": "x"}, "sending_server_id"),
    ],
)
async def test_what_makes_no_summary_is_named(client: Client, asked: dict[str, str], field: str) -> None:
    for name in ("summary", "summary.csv", "summary.jsonl"):
        error = await client.expect_error(
            "GET", f"/analytics/{name}", 422, "validation_failed", params=NOVEMBER | asked
        )
        assert list(error["errors"]) == [field]


async def test_the_files_say_the_same_as_the_answer(client: Client, tell: Tell) -> None:
    await tell("2025-11-05T10:00:00Z", sent=-3, unique_opens=1)
    asked = NOVEMBER | {"group_by": "campaign"}
    rows = (await summary(client, group_by="campaign"))["rows"]

    as_csv = await client.request("GET", "/analytics/summary.csv", params=asked)
    raw = await client.request("GET", "/analytics/summary.csv", params=asked | {"raw": "true"})
    lines = await client.request("GET", "/analytics/summary.jsonl", params=asked)

    [read] = csv.DictReader(io.StringIO(as_csv.text, newline=""))
    assert (read["name"], read["sent"], read["open_rate"]) == ("'=Beans", "-3", "")
    [read] = csv.DictReader(io.StringIO(raw.text, newline=""))
    assert read["name"] == "=Beans"
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    assert lines.headers["content-type"].startswith("application/jsonl")


async def test_daily_statistics_are_a_row_a_day(client: Client, tell: Tell) -> None:
    await tell("2025-11-05T10:00:00Z", sent=12_040, unique_opens=9, opens=20, unique_clicks=2, clicks=3)
    found = await client.data("GET", "/analytics/delivery-stats", params=NOVEMBER)

    assert len(found["delivery_stats"]) == 30
    assert found["delivery_stats"][4] == {
        "day": "2025-11-05",
        "sent": 12_040,
        "delivered": 0,
        "bounced": 0,
        "complained": 0,
        "unsubscribed": 0,
        "opens": 9,
        "clicks": 2,
    }


async def test_a_report_has_the_books_and_what_came_back(
    client: Client, tell: Tell, mailing: tuple[UUID, str]
) -> None:
    now = datetime.now(UTC).isoformat()
    await tell(now, opens=5, unique_opens=1, machine_opens=2)
    await tell(now, clicks=1, unique_clicks=1, complained=1, is_folded=False)

    found = await client.data("GET", f"/campaigns/{mailing[1]}/report")

    assert (found["name"], found["status"], found["recipient_count"], found["pending"]) == (
        *("=Beans", "sent"),
        *(2, 0),
    )
    assert (found["sent"], found["opens"], found["unique_opens"], found["machine_opens"]) == (2, 5, 1, 2)
    assert (found["open_rate"], found["click_rate"], found["complained"]) == (0.5, 0.5, 1)
    assert sum(day["unique_opens"] for day in found["days"]) == 1
    assert sum(day["sent"] for day in found["days"]) == 2


async def test_a_draft_has_an_empty_report(client: Client) -> None:
    list_id = await subscribed_list(client)
    draft = await client.data("POST", "/campaigns", 201, json={"list_id": list_id, "html": "<p>x</p>"})
    found = await client.data("GET", f"/campaigns/{draft['id']}/report")

    assert (found["status"], found["recipient_count"], found["open_rate"], found["days"]) == (
        "draft",
        0,
        None,
        [],
    )


async def test_the_numbers_at_a_glance(client: Client, mailing: tuple[UUID, str]) -> None:
    await client.data("POST", "/sending-domains", 201, json={"domain": "news.example.com", "mode": "rsa"})
    found = await client.data("GET", "/stats")

    assert found == {
        "contacts": 2,
        "campaigns": {"total": 1, "sending": 0, "completed": 1},
        "emails_this_month": 2,
        "domains": 1,
    }


async def test_nothing_of_another_project_is_counted(
    tell: Tell, mailing: tuple[UUID, str], make_client: Any, make_project: Any
) -> None:
    await tell("2025-11-05T10:00:00Z", sent=5)
    await tell("2025-11-05T10:00:00Z", sent=5, is_folded=False)
    stranger = await make_client(await make_project())

    for group_by in ("day", "campaign", "domain", "sending_server"):
        assert (await summary(stranger, group_by=group_by))["total"]["sent"] == 0
    await stranger.expect_error("GET", f"/campaigns/{mailing[1]}/report", 404, "not_found")
