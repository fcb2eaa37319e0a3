"""Runs that go on, and what may come between two steps."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from newsletter.accounts.models import ProjectRow
from newsletter.automations import advancing, mails
from newsletter.automations.models import RunStep
from newsletter.delivery import service as delivery
from newsletter.delivery.models import Mailing, MailingKind, Message
from newsletter.kit import bulk, ids
from newsletter.runtime import Runtime
from newsletter.settings import AutomationSettings, Settings
from tests.automations.conftest import (
    BYE,
    HELLO,
    WAIT,
    automate,
    join,
    let_time_pass,
    runs,
    subjects,
    sweep,
    taken,
)
from tests.client import Client
from tests.conftest import SIZE, MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import subscribed_list

ADA = "ada@example.com"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small blocks, so that a few runs are several of them."""
    return settings.model_copy(update={"automations": AutomationSettings(block=2)})


async def trigger(client: Client, automation_id: str, *addresses: str) -> None:
    for email in addresses:
        await client.data("POST", f"/automations/{automation_id}/trigger", 202, json={"email": email})


async def advance(runtime: Runtime, automation_id: str) -> None:
    key = ids.private("aut", automation_id)
    await advancing.advance(runtime.db, runtime.studio, runtime.plans, key)


async def sent(runtime: Runtime) -> list[str]:
    """The addresses of all messages that automations have."""
    async with runtime.db.read() as session:
        mine = select(Message.address).join(Mailing, Mailing.id == Message.mailing_id)
        found = await session.scalars(mine.where(Mailing.kind == MailingKind.automation))
        return sorted(found)


async def test_a_crash_between_the_mail_and_the_books_sends_once(
    client: Client, runtime: Runtime, list_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE)
    await trigger(client, automation_id, ADA)

    async def die(*_: Any) -> None:
        raise ZeroDivisionError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(bulk, "update_rows", die)
        with pytest.raises(ZeroDivisionError):
            await advance(runtime, automation_id)
    assert await sent(runtime) == []
    assert (await runs(client, automation_id))[0]["step_id"] == "hello"

    await run_due(runtime)
    await advance(runtime, automation_id)
    await run_due(runtime)
    assert await subjects(client, ADA) == ["Hello"]
    assert await sent(runtime) == [ADA]


async def test_two_workers_on_the_same_runs_send_once_to_each(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    people = ["Marie", "Lise", "Emmy", "Mileva"]
    for name in people:
        await join(client, list_id, name)
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE)
    addresses = [f"{name.lower()}@example.com" for name in people]
    await trigger(client, automation_id, *addresses)
    await asyncio.gather(*(advance(runtime, automation_id) for _ in range(3)))
    await run_due(runtime)
    assert await sent(runtime) == sorted(addresses)
    for run in await runs(client, automation_id):
        assert taken(run) == [("hello", "sent"), ("rest", "waited")]


@pytest.mark.skipif(SIZE != "distributed", reason="SQLite has one writer, who waits for nobody's rows")
async def test_a_run_that_another_worker_holds_is_left_to_it(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO)
    await trigger(client, automation_id, ADA)
    held = advancing._due(ids.private("aut", automation_id), 10).with_for_update()
    async with runtime.db.unit_of_work() as session:
        assert len((await session.scalars(held)).all()) == 1
        await asyncio.wait_for(advance(runtime, automation_id), 20)
        assert await sent(runtime) == []
    await advance(runtime, automation_id)
    assert await sent(runtime) == [ADA]


async def test_a_pause_holds_every_run_and_an_activation_lets_it_go_on(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE)
    path = f"/automations/{automation_id}"
    await trigger(client, automation_id, ADA)
    for _ in range(2):
        paused = await client.data("POST", f"{path}/pause")
        assert (paused["status"], paused["status_reason"]) == ("paused", None)
    await run_due(runtime)
    await let_time_pass(runtime)
    assert await subjects(client, ADA) == []
    await client.data("POST", f"{path}/activate")
    await run_due(runtime)
    assert await subjects(client, ADA) == ["Hello"]
    await client.data("POST", f"{path}/pause")
    await let_time_pass(runtime)
    [run] = await runs(client, automation_id, status="running")
    assert run["step_id"] == "bye"
    await client.data("POST", f"{path}/activate")
    await run_due(runtime)
    assert await subjects(client, ADA) == ["Hello", "Goodbye"]


@pytest.mark.parametrize("way", ["unsubscribed", "suppressed", "subscriber_gone"])
async def test_who_left_in_the_middle_gets_nothing_more(
    client: Client, runtime: Runtime, list_id: str, way: str
) -> None:
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE)
    await trigger(client, automation_id, ADA, "grace@example.com")
    await run_due(runtime)
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada@"})
    if way == "unsubscribed":
        await client.delete(f"/subscribers/{ADA}?list_id={list_id}")
    elif way == "suppressed":
        await client.data("POST", "/suppressions", 201, json={"email": ADA})
    else:
        await client.post(f"/subscribers/{ada['id']}/erase", json={})
    await let_time_pass(runtime)
    first, second = await runs(client, automation_id)
    assert (first["status"], first["reason"], first["step_id"]) == ("left", way, None)
    assert taken(first)[-1] == ("bye", "ended")
    assert first["steps"][-1]["reason"] == way
    assert second["status"] == "completed"
    assert await subjects(client, "grace@example.com") == ["Hello", "Goodbye"]
    assert "Goodbye" not in await subjects(client, ADA)


async def test_a_template_that_was_deleted_pauses_it_and_runs_go_on_with_another(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    slot = "<mj-section><mj-column><mj-text>{{ content }}</mj-text></mj-column></mj-section>"
    own = {"name": "Own", "mjml": f"<mjml><mj-body>{slot}</mj-body></mjml>"}
    template = await client.data("POST", "/templates", 201, json=own)
    framed = {"id": "framed", "send": {**BYE["send"], "template_id": template["id"]}}  # type: ignore[dict-item]
    automation_id = await automate(client, list_id, HELLO, WAIT, framed)
    await trigger(client, automation_id, ADA)
    await run_due(runtime)
    assert (await client.delete(f"/templates/{template['id']}")).status_code == 204
    await let_time_pass(runtime)
    path = f"/automations/{automation_id}"
    paused = await client.data("GET", path)
    assert (paused["status"], paused["status_reason"]["code"]) == ("paused", "template_missing")
    [run] = await runs(client, automation_id)
    assert (run["status"], run["step_id"]) == ("running", "framed")
    await client.data("PATCH", path, json={"steps": [HELLO, WAIT, BYE | {"id": "framed"}]})
    await client.data("POST", f"{path}/activate")
    await let_time_pass(runtime)
    assert (await runs(client, automation_id))[0]["status"] == "completed"
    assert await subjects(client, ADA) == ["Hello", "Goodbye"]


async def test_steps_may_change_under_a_run_which_goes_on_by_its_next_one(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE)
    path = f"/automations/{automation_id}"
    await trigger(client, automation_id, ADA)
    await run_due(runtime)
    await client.expect_error("PATCH", path, 409, "automation_active", json={"steps": [HELLO]})
    await client.data("POST", f"{path}/pause")
    other = {"id": "bye", "send": {"subject": "So long", "html": "<p>Bye</p>"}}
    await client.data("PATCH", path, json={"steps": [HELLO, other]})
    await client.data("POST", f"{path}/activate")
    await let_time_pass(runtime)
    assert await subjects(client, ADA) == ["Hello", "So long"]

    await trigger(client, automation_id, "grace@example.com")
    await client.data("POST", f"{path}/pause")
    await client.data("PATCH", path, json={"steps": [WAIT]})
    await client.data("POST", f"{path}/activate")
    await run_due(runtime)
    [run] = await runs(client, automation_id, status="failed")
    assert run["reason"] == "step_removed"


@pytest.mark.parametrize("is_paused", [True, False])
async def test_what_changes_while_its_mails_are_compiled_holds(
    client: Client, runtime: Runtime, list_id: str, monkeypatch: pytest.MonkeyPatch, is_paused: bool
) -> None:
    automation_id = await automate(client, list_id, HELLO)
    path = f"/automations/{automation_id}"
    await trigger(client, automation_id, ADA)
    compiled = mails.compiled

    async def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(mails, "compiled", compiled)
        mail = await compiled(*args)
        await client.data("POST", f"{path}/pause")
        if not is_paused:
            other = {"id": "hello", "send": {"subject": "Good day", "html": "<p>Hello</p>"}}
            await client.data("PATCH", path, json={"steps": [other]})
            await client.data("POST", f"{path}/activate")
        return mail

    monkeypatch.setattr(mails, "compiled", meanwhile)
    await advance(runtime, automation_id)
    await run_due(runtime)
    assert await subjects(client, ADA) == ([] if is_paused else ["Good day"])


async def test_an_automation_that_is_deleted_ends_its_runs_and_shows_them(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE)
    path = f"/automations/{automation_id}"
    await trigger(client, automation_id, ADA)
    await run_due(runtime)
    for _ in range(2):
        assert (await client.delete(path)).status_code == 204
    await let_time_pass(runtime)
    [run] = await runs(client, automation_id)
    assert (run["status"], run["reason"]) == ("failed", "automation_archived")
    assert await subjects(client, ADA) == ["Hello"]
    assert (await client.data("GET", path))["status"] == "archived"
    assert await client.data("GET", "/automations") == []
    assert [each["id"] for each in await client.data("GET", "/automations?status=archived")] == [
        automation_id
    ]
    await client.expect_error("POST", f"{path}/activate", 409, "automation_archived")
    await client.expect_error("PATCH", path, 409, "automation_archived", json={"name": "Other"})


async def test_without_mails_left_a_send_is_tried_again_later(
    client: Client, runtime: Runtime, list_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was written of the mailing before the plan refused is not there."""
    automation_id = await automate(client, list_id, HELLO)
    await trigger(client, automation_id, ADA)
    with monkeypatch.context() as patched:
        refused = 0

        async def refuse(*args: Any, **options: Any) -> Any:
            nonlocal refused
            refused += 1
            return await started(*args, **options | {"mail_limit": 0})

        started = delivery.start_with
        patched.setattr(delivery, "start_with", refuse)
        await run_due(runtime)
    [run] = await runs(client, automation_id)
    assert (refused, run["status"], run["reason"], run["step_id"]) == (
        1,
        "running",
        "quota_exceeded",
        "hello",
    )
    assert (await sent(runtime), run["steps"]) == ([], [])
    await sweep(runtime)
    assert await subjects(client, ADA) == []
    await let_time_pass(runtime)
    [run] = await runs(client, automation_id)
    assert (run["status"], run["reason"]) == ("completed", None)
    assert await subjects(client, ADA) == ["Hello"]


async def test_an_automation_whose_mails_lack_a_sender_pauses_itself(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO)
    path = f"/automations/{automation_id}"
    await trigger(client, automation_id, ADA)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(ProjectRow).values(from_email=None))
    await run_due(runtime)
    shown = await client.data("GET", path)
    assert (shown["status"], shown["status_reason"]["code"]) == ("paused", "sender_missing")
    [run] = await runs(client, automation_id, status="running")
    assert run["step_id"] == "hello"
    await client.expect_error("POST", f"{path}/activate", 409, "sender_missing")
    await client.data("PATCH", "/project", json={"from_email": "news@acme.example.com"})
    assert (await client.data("POST", f"{path}/activate"))["status_reason"] is None
    await run_due(runtime)
    assert await subjects(client, ADA) == ["Hello"]


async def test_a_list_that_is_gone_pauses_it_or_ends_its_runs(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO)
    await trigger(client, automation_id, ADA)
    assert (await client.delete(f"/lists/{list_id}")).status_code == 204
    await run_due(runtime)
    [run] = await runs(client, automation_id)
    assert (run["status"], run["reason"]) == ("left", "subscriber_gone")


async def test_its_mails_have_the_footer_and_unsubscribe_from_its_list(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO)
    await trigger(client, automation_id, ADA)
    await run_due(runtime)
    [found] = await client.data("GET", "/sandbox/messages")
    mail = await client.data("GET", f"/sandbox/messages/{found['id']}")
    raw = (await client.get(f"/sandbox/messages/{found['id']}", params={"format": "raw"})).text
    assert "Hello Ada." in mail["html"]
    assert "http://news.test/u/" in mail["html"]
    headers = raw.partition("\r\n\r\n")[0]
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in headers
    assert automation_id in headers.replace("\r\n ", "")


async def test_each_step_is_in_the_books_once(client: Client, runtime: Runtime, list_id: str) -> None:
    automation_id = await automate(client, list_id, HELLO, BYE)
    await trigger(client, automation_id, ADA)
    await run_due(runtime)
    async with runtime.db.read() as session:
        rows = (await session.execute(select(RunStep.number, RunStep.step_id).order_by(RunStep.number))).all()
    assert [tuple(row) for row in rows] == [(1, "hello"), (2, "bye")]


async def test_what_one_tenant_has_the_other_does_not_see(
    client: Client, runtime: Runtime, list_id: str, make_client: MakeClient, make_project: MakeProject
) -> None:
    theirs = await make_client(await make_project(name="Other"))
    other_list = await subscribed_list(theirs)
    automation_id = await automate(client, list_id, HELLO, start={"event": {"name": "subscriber.created"}})
    await trigger(client, automation_id, ADA)
    await run_due(runtime)
    [run] = await runs(client, automation_id)
    path = f"/automations/{automation_id}"
    for method, place, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": "Mine"}),
        ("DELETE", path, None),
        ("POST", f"{path}/activate", None),
        ("POST", f"{path}/pause", None),
        ("POST", f"{path}/trigger", {"email": ADA}),
        ("GET", f"{path}/runs", None),
        ("GET", f"{path}/runs/{run['id']}", None),
    ):
        await theirs.expect_error(method, place, 404, "not_found", json=body)
    assert await theirs.data("GET", "/automations") == []
    own = await automate(theirs, other_list, HELLO)
    await theirs.expect_error("GET", f"/automations/{own}/runs/{run['id']}", 404, "not_found")
    await join(theirs, other_list, "Lise")
    await run_due(runtime)
    assert len(await runs(client, automation_id)) == 1
