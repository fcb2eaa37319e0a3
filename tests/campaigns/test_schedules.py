"""Schedules with their zone, and mail at each reader's own hour."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from newsletter.campaigns.models import Campaign
from newsletter.delivery.models import Batch, Mailing, Message
from newsletter.kit import clock, ids, jobs, ringing
from newsletter.kit.db import db_in, db_now
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.settings import CampaignSettings, Settings
from tests.campaigns.conftest import Make
from tests.client import Client
from tests.conftest import Rings
from tests.jobs import run_due, waiting
from workers.registry import handlers


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A grace above an hour, for what was due at the top of this one."""
    return settings.model_copy(update={"campaigns": CampaignSettings(grace_minutes=120)})


async def test_the_moment_is_kept_in_utc_and_the_zone_by_its_name(client: Client, draft: Make) -> None:
    given = {"scheduled_at": "2099-07-01T09:00:00", "scheduled_timezone": "America/New_York"}
    campaign = await draft(**given)
    assert (campaign["status"], campaign["scheduled_at"]) == ("scheduled", "2099-07-01T13:00:00Z")
    assert campaign["scheduled_timezone"] == "America/New_York"
    path = f"/campaigns/{campaign['id']}"
    unscheduled = await client.data("PATCH", path, json={"scheduled_at": None})
    assert (unscheduled["scheduled_at"], unscheduled["scheduled_timezone"]) == (None, None)


async def test_an_offset_wins_over_the_zone_which_is_then_only_kept(client: Client, draft: Make) -> None:
    path = f"/campaigns/{(await draft())['id']}"
    body = {"scheduled_at": "2099-07-01T09:00:00+02:00", "scheduled_timezone": "Asia/Tokyo"}
    campaign = await client.data("POST", f"{path}/send", 200, json=body)
    assert (campaign["scheduled_at"], campaign["scheduled_timezone"]) == (
        "2099-07-01T07:00:00Z",
        "Asia/Tokyo",
    )


async def test_without_a_zone_the_project_s_own_is_kept(client: Client, draft: Make) -> None:
    await client.data("PATCH", "/project", json={"time_zone": "Europe/Berlin"})
    campaign = await draft(scheduled_at="2099-07-01T09:00:00Z")
    assert (campaign["scheduled_at"], campaign["scheduled_timezone"]) == (
        "2099-07-01T09:00:00Z",
        "Europe/Berlin",
    )


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        (
            {"scheduled_at": "2030-03-31T02:30:00", "scheduled_timezone": "Europe/Berlin"},
            "scheduled_at",
            "put forward: send 2030-03-31T01:30:00+01:00 or 2030-03-31T03:30:00+02:00",
        ),
        (
            {"scheduled_at": "2030-10-27T02:30:00", "scheduled_timezone": "Europe/Berlin"},
            "scheduled_at",
            "put back: send 2030-10-27T02:30:00+02:00 or 2030-10-27T02:30:00+01:00",
        ),
        ({"scheduled_at": "2099-07-01T09:00:00"}, "scheduled_at", "must have a zone"),
        ({"scheduled_timezone": "Europe/Berlin"}, "scheduled_at", "must come with"),
        (
            {"scheduled_at": "2099-07-01T09:00:00Z", "scheduled_timezone": "Mars/Olympus"},
            "scheduled_timezone",
            "must be the name of a time zone",
        ),
        (
            # A name of the machine's own.
            {"scheduled_at": "2099-07-01T09:00:00", "scheduled_timezone": "localtime"},
            "scheduled_timezone",
            "must be the name of a time zone",
        ),
        (
            {"scheduled_at": "2020-07-01T09:00:00", "scheduled_timezone": "Europe/Berlin"},
            "scheduled_at",
            "must be in the future",
        ),
        ({"send_at_local_hour": 24}, "send_at_local_hour", "at most 23"),
        ({"send_at_local_hour": "9"}, "send_at_local_hour", "whole number"),
        ({"send_at_local_hour": True}, "send_at_local_hour", "whole number"),
    ],
)
async def test_a_time_that_nobody_can_be_sure_of_is_refused_with_what_to_send(
    client: Client, list_id: str, draft: Make, changes: dict[str, Any], field: str, text: str
) -> None:
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>"} | changes
    path = f"/campaigns/{(await draft())['id']}"
    calls = [("POST", "/campaigns", body), ("PATCH", path, changes)]
    if field != "send_at_local_hour":
        calls.append(("POST", f"{path}/send", changes))
    for method, where, sent in calls:
        error = await client.expect_error(method, where, 422, "validation_failed", json=sent)
        assert list(error["errors"]) == [field]
        assert text in error["errors"][field][0]


async def test_two_schedulers_begin_a_campaign_once(
    client: Client, draft: Make, runtime: Runtime, rings: Rings
) -> None:
    campaign = await draft(scheduled_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    await time_comes(runtime, campaign["id"])
    async with runtime.db.read() as session:
        job = (await session.scalars(select(Job.id).where(Job.name == "campaigns.launch"))).one()
    made = handlers(runtime)
    await asyncio.gather(
        *(ringing.ring_due(runtime.db, rings) for _ in range(3)),
        *(jobs.run(runtime.db, job, made, lease=30) for _ in range(3)),
    )
    await run_due(runtime)
    async with runtime.db.read() as session:
        assert len((await session.scalars(select(Mailing.id))).all()) == 1
    inbox = await client.data("GET", "/sandbox/messages")
    assert Counter(mail["to_email"] for mail in inbox) == {
        "ada@example.com": 1,
        "grace@example.com": 1,
        "linus@example.com": 1,
    }


@pytest.mark.parametrize("days", [-3, 3])
async def test_a_scheduler_with_a_wrong_clock_gives_a_campaign_as_long_as_any(
    days: int, client: Client, draft: Make, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await draft(scheduled_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    await time_comes(runtime, campaign["id"])
    wrong = clock.now() + timedelta(days=days)
    monkeypatch.setattr(clock, "now", lambda: wrong)
    await run_due(runtime)
    monkeypatch.undo()
    shown = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (shown["status"], shown["emails_sent"]) == ("sent", 3)
    async with runtime.db.read() as session:
        expires_at, now = (await session.execute(select(Mailing.expires_at, db_now()))).one()
    assert abs(expires_at - now - timedelta(hours=24)) < timedelta(minutes=10)


ZONES = {
    "ada": "Pacific/Auckland",
    "grace": "America/Los_Angeles",
    "linus": "Europe/Helsinki",
    "tim": None,
    "vint": "Europe/Helsinki",
}


async def around_the_world(client: Client, hour: int, **changes: Any) -> Any:
    listed = await client.data("POST", "/lists", 201, json={"name": "World"})
    for name, zone in ZONES.items():
        body = {"list_id": listed["id"], "email": f"{name}@example.com", "timezone": zone}
        await client.data("POST", "/subscribers", 201, json=body)
    body = {"list_id": listed["id"], "subject": "Hi", "html": "<p>x</p>", "send_at_local_hour": hour}
    return await client.data("POST", "/campaigns", 201, json=body | changes)


async def test_each_reader_is_due_at_the_hour_of_their_own_clock(client: Client, runtime: Runtime) -> None:
    await client.data("PATCH", "/project", json={"time_zone": "Asia/Tokyo"})
    before = datetime.now(UTC)
    campaign = await around_the_world(client, 9, send=True)
    assert (campaign["status"], campaign["recipient_count"]) == ("sending", 5)
    async with runtime.db.read() as session:
        messages = (await session.scalars(select(Message).order_by(Message.seq))).all()
        batches = (await session.scalars(select(Batch).order_by(Batch.first_seq))).all()
    assert [message.seq for message in messages] == [1, 2, 3, 4, 5]
    for message in messages:
        due = message.next_attempt_at
        assert due is not None
        zone = ZoneInfo(ZONES[message.address.partition("@")[0]] or "Asia/Tokyo")
        assert due.astimezone(zone).strftime("%H:%M:%S") == "09:00:00", message.address
        assert before <= due <= before + timedelta(hours=26)
    # Ranges of those who are due together, in the order of their mornings.
    moments = sorted({message.next_attempt_at for message in messages if message.next_attempt_at})
    assert [batch.due_at for batch in batches] == moments
    assert [(batch.first_seq, batch.last_seq) for batch in batches] == [
        (min(seqs), max(seqs))
        for moment in moments
        for seqs in [[message.seq for message in messages if message.next_attempt_at == moment]]
    ]
    async with runtime.db.read() as session:
        mailing = (await session.scalars(select(Mailing))).one()
    # A retry of the last morning has as long as any.
    assert mailing.expires_at >= moments[-1] + timedelta(hours=23)
    shown = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert datetime.fromisoformat(shown["eta"]) == moments[-1]


async def test_each_morning_sends_to_its_own_and_the_last_ends_the_campaign(
    client: Client, runtime: Runtime
) -> None:
    campaign = await around_the_world(client, 9, send=True)
    path = f"/campaigns/{campaign['id']}"
    await run_due(runtime)
    assert await client.data("GET", "/sandbox/messages") == []
    seen: set[str] = set()
    for zone in ("Pacific/Auckland", "Europe/Helsinki", "America/Los_Angeles", None):
        readers = {f"{name}@example.com" for name, theirs in ZONES.items() if theirs == zone}
        await morning_comes(runtime, readers)
        await run_due(runtime)
        inbox = {mail["to_email"] for mail in await client.data("GET", "/sandbox/messages")}
        assert inbox - seen == readers
        seen = inbox
    assert (await client.data("GET", path))["status"] == "sent"


async def test_a_pause_before_the_first_morning_keeps_every_morning(client: Client, runtime: Runtime) -> None:
    campaign = await around_the_world(client, 9, send=True)
    path = f"/campaigns/{campaign['id']}"
    before = await waiting(runtime, "delivery.send_batch")
    for verb in ("pause", "resume"):
        await client.data("POST", f"{path}/{verb}", 200)
        await run_due(runtime)
    assert await client.data("GET", "/sandbox/messages") == []
    assert await waiting(runtime, "delivery.send_batch") == before
    await client.data("POST", f"{path}/cancel", 200)
    await run_due(runtime)
    cancelled = await client.data("GET", path)
    assert (cancelled["status"], cancelled["emails_skipped"]) == ("cancelled", 5)


async def test_a_late_scheduler_sends_at_once_to_whose_hour_has_passed(
    client: Client, runtime: Runtime
) -> None:
    """It was scheduled for this very hour, and begins some minutes into it."""
    berlin = ZoneInfo("Europe/Berlin")
    await client.data("PATCH", "/project", json={"time_zone": berlin.key})
    campaign = await around_the_world(client, 9, scheduled_at="2099-07-01T07:00:00Z")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    async with runtime.db.unit_of_work() as session:
        mine = update(Campaign).where(Campaign.id == ids.private("cmp", campaign["id"]))
        local = hour.astimezone(berlin).hour
        await session.execute(mine.values(scheduled_at=hour, send_at_local_hour=local))
        await session.execute(update(Job).where(Job.name == "campaigns.launch").values(run_at=db_now()))
    await run_due(runtime)
    inbox = {mail["to_email"] for mail in await client.data("GET", "/sandbox/messages")}
    assert "tim@example.com" in inbox


async def time_comes(runtime: Runtime, campaign_id: str) -> None:
    async with runtime.db.unit_of_work() as session:
        mine = update(Campaign).where(Campaign.id == ids.private("cmp", campaign_id))
        await session.execute(mine.values(scheduled_at=db_in(-5)))
        await session.execute(update(Job).where(Job.name == "campaigns.launch").values(run_at=db_in(-5)))


async def morning_comes(runtime: Runtime, addresses: set[str]) -> None:
    """It is the hour of these readers; their batch's job comes."""
    async with runtime.db.unit_of_work() as session:
        theirs = Message.address.in_(addresses)
        first = (await session.scalars(select(Message.seq).where(theirs).order_by(Message.seq))).first()
        batch = (await session.scalars(select(Batch).where(Batch.first_seq == first))).one()
        await session.execute(update(Message).where(theirs).values(next_attempt_at=db_in(-1)))
        for job in await session.scalars(select(Job).where(Job.name == "delivery.send_batch")):
            if job.payload["batch_id"] == str(batch.id):
                job.run_at = batch.due_at = datetime.now(UTC) - timedelta(seconds=1)
