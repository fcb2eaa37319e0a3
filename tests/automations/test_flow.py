"""An automation from its start to its end, as a customer and their readers see it."""

from sqlalchemy import update

from newsletter.feedback.models import MessageEngagement
from newsletter.kit.db import db_in
from newsletter.runtime import Runtime
from tests.automations.conftest import (
    BYE,
    CREATED,
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
from tests.jobs import run_due
from tests.mailbox import send_campaign
from tests.newcomer import read_mail


async def test_a_new_subscriber_is_welcomed_waits_and_is_mailed_again(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE, start=CREATED)
    marie = await join(client, list_id, "Marie")
    await run_due(runtime)
    assert await subjects(client, "marie@example.com") == ["Hello"]
    [run] = await runs(client, automation_id)
    assert (run["subscriber_id"], run["cause"], run["status"]) == (marie, "event", "running")
    assert (run["step_id"], taken(run)) == ("bye", [("hello", "sent"), ("rest", "waited")])
    assert run["due_at"] == run["steps"][1]["until"]
    message = await client.data("GET", f"/messages/{run['steps'][0]['message_id']}")
    assert (message["to"], message["status"]) == ("marie@example.com", "sent")

    await sweep(runtime)
    assert await subjects(client, "marie@example.com") == ["Hello"]
    await let_time_pass(runtime)

    assert await subjects(client, "marie@example.com") == ["Hello", "Goodbye"]
    [run] = await runs(client, automation_id, status="completed")
    assert taken(run)[-1] == ("bye", "sent")
    assert (run["step_id"], run["due_at"]) == (None, None)
    assert run["ended_at"] is not None
    shown = await client.data("GET", f"/automations/{automation_id}")
    assert shown["runs"] == {"running": 0, "completed": 1, "left": 0, "failed": 0}


async def test_who_opened_goes_one_way_and_who_did_not_the_other(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    await client.data("PATCH", "/project", json={"track_opens": True, "track_clicks": True})
    hello = {"id": "hello", "send": {"subject": "Hello", "html": '<p><a href="https://acme.test">x</a></p>'}}
    branch = {
        "when": {"opened": {"step": "hello", "days": 3}},
        "yes": [{"id": "keen", "tag": {"add": ["keen"], "remove": ["new"]}}],
        "no": [{"id": "again", "send": {"subject": "Again", "html": "<p>Hello?</p>"}}],
    }
    automation_id = await automate(
        client, list_id, hello, WAIT, {"id": "opened", "branch": branch}, BYE, start=CREATED
    )
    keen = await join(client, list_id, "Marie", tags=["new", "lab"])
    shy = await join(client, list_id, "Lise", tags=["new"])
    await run_due(runtime)
    await read_mail(client, runtime, "marie@example.com", opens=1)
    await let_time_pass(runtime)

    assert (await client.data("GET", f"/subscribers/{keen}"))["tags"] == ["lab", "keen"]
    assert (await client.data("GET", f"/subscribers/{shy}"))["tags"] == ["new"]
    assert await subjects(client, "marie@example.com") == ["Hello", "Goodbye"]
    assert await subjects(client, "lise@example.com") == ["Hello", "Again", "Goodbye"]
    first, second = await runs(client, automation_id)
    assert taken(first)[2:] == [("opened", "yes"), ("keen", "tagged"), ("bye", "sent")]
    assert taken(second)[2:] == [("opened", "no"), ("again", "sent"), ("bye", "sent")]


async def test_a_branch_knows_who_read_a_campaign_and_how_lately(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    campaign = await send_campaign(client, runtime, list_id, track_opens=True, track_clicks=True)
    await read_mail(client, runtime, "ada@example.com", opens=1, clicks=1)
    await read_mail(client, runtime, "grace@example.com", opens=1)
    mail = {"campaign_id": campaign["id"]}
    steps = [
        {"id": "opened", "branch": {"when": {"opened": mail | {"days": 2}}}},
        {"id": "clicked", "branch": {"when": {"clicked": mail}}},
        {"id": "late", "branch": {"when": {"none": [{"clicked": mail | {"days": 2}}]}}},
    ]
    automation_id = await automate(client, list_id, *steps)
    for email in ("ada@example.com", "grace@example.com"):
        await client.data("POST", f"/automations/{automation_id}/trigger", 202, json={"email": email})
    async with runtime.db.unit_of_work() as session:
        last = update(MessageEngagement).where(MessageEngagement.clicks == 0)
        await session.execute(last.values(last_opened_at=db_in(-3 * 86_400.0)))
    await run_due(runtime)
    ada, grace = await runs(client, automation_id)
    assert taken(ada) == [("opened", "yes"), ("clicked", "yes"), ("late", "no")]
    assert taken(grace) == [("opened", "no"), ("clicked", "no"), ("late", "yes")]
