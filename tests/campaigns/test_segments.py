"""A campaign to a segment of its list: who gets it, and what is kept of the segment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Boolean, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.audience import conditions
from newsletter.audience.segments import queries as segments
from newsletter.campaigns import launch, service
from newsletter.delivery import rolls
from newsletter.kit import ids
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from tests.campaigns.conftest import Make, make_list
from tests.campaigns.test_launch import let_its_time_come, use_mails
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import make_due, run_due, waiting
from tests.mailbox import send_campaign
from tests.newcomer import read_mail
from workers.registry import handlers

PARIS = {"field": {"name": "city", "equals": "Paris"}}


@pytest.fixture
async def list_id(client: Client) -> str:
    """Ada and Grace are in Paris, and Linus is not."""
    made = await make_list(client, "ada", "grace", "linus")
    for name in ("ada", "grace"):
        body = {"list_id": made, "email": f"{name}@example.com", "custom_fields": {"city": "Paris"}}
        await client.data("POST", "/subscribers", 200, json=body)
    return made


async def make_segment(client: Client, list_id: str, wanted: Any = PARIS) -> Any:
    body = {"list_id": list_id, "name": "In Paris", "conditions": wanted}
    return await client.data("POST", "/segments", 201, json=body)


async def mailed(client: Client) -> set[str]:
    return {mail["to_email"] for mail in await client.data("GET", "/sandbox/messages")}


@pytest.fixture
async def segment(client: Client, list_id: str) -> Any:
    return await make_segment(client, list_id)


async def test_only_who_meets_its_conditions_and_may_be_mailed_gets_it(
    client: Client, runtime: Runtime, draft: Make, segment: Any
) -> None:
    await client.data("POST", "/suppressions", 201, json={"email": "grace@example.com", "source": "support"})
    campaign = await draft(segment_id=segment["id"])
    assert (campaign["segment_id"], campaign["segment"]) == (segment["id"], None)
    sending = await client.data("POST", f"/campaigns/{campaign['id']}/send", json={})
    assert sending["segment"] == {"name": "In Paris", "conditions": PARIS}
    await run_due(runtime)
    assert await mailed(client) == {"ada@example.com"}
    sent = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (sent["status"], sent["recipient_count"], sent["emails_sent"]) == ("sent", 1, 1)


async def test_sent_as_it_is_made_it_goes_to_the_segment_alone(
    client: Client, runtime: Runtime, draft: Make, segment: Any
) -> None:
    assert (await draft(segment_id=segment["id"], send=True))["recipient_count"] == 2
    await run_due(runtime)
    assert await mailed(client) == {"ada@example.com", "grace@example.com"}


async def test_who_comes_to_meet_it_before_the_launch_gets_it_and_history_stays_as_it_was(
    client: Client, runtime: Runtime, draft: Make, list_id: str, segment: Any
) -> None:
    campaign = await draft(segment_id=segment["id"], scheduled_at="2099-01-01T00:00:00Z")
    path, other = f"/campaigns/{campaign['id']}", {"field": {"name": "city", "equals": "Oslo"}}
    await client.data("PATCH", f"/segments/{segment['id']}", json={"conditions": other, "name": "In Oslo"})
    oslo = {"list_id": list_id, "email": "linus@example.com", "custom_fields": {"city": "Oslo"}}
    await client.data("POST", "/subscribers", 200, json=oslo)
    await client.data("POST", f"{path}/send", json={})
    await client.data("PATCH", f"/segments/{segment['id']}", json={"conditions": PARIS})
    await run_due(runtime)
    assert await mailed(client) == {"linus@example.com"}
    assert (await client.data("GET", path))["segment"] == {"name": "In Oslo", "conditions": other}


async def test_a_segment_with_nobody_is_sent_to_nobody(
    client: Client, runtime: Runtime, draft: Make, list_id: str
) -> None:
    nobody = await make_segment(client, list_id, {"tag": "nobody has it"})
    campaign = await draft(segment_id=nobody["id"], send=True)
    await run_due(runtime)
    sent = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (sent["status"], sent["recipient_count"]) == ("sent", 0)
    assert await mailed(client) == set()


async def test_a_test_copy_goes_to_whom_it_is_sent(
    client: Client, runtime: Runtime, draft: Make, segment: Any
) -> None:
    campaign = await draft(segment_id=segment["id"])
    path = f"/campaigns/{campaign['id']}/test"
    await client.data("POST", path, 202, json={"emails": ["me@example.com"]})
    await run_due(runtime)
    assert await mailed(client) == {"me@example.com"}


async def test_each_reader_of_the_segment_has_their_own_hour(
    client: Client, runtime: Runtime, draft: Make, segment: Any
) -> None:
    campaign = await draft(segment_id=segment["id"], send_at_local_hour=9, send=True)
    assert campaign["recipient_count"] == 2


async def test_a_segment_of_another_list_or_project_is_no_segment_of_the_campaign(
    client: Client,
    make_client: MakeClient,
    make_project: MakeProject,
    draft: Make,
    list_id: str,
    segment: Any,
) -> None:
    other_list = await make_list(client)
    of_other_list = (await make_segment(client, other_list))["id"]
    stranger = await make_client(await make_project(name="Other"))
    theirs = (await make_segment(stranger, await make_list(stranger)))["id"]
    campaign = await draft(segment_id=segment["id"])
    path, words = f"/campaigns/{campaign['id']}", ["is not a segment of the campaign's list"]
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>Hi</p>"}
    for wrong in (of_other_list, theirs, ids.public("seg", ids.uuid7())):
        for method, where, more in (("POST", "/campaigns", body), ("PATCH", path, {})):
            error = await client.expect_error(
                method, where, 422, "validation_failed", json=more | {"segment_id": wrong}
            )
            assert error["errors"] == {"segment_id": words}
    error = await client.expect_error("PATCH", path, 422, "validation_failed", json={"list_id": other_list})
    assert error["errors"] == {"segment_id": words}
    both = {"list_id": other_list, "segment_id": of_other_list}
    assert (await client.data("PATCH", path, json=both))["segment_id"] == of_other_list
    assert (await client.data("PATCH", path, json={"segment_id": None}))["segment_id"] is None


async def test_a_segment_that_a_waiting_campaign_goes_to_is_not_deleted(
    client: Client, runtime: Runtime, draft: Make, segment: Any
) -> None:
    campaign = await draft(segment_id=segment["id"])
    await client.expect_error("DELETE", f"/segments/{segment['id']}", 409, "segment_in_use")
    await client.data("PATCH", f"/campaigns/{campaign['id']}", json={"scheduled_at": "2099-01-01T00:00:00Z"})
    await client.expect_error("DELETE", f"/segments/{segment['id']}", 409, "segment_in_use")
    await client.data("POST", f"/campaigns/{campaign['id']}/send", json={})
    assert (await client.delete(f"/segments/{segment['id']}")).status_code == 204
    await run_due(runtime)
    shown = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (shown["segment_id"], shown["segment"]["name"]) == (segment["id"], "In Paris")


async def test_a_refused_launch_whose_segment_is_gone_says_what_to_do(
    client: Client, runtime: Runtime, draft: Make, segment: Any
) -> None:
    campaign = await draft(segment_id=segment["id"], scheduled_at="2099-01-01T00:00:00Z")
    path = f"/campaigns/{campaign['id']}"
    await client.data("PATCH", "/project", json={"from_email": None})
    await let_its_time_come(runtime, campaign["id"])
    await run_due(runtime)
    assert (await client.data("GET", path))["status"] == "failed"
    await client.data("PATCH", "/project", json={"from_email": "news@acme.example.com"})
    assert (await client.delete(f"/segments/{segment['id']}")).status_code == 204
    await client.expect_error("POST", f"{path}/send", 409, "segment_missing", json={})
    await client.data("PATCH", path, json={"segment_id": None})
    assert (await client.data("POST", f"{path}/send", json={}))["recipient_count"] == 3


async def test_the_plan_needs_room_for_the_segment_alone(
    make_project: MakeProject, make_client: MakeClient, runtime: Runtime
) -> None:
    project = await make_project(plan="free")
    client = await make_client(project)
    list_id = await make_list(client, "ada", "grace", "linus")
    ada = await make_segment(client, list_id, {"field": {"name": "first_name", "equals": "Ada"}})
    await use_mails(runtime, project, 999)
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>", "send": True}
    await client.expect_error("POST", "/campaigns", 429, "quota_exceeded", json=body)
    sent = await client.data("POST", "/campaigns", 201, json=body | {"segment_id": ada["id"]})
    assert sent["recipient_count"] == 1


async def test_who_opened_a_campaign_is_a_segment_and_machines_do_not_count(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    first = await send_campaign(client, runtime, list_id, track_opens=True, track_clicks=True)
    await read_mail(client, runtime, "ada@example.com", opens=1, clicks=1)
    await read_mail(client, runtime, "grace@example.com", opens=1)
    theirs = {"campaign_id": first["id"]}
    for wanted, expected in (
        ({"opened": theirs | {"days": 2}}, {"ada@example.com", "grace@example.com"}),
        ({"all": [{"opened": theirs}, {"none": [{"clicked": theirs}]}]}, {"grace@example.com"}),
        ({"none": [{"opened": theirs}]}, {"linus@example.com"}),
    ):
        segment = await make_segment(client, list_id, wanted)
        shown = await client.data("GET", f"/segments/{segment['id']}/subscribers")
        assert {row["email"] for row in shown} == expected
        counted = await client.data("GET", f"/segments/{segment['id']}/count")
        assert counted["active_subscribers"] == len(expected)
        campaign = await send_campaign(client, runtime, list_id, segment_id=segment["id"])
        reached = await client.data("GET", f"/campaigns/{campaign['id']}/recipients")
        assert {row["address"] for row in reached} == expected


async def test_a_segment_of_a_large_list_waits_on_rolls(
    client: Client, runtime: Runtime, list_id: str, segment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that PostgreSQL alone has."""
    monkeypatch.setattr(rolls, "LENGTH", 1)
    monkeypatch.setattr(rolls, "AT_ONCE", 1)
    await send_campaign(client, runtime, list_id, segment_id=segment["id"])
    assert await mailed(client) == {"ada@example.com", "grace@example.com"}


def take_forever(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    forever = "pg_sleep(600) IS NOT NULL"
    if runtime.db.is_sqlite:
        forever = (
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n) > 0"
        )
    monkeypatch.setattr(conditions, "holds", lambda *_: literal_column(f"({forever})", Boolean))
    monkeypatch.setitem(runtime.settings.limits.__dict__, "segment_seconds", 0.2)


async def test_conditions_that_take_too_long_are_given_up_and_leave_the_campaign_as_it_was(
    client: Client,
    runtime: Runtime,
    draft: Make,
    list_id: str,
    segment: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here they would take forever."""
    campaign = await draft(segment_id=segment["id"])
    holds, limits = conditions.holds, runtime.settings.limits
    take_forever(runtime, monkeypatch)
    for method, path, sent in (
        ("GET", f"/segments/{segment['id']}/count", None),
        ("GET", f"/segments/{segment['id']}/subscribers", None),
        ("GET", f"/subscribers?segment_id={segment['id']}", None),
        ("POST", "/segments/preview", {"list_id": list_id, "conditions": PARIS}),
        ("POST", f"/campaigns/{campaign['id']}/send", {}),
    ):
        await client.expect_error(method, path, 503, "segment_too_slow", json=sent)
    monkeypatch.setitem(limits.__dict__, "segment_seconds", 20)
    monkeypatch.setattr(conditions, "holds", holds)
    assert (await client.data("GET", f"/campaigns/{campaign['id']}"))["status"] == "draft"
    sending = await client.data("POST", f"/campaigns/{campaign['id']}/send", json={})
    assert sending["recipient_count"] == 2


async def test_a_scheduled_launch_that_takes_too_long_is_tried_again_and_sent_once(
    client: Client, runtime: Runtime, draft: Make, segment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await draft(segment_id=segment["id"], scheduled_at="2099-01-01T00:00:00Z")
    await let_its_time_come(runtime, campaign["id"])
    async with runtime.db.read() as session:
        job = (await session.scalars(select(Job).where(Job.name == "campaigns.launch"))).one()
    with monkeypatch.context() as slow:
        take_forever(runtime, slow)
        assert (await run_due(runtime)).count("campaigns.launch") == 1
        # As after a worker that died before it had said that it was through.
        await handlers(runtime)["campaigns.launch"].run(job.payload)
    assert await waiting(runtime, "campaigns.launch") == 1
    late = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (late["status"], late["status_reason"]["code"]) == ("scheduled", "segment_too_slow")
    assert "It is tried again at" in late["status_reason"]["message"]
    await make_due(runtime)
    await run_due(runtime)
    sent = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (sent["status"], sent["status_reason"], sent["emails_sent"]) == ("sent", None, 2)


async def test_a_scheduled_launch_that_always_takes_too_long_fails_and_may_be_sent_again(
    client: Client, runtime: Runtime, draft: Make, segment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await draft(segment_id=segment["id"], scheduled_at="2099-01-01T00:00:00Z")
    path = f"/campaigns/{campaign['id']}"
    await let_its_time_come(runtime, campaign["id"])
    with monkeypatch.context() as slow:
        take_forever(runtime, slow)
        for _ in service.SLOW_AGAIN:
            assert (await run_due(runtime)).count("campaigns.launch") == 1
            assert (await client.data("GET", path))["status"] == "scheduled"
            await make_due(runtime)
        await run_due(runtime)
    refused = await client.data("GET", path)
    assert (refused["status"], refused["status_reason"]["code"]) == ("failed", "segment_too_slow")
    assert "It is not tried again" in refused["status_reason"]["message"]
    assert await waiting(runtime, "campaigns.launch") == 0
    assert (await client.data("POST", f"{path}/send", json={}))["recipient_count"] == 2


async def test_no_slow_launch_is_tried_again_later_than_it_may_begin_or_after_it_was_cancelled(
    client: Client, runtime: Runtime, draft: Make, segment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = {"segment_id": segment["id"], "scheduled_at": "2099-01-01T00:00:00Z"}
    in_time, late = await draft(**schedule), await draft(**schedule)
    await let_its_time_come(runtime, in_time["id"])
    await let_its_time_come(runtime, late["id"], ago=timedelta(minutes=59.5))
    take_forever(runtime, monkeypatch)
    await run_due(runtime)
    failed = await client.data("GET", f"/campaigns/{late['id']}")
    assert (failed["status"], failed["status_reason"]["code"]) == ("failed", "segment_too_slow")
    assert await waiting(runtime, "campaigns.launch") == 1
    await client.data("POST", f"/campaigns/{in_time['id']}/cancel")
    assert await waiting(runtime, "campaigns.launch") == 0


async def test_a_try_that_nobody_was_there_for_says_that_its_segment_was_slow(
    client: Client, runtime: Runtime, draft: Make, segment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await draft(segment_id=segment["id"], scheduled_at="2099-01-01T00:00:00Z")
    await let_its_time_come(runtime, campaign["id"])
    with monkeypatch.context() as slow:
        take_forever(runtime, slow)
        await run_due(runtime)
    await let_its_time_come(runtime, campaign["id"], ago=timedelta(hours=2))
    await run_due(runtime)
    missed = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (missed["status"], missed["status_reason"]["code"]) == ("failed", "schedule_missed")
    assert missed["status_reason"]["message"].startswith("Its segment took too long at its time")


async def test_counts_of_one_account_leave_connections_to_others(
    client: Client,
    make_client: MakeClient,
    make_project: MakeProject,
    runtime: Runtime,
    segment: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stranger = await make_client(await make_project(name="Other"))
    held, most, inside = asyncio.Event(), 0, 0

    async def slowly(*_: Any) -> Any:
        nonlocal most, inside
        inside += 1
        most = max(most, inside)
        await held.wait()
        inside -= 1
        return {"total_subscribers": 0, "active_subscribers": 0, "counted_at": "2026-01-01T00:00:00Z"}

    monkeypatch.setattr(segments, "counted", slowly)
    calls = [asyncio.create_task(client.get(f"/segments/{segment['id']}/count")) for _ in range(30)]
    while inside < runtime.settings.limits.segment_calls:
        await asyncio.sleep(0)
    await stranger.data("GET", "/lists")
    assert not any(call.done() for call in calls)
    held.set()
    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
    assert most == runtime.settings.limits.segment_calls


async def test_launches_of_one_account_leave_connections_and_turns_to_write_to_others(
    client: Client,
    make_client: MakeClient,
    make_project: MakeProject,
    runtime: Runtime,
    draft: Make,
    segment: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stranger = await make_client(await make_project(name="Other"))
    await stranger.data("GET", "/lists")  # The first use of a key is written down.
    campaigns = [await draft(segment_id=segment["id"]) for _ in range(30)]
    held, compiled, inside, most = asyncio.Event(), 0, 0, 0
    calls: list[asyncio.Task[Any]] = []
    compile_campaign, unit_of_work, within = service.compile_campaign, runtime.db.unit_of_work, launch.within

    async def counting(*given: Any) -> Any:
        nonlocal compiled
        mail = await compile_campaign(*given)
        compiled += 1
        return mail

    @asynccontextmanager
    async def watched() -> AsyncIterator[AsyncSession]:
        """Counts launches from their place in the line on, in which SQLite has them write."""
        nonlocal inside, most
        mine = asyncio.current_task() in calls
        inside += mine
        most = max(most, inside)
        try:
            async with unit_of_work() as session:
                yield session
        finally:
            inside -= mine

    async def slowly(*given: Any) -> Any:
        await held.wait()
        return await within(*given)

    monkeypatch.setattr(service, "compile_campaign", counting)
    monkeypatch.setattr(runtime.db, "unit_of_work", watched)
    monkeypatch.setattr(launch, "within", slowly)
    for campaign in campaigns:
        sent = client.post(f"/campaigns/{campaign['id']}/send", json={})
        calls.append(asyncio.create_task(sent))
    while compiled < len(calls) or inside < runtime.settings.limits.segment_calls:
        await asyncio.sleep(0.001)
    await stranger.data("GET", "/lists")
    assert not any(call.done() for call in calls)
    held.set()
    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
    assert most == runtime.settings.limits.segment_calls
