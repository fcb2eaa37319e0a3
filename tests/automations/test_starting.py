"""What starts a run, and what does not start one twice."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from newsletter.accounts.project import Project
from newsletter.automations import enrolling, starting
from newsletter.events.models import Event
from newsletter.kit import clock
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.settings import AutomationSettings, Settings
from tests.automations.conftest import CREATED, HELLO, WAIT, automate, join, let_time_pass, runs, sweep
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign, subscribed_list
from tests.newcomer import read_mail

TAG = {"id": "seen", "tag": {"add": ["seen"]}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small blocks, so that a few subscribers are several of them."""
    small = AutomationSettings(block=2, look_block=3, runs_per_subscriber=3)
    return settings.model_copy(update={"automations": small})


async def created(runtime: Runtime) -> list[UUID]:
    async with runtime.db.read() as session:
        mine = select(Event.id).where(Event.type == "subscriber.created")
        return list(await session.scalars(mine.order_by(Event.id)))


async def test_an_event_that_is_told_twice_starts_one_run(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, TAG, start=CREATED, reentry="always")
    await join(client, list_id, "Marie")
    last = (await created(runtime))[-1:]
    await run_due(runtime)
    assert len(await runs(client, automation_id, status="completed")) == 1
    await starting.on_events(runtime.db, last, runtime.settings.automations)
    await run_due(runtime)
    assert len(await runs(client, automation_id)) == 1


async def test_what_nobody_listens_to_has_no_job(client: Client, runtime: Runtime, list_id: str) -> None:
    automation_id = await automate(client, list_id, TAG, start=CREATED)
    await client.data("POST", f"/automations/{automation_id}/pause")
    await run_due(runtime)
    await join(client, list_id, "Marie")
    async with runtime.db.read() as session:
        assert (await session.scalars(select(Job))).all() == []
    assert await runs(client, automation_id) == []


async def test_only_subscribers_of_its_list_who_meet_its_condition_start(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    start = {"event": {"name": "subscriber.created", "when": {"tag": "vip"}}}
    automation_id = await automate(client, list_id, TAG, start=start)
    other = await subscribed_list(client)
    await join(client, list_id, "Marie")
    await join(client, other, "Lise", tags=["vip"])
    emmy = await join(client, list_id, "Emmy", tags=["vip"])
    await run_due(runtime)
    assert [run["subscriber_id"] for run in await runs(client, automation_id)] == [emmy]


async def test_who_opened_a_campaign_starts_and_a_machine_does_not(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    campaign = await send_campaign(client, runtime, list_id, track_opens=True, track_clicks=True)
    other = await send_campaign(client, runtime, list_id, track_opens=True, track_clicks=True)
    start: Any = {"event": {"name": "message.opened", "campaign_id": other["id"]}}
    automation_id = await automate(client, list_id, TAG, start=start)
    strange: Any = {"event": {"name": "message.opened", "campaign_id": campaign["id"]}}
    stranger = await automate(client, list_id, TAG, start=strange)
    pixel = await _pixel(client, "grace@example.com")
    await client.get(pixel, headers={"User-Agent": "Googlebot/2.1", "Authorization": ""})
    await read_mail(client, runtime, "ada@example.com", opens=2)
    await run_due(runtime)
    [run] = await runs(client, automation_id)
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada@"})
    assert (run["subscriber_id"], run["cause"], run["event_id"][:4]) == (ada["id"], "event", "evt_")
    assert await runs(client, stranger) == []


async def _pixel(client: Client, address: str) -> str:
    found = re.search('<img src="([^"]*)"', (await mail_to(client, address))["html"])
    assert found is not None
    return unescape(found[1])


async def test_a_mail_of_an_automation_starts_none_by_being_opened(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    await client.data("PATCH", "/project", json={"track_opens": True, "track_clicks": True})
    link = {"id": "hello", "send": {"subject": "Hello", "html": '<p><a href="https://acme.test">x</a></p>'}}
    start = {"event": {"name": "message.opened"}}
    automation_id = await automate(client, list_id, link, start=start, reentry="always")
    await client.data("POST", f"/automations/{automation_id}/trigger", 202, json={"email": "ada@example.com"})
    await run_due(runtime)
    await read_mail(client, runtime, "ada@example.com", opens=1)
    await run_due(runtime)
    assert len(await runs(client, automation_id)) == 1


async def test_at_its_time_everybody_who_is_active_starts_once(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    for name in ("Marie", "Lise", "Emmy"):
        await join(client, list_id, name)
    await client.delete(f"/subscribers/grace@example.com?list_id={list_id}")
    at = (clock.now() + timedelta(days=1)).isoformat()
    automation_id = await automate(client, list_id, TAG, start={"time": {"at": at}})
    await sweep(runtime)
    assert await runs(client, automation_id) == []
    await let_time_pass(runtime)
    assert len(await runs(client, automation_id, status="completed")) == 4
    await let_time_pass(runtime)
    assert len(await runs(client, automation_id)) == 4
    assert {run["cause"] for run in await runs(client, automation_id)} == {"time"}


async def test_who_comes_to_meet_a_condition_starts_once(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    marie = await join(client, list_id, "Marie", custom_fields={"orders": 3})
    start = {"condition": {"when": {"field": {"name": "orders", "above": 2}}}}
    automation_id = await automate(client, list_id, TAG, start=start)
    await sweep(runtime)
    assert [run["subscriber_id"] for run in await runs(client, automation_id)] == [marie]
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada@"})
    await client.data("PATCH", f"/subscribers/{ada['id']}", json={"custom_fields": {"orders": 5}})
    await sweep(runtime)
    assert len(await runs(client, automation_id)) == 1
    for _ in range(2):
        await let_time_pass(runtime)
    found = await runs(client, automation_id)
    assert [(run["subscriber_id"], run["cause"]) for run in found] == [
        (marie, "condition"),
        (ada["id"], "condition"),
    ]


async def test_a_pause_in_the_middle_of_a_look_ends_it_and_the_next_look_finds_the_rest(
    client: Client, runtime: Runtime, list_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Marie", "Lise", "Emmy"):
        await join(client, list_id, name)
    start = {"condition": {"when": {"none": [{"tag": "staff"}]}}}
    automation_id = await automate(client, list_id, TAG, start=start)
    path = f"/automations/{automation_id}"
    windows, read = 0, enrolling._window

    async def pausing(*args: Any) -> Any:
        nonlocal windows
        windows += 1
        window = await read(*args)
        if windows == 2:
            await client.data("POST", f"{path}/pause")
        return window

    with monkeypatch.context() as patched:
        patched.setattr(enrolling, "_window", pausing)
        await sweep(runtime)
    assert (windows, len(await runs(client, automation_id))) == (2, 3)
    await client.data("POST", f"{path}/activate")
    await sweep(runtime)
    assert len(await runs(client, automation_id, status="completed")) == 5


async def test_who_stops_to_meet_the_condition_before_they_start_does_not(
    client: Client, runtime: Runtime, list_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marie = await join(client, list_id, "Marie", tags=["vip"])
    start = {"condition": {"when": {"tag": "vip"}}}
    automation_id = await automate(client, list_id, TAG, start=start)
    read = enrolling._window

    async def losing(*args: Any) -> Any:
        window = await read(*args)
        await client.data("PATCH", f"/subscribers/{marie}", json={"tags": []})
        return window

    monkeypatch.setattr(enrolling, "_window", losing)
    await sweep(runtime)
    assert await runs(client, automation_id) == []


async def test_once_is_once_and_always_is_after_the_last_run_is_over(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    ada = {"email": "ada@example.com"}
    once = await automate(client, list_id, TAG)
    await client.data("POST", f"/automations/{once}/trigger", 202, json=ada)
    await run_due(runtime)
    await client.expect_error("POST", f"/automations/{once}/trigger", 409, "already_ran", json=ada)

    always = await automate(client, list_id, TAG, WAIT, reentry="always")
    for _ in range(3):
        await client.data("POST", f"/automations/{always}/trigger", 202, json=ada)
        await run_due(runtime)
        await client.expect_error("POST", f"/automations/{always}/trigger", 409, "run_open", json=ada)
        await let_time_pass(runtime)
    await client.expect_error("POST", f"/automations/{always}/trigger", 409, "already_ran", json=ada)
    assert len(await runs(client, always, status="completed")) == 3


async def test_a_change_to_once_counts_the_runs_before_it(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    ada = {"email": "ada@example.com"}
    automation_id = await automate(client, list_id, TAG, reentry="always")
    path = f"/automations/{automation_id}"
    await client.data("POST", f"{path}/trigger", 202, json=ada)
    await run_due(runtime)
    await client.data("POST", f"{path}/pause")
    await client.data("PATCH", path, json={"reentry": "once"})
    await client.data("POST", f"{path}/activate")
    await client.expect_error("POST", f"{path}/trigger", 409, "already_ran", json=ada)


async def test_nobody_starts_by_a_call_who_may_not_be_mailed_or_is_not_there(
    client: Client, runtime: Runtime, list_id: str, make_client: MakeClient, make_project: MakeProject
) -> None:
    automation_id = await automate(client, list_id, HELLO)
    path = f"/automations/{automation_id}/trigger"
    await client.delete(f"/subscribers/ada@example.com?list_id={list_id}")
    ada = {"email": "Ada@Example.com"}
    await client.expect_error("POST", path, 409, "subscriber_not_active", json=ada)
    stranger: Project = await make_project(name="Other")
    theirs = await make_client(stranger)
    lise = await join(theirs, await subscribed_list(theirs), "Lise")
    mine = await join(client, await subscribed_list(client), "Emmy")
    for body, field in (
        ({"subscriber_id": lise}, "subscriber_id"),
        ({"subscriber_id": mine}, "subscriber_id"),
        ({"email": "nobody@example.com"}, "email"),
    ):
        error = await client.expect_error("POST", path, 422, "validation_failed", json=body)
        assert list(error["errors"]) == [field]
    await client.data("POST", f"/automations/{automation_id}/pause")
    grace = {"email": "grace@example.com"}
    await client.expect_error("POST", path, 409, "automation_not_active", json=grace)
    await run_due(runtime)
    assert await runs(client, automation_id) == []


async def test_a_call_that_names_nobody_or_two_is_told_what_is_missing(client: Client, list_id: str) -> None:
    path = f"/automations/{await automate(client, list_id, TAG)}/trigger"
    two = {"email": "ada@example.com", "subscriber_id": "sub_01k9x3v7m8e5tbn2c4r6p0qzaw"}
    for body in ({}, two):
        error = await client.expect_error("POST", path, 422, "validation_failed", json=body)
        assert error["errors"] == {"body": ["must have exactly one of subscriber_id, email"]}


async def test_a_key_of_idempotency_starts_one_run(client: Client, runtime: Runtime, list_id: str) -> None:
    automation_id = await automate(client, list_id, TAG, reentry="always")
    headers = {"Idempotency-Key": "one-and-the-same"}
    body = {"email": "ada@example.com"}
    for _ in range(2):
        answer = await client.post(f"/automations/{automation_id}/trigger", json=body, headers=headers)
        assert answer.status_code == 202
        await run_due(runtime)
    assert len(await runs(client, automation_id)) == 1
