"""Sending, scheduling, cancelling, and everything that stands in the way of a launch."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from newsletter.accounts.project import Project
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.events.models import Event
from newsletter.kit import ids
from newsletter.kit.jobs import Job
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.runtime import Runtime
from newsletter.settings import Settings, SMTPSettings
from tests.campaigns.conftest import Make, make_list
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import make_due, run_due


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def test_send_and_launch_are_one(client: Client, draft: Make, runtime: Runtime) -> None:
    for verb in ("send", "launch"):
        campaign = await draft()
        sending = await client.data("POST", f"/campaigns/{campaign['id']}/{verb}", 200, json={})
        assert (sending["status"], sending["recipient_count"]) == ("sending", 3)
        await run_due(runtime)
        assert (await client.data("GET", f"/campaigns/{campaign['id']}"))["status"] == "sent"


async def test_send_needs_no_body(client: Client, draft: Make) -> None:
    campaign = await draft()
    assert (await client.data("POST", f"/campaigns/{campaign['id']}/send", 200))["status"] == "sending"


async def test_what_was_sent_is_not_sent_again(client: Client, draft: Make, runtime: Runtime) -> None:
    path = f"/campaigns/{(await draft(send=True))['id']}"
    await client.expect_error("POST", f"{path}/send", 409, "already_sent", json={})
    await run_due(runtime)
    await client.expect_error("POST", f"{path}/send", 409, "already_sent", json={})
    await client.expect_error("PATCH", path, 409, "cannot_change", json={"subject": "x"})
    await client.expect_error("POST", f"{path}/cancel", 409, "cannot_cancel")


async def test_a_scheduled_campaign_goes_out_at_its_time(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    campaign = await draft(scheduled_at=in_hours(2), send=True)
    assert campaign["status"] == "scheduled"
    await run_due(runtime)
    path = f"/campaigns/{campaign['id']}"
    assert (await client.data("GET", path))["status"] == "scheduled"
    await let_its_time_come(runtime, campaign["id"])
    await run_due(runtime)
    assert (await client.data("GET", path))["status"] == "sent"


async def test_a_job_that_rings_before_its_time_launches_nothing_and_comes_again(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    campaign = await draft(scheduled_at=in_hours(2))
    path = f"/campaigns/{campaign['id']}"
    await make_due(runtime)
    assert (await run_due(runtime)).count("campaigns.launch") == 1
    assert (await client.data("GET", path))["status"] == "scheduled"
    await let_its_time_come(runtime, campaign["id"])
    await make_due(runtime)
    await run_due(runtime)
    assert (await client.data("GET", path))["status"] == "sent"


async def test_a_zone_is_understood_and_shown_in_utc(draft: Make) -> None:
    campaign = await draft(scheduled_at="2099-07-01T09:00:00+02:00")
    assert campaign["scheduled_at"] == "2099-07-01T07:00:00Z"


async def test_rescheduling_keeps_one_launch(client: Client, draft: Make, runtime: Runtime) -> None:
    campaign = await draft(scheduled_at=in_hours(2))
    path = f"/campaigns/{campaign['id']}"
    await client.data("PATCH", path, json={"scheduled_at": in_hours(3)})
    await client.data("POST", f"{path}/send", 200, json={"scheduled_at": in_hours(4)})
    assert await waiting_launches(runtime) == 1
    unscheduled = await client.data("PATCH", path, json={"scheduled_at": None})
    assert (unscheduled["status"], unscheduled["scheduled_at"]) == ("draft", None)
    assert await waiting_launches(runtime) == 0


async def test_a_cancelled_schedule_never_goes_out(client: Client, draft: Make, runtime: Runtime) -> None:
    campaign = await draft(scheduled_at=in_hours(2))
    path = f"/campaigns/{campaign['id']}"
    assert (await client.data("POST", f"{path}/cancel", 200))["status"] == "cancelled"
    assert await waiting_launches(runtime) == 0
    await client.expect_error("POST", f"{path}/send", 409, "campaign_cancelled", json={})


async def test_a_scheduled_launch_that_is_refused_fails_with_its_reason_and_may_be_sent_again(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    campaign = await draft(scheduled_at=in_hours(2))
    await client.data("PATCH", "/project", json={"from_email": None})
    await let_its_time_come(runtime, campaign["id"])
    await run_due(runtime)
    path = f"/campaigns/{campaign['id']}"
    failed = await client.data("GET", path)
    assert failed["status"] == "failed"
    assert failed["status_reason"]["code"] == "sender_missing"
    await client.data("PATCH", "/project", json={"from_email": "news@acme.example.com"})
    assert (await client.data("POST", f"{path}/send", 200, json={}))["status"] == "sending"


async def test_a_scheduled_launch_that_was_refused_may_be_changed_scheduled_anew_and_deleted(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    first, second = await draft(scheduled_at=in_hours(2)), await draft(scheduled_at=in_hours(2))
    await client.data("PATCH", "/project", json={"from_email": None})
    for campaign in (first, second):
        await let_its_time_come(runtime, campaign["id"])
    await run_due(runtime)
    path = f"/campaigns/{first['id']}"
    changed = await client.data(
        "PATCH", path, json={"subject": "Hi again", "from_email": "a@acme.example.com"}
    )
    assert (changed["subject"], changed["status"]) == ("Hi again", "failed")
    again = await client.data("PATCH", path, json={"scheduled_at": in_hours(2)})
    assert (again["status"], again["status_reason"]) == ("scheduled", None)
    assert (await client.delete(f"/campaigns/{second['id']}")).status_code == 204
    assert [each["id"] for each in await client.data("GET", "/campaigns")] == [first["id"]]


async def test_what_nobody_got_is_history_once_its_mails_were_tried(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    campaign = await draft(send=True)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Campaign).values(status=CampaignStatus.failed))
    path = f"/campaigns/{campaign['id']}"
    await client.expect_error("PATCH", path, 409, "cannot_change", json={"subject": "Again"})
    await client.expect_error("DELETE", path, 409, "cannot_delete")


async def test_what_has_no_subject_is_not_scheduled(client: Client, draft: Make, list_id: str) -> None:
    body = {"list_id": list_id, "html": "<p>Hello</p>"}
    when = {"scheduled_at": in_hours(2)}
    await client.expect_error("POST", "/campaigns", 409, "subject_missing", json=body | when)
    assert await client.data("GET", "/campaigns") == []
    path = f"/campaigns/{(await draft(subject=None))['id']}"
    await client.expect_error("POST", f"{path}/send", 409, "subject_missing", json=when)
    await client.expect_error("PATCH", path, 409, "subject_missing", json=when)
    assert (await client.data("PATCH", path, json={**when, "subject": "Hi"}))["status"] == "scheduled"
    await client.expect_error("PATCH", path, 409, "subject_missing", json={"subject": None})
    assert (await client.data("GET", path))["subject"] == "Hi"


async def test_what_nobody_began_in_time_is_missed_told_and_may_be_sent_by_hand(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    """The default grace is an hour; nothing was running for two."""
    campaign = await draft(scheduled_at=in_hours(2))
    path = f"/campaigns/{campaign['id']}"
    await let_its_time_come(runtime, campaign["id"], ago=timedelta(hours=2))
    await run_due(runtime)
    missed = await client.data("GET", path)
    assert (missed["status"], missed["status_reason"]["code"]) == ("failed", "schedule_missed")
    assert "120 minutes" in missed["status_reason"]["message"]
    assert (await client.request("GET", "/sandbox/messages")).json()["data"] == []
    async with runtime.db.read() as session:
        [event] = (await session.scalars(select(Event).where(Event.type == "campaign.failed"))).all()
    assert event.data["campaign"]["status_reason"]["code"] == "schedule_missed"
    await client.data("POST", f"{path}/send", 200, json={})
    await run_due(runtime)
    assert (await client.data("GET", path))["status"] == "sent"


async def test_what_was_missed_by_less_than_the_grace_goes_out(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    campaign = await draft(scheduled_at=in_hours(2))
    await let_its_time_come(runtime, campaign["id"], ago=timedelta(minutes=59))
    await run_due(runtime)
    assert (await client.data("GET", f"/campaigns/{campaign['id']}"))["status"] == "sent"


@pytest.fixture
async def live_client(make_client: MakeClient, make_project: MakeProject) -> Client:
    return await make_client(await make_project(is_test=False))


async def refused_launch(client: Client, code: str, **changes: object) -> None:
    """The launch is refused, and by the same code when it comes with the creation."""
    list_id = await make_list(client)
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>"} | changes
    campaign = await client.data("POST", "/campaigns", 201, json=body)
    await client.expect_error("POST", f"/campaigns/{campaign['id']}/send", 409, code, json={})
    await client.expect_error("POST", "/campaigns", 409, code, json=body | {"send": True})


async def test_a_launch_without_a_sender_is_refused(client: Client) -> None:
    await client.data("PATCH", "/project", json={"from_email": None})
    await refused_launch(client, "sender_missing")


async def test_a_launch_without_a_subject_is_refused(client: Client) -> None:
    await refused_launch(client, "subject_missing", subject=None)


async def test_a_live_launch_without_a_postal_address_is_refused(live_client: Client) -> None:
    await live_client.data("PATCH", "/project", json={"postal_address": None})
    await refused_launch(live_client, "postal_address_missing")


async def test_a_live_launch_without_a_sending_server_is_refused(live_client: Client) -> None:
    await refused_launch(live_client, "sending_server_missing")


class TestVerifiedDomains:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        smtp = SMTPSettings(url=SecretStr("smtp://127.0.0.1:1"))
        return settings.model_copy(update={"require_verified_domain": True, "smtp": smtp})

    async def test_a_live_launch_from_an_unverified_domain_is_refused_where_that_is_required(
        self, live_client: Client
    ) -> None:
        await refused_launch(live_client, "domain_not_verified")


async def test_a_refused_launch_leaves_no_campaign_and_no_model_was_asked(
    live_client: Client, runtime: Runtime
) -> None:
    list_id = await make_list(live_client)
    body = {"list_id": list_id, "ai": {"prompt": "Announce the new pricing"}, "send": True}
    await live_client.expect_error("POST", "/campaigns", 409, "sending_server_missing", json=body)
    usage = await live_client.data("GET", "/account/usage")
    assert (usage["campaigns"]["used"], usage["generations"]["used"], usage["generations"]["reserved"]) == (
        0,
        0,
        0,
    )


async def test_a_full_mail_quota_answers_the_launch_itself(
    make_project: MakeProject, make_client: MakeClient, runtime: Runtime
) -> None:
    project = await make_project(plan="free")
    client = await make_client(project)
    list_id = await make_list(client, "ada", "grace", "linus")
    await use_mails(runtime, project, 998)
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>"}
    campaign = await client.data("POST", "/campaigns", 201, json=body)
    response = await client.request("POST", f"/campaigns/{campaign['id']}/send", json={})
    assert (response.status_code, response.json()["error"]["code"]) == (429, "quota_exceeded")
    assert int(response.headers["Retry-After"]) > 0
    assert (await client.data("GET", f"/campaigns/{campaign['id']}"))["status"] == "draft"
    usage = await client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (998, 0)


async def test_a_key_without_the_send_scope_creates_drafts_only(
    client: Client, project: Project, list_id: str, make_client: MakeClient
) -> None:
    writer = await make_client(project, scopes=("campaigns:write", "campaigns:read"))
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>"}
    campaign = await writer.data("POST", "/campaigns", 201, json=body)
    await writer.expect_error("POST", f"/campaigns/{campaign['id']}/send", 403, "forbidden", json={})
    await writer.expect_error("POST", "/campaigns", 403, "forbidden", json=body | {"send": True})
    later = {"scheduled_at": in_hours(1)}
    await writer.expect_error("POST", "/campaigns", 403, "forbidden", json=body | later)
    await writer.expect_error("PATCH", f"/campaigns/{campaign['id']}", 403, "forbidden", json=later)


async def test_a_key_restricted_to_a_sender_domain_sends_from_it_alone(
    project: Project, list_id: str, make_client: MakeClient
) -> None:
    own = await make_client(project, from_domains=("acme.example.com",))
    other = await make_client(project, from_domains=("other.example.com",))
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>", "send": True}
    assert (await own.data("POST", "/campaigns", 201, json=body))["status"] == "sending"
    await other.expect_error("POST", "/campaigns", 403, "forbidden", json=body)


async def test_a_test_send_reaches_its_addresses_and_leaves_the_campaign_alone(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    campaign = await draft()
    body = {"emails": ["editor@example.com", "Editor@example.com", "boss@example.com"]}
    queued = await client.data("POST", f"/campaigns/{campaign['id']}/test", 202, json=body)
    assert queued["status"] == "queued"
    await run_due(runtime)
    inbox = (await client.request("GET", "/sandbox/messages")).json()["data"]
    assert sorted(mail["to_email"] for mail in inbox) == ["boss@example.com", "editor@example.com"]
    after = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (after["status"], after["recipient_count"]) == ("draft", 0)


async def test_a_finished_campaign_is_an_event(client: Client, draft: Make, runtime: Runtime) -> None:
    campaign = await draft(send=True)
    await run_due(runtime)
    async with runtime.db.read() as session:
        events = (await session.scalars(select(Event).where(Event.type == "campaign.sent"))).all()
    assert [event.data["campaign"]["id"] for event in events] == [campaign["id"]]
    assert events[0].data["campaign"]["emails_sent"] == 3


async def let_its_time_come(
    runtime: Runtime, campaign_id: str, ago: timedelta = timedelta(seconds=5)
) -> None:
    async with runtime.db.unit_of_work() as session:
        past = datetime.now(UTC) - ago
        key = ids.private("cmp", campaign_id)
        await session.execute(update(Campaign).where(Campaign.id == key).values(scheduled_at=past))
        await session.execute(update(Job).where(Job.name == "campaigns.launch").values(run_at=past))


async def waiting_launches(runtime: Runtime) -> int:
    async with runtime.db.read() as session:
        return len((await session.scalars(select(Job).where(Job.name == "campaigns.launch"))).all())


async def use_mails(runtime: Runtime, project: Project, count: int) -> None:
    async with runtime.db.unit_of_work() as session:
        assert await plans.use(session, project.quota_owner_id, Resource.mails, count, None)
