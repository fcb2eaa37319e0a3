"""The main job: a topic goes in, newsletters arrive."""

from typing import Any

import pytest
from sqlalchemy import update

from newsletter.delivery.models import Message, Outcome
from newsletter.kit.db import db_in
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import make_due, run_due

PEOPLE = ["ada", "grace", "linus", "margaret", "ken"]


@pytest.fixture
async def list_id(client: Client) -> str:
    made = await client.data("POST", "/lists", 201, json={"name": "Newsletter"})
    for name in PEOPLE:
        body = {"list_id": made["id"], "email": f"{name}@example.com", "first_name": name.title()}
        await client.data("POST", "/subscribers", 201, json=body)
    return str(made["id"])


def counts(campaign: dict[str, Any]) -> dict[str, int]:
    return {
        name.removeprefix("emails_"): campaign[name]
        for name in campaign
        if name.startswith("emails_") or name == "recipient_count"
    }


async def test_a_topic_goes_in_and_newsletters_arrive(client: Client, runtime: Runtime, list_id: str) -> None:
    campaign = await client.data(
        "POST",
        "/campaigns",
        201,
        json={
            "list_id": list_id,
            "ai": {"prompt": "Announce our new pricing tiers and free 14-day trial."},
            "send": True,
        },
    )
    assert campaign["status"] == "sending"
    assert campaign["creation_method"] == "ai"
    assert campaign["generation"]["writer"] == "sandbox"
    assert "delivery.send_batch" in await run_due(runtime)

    ended = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert ended["status"] == "sent"
    assert counts(ended) == {
        "recipient_count": 5,
        "sent": 5,
        "failed": 0,
        "suppressed": 0,
        "skipped": 0,
        "unknown": 0,
        "pending": 0,
        "per_second": None,
    }
    usage = await client.data("GET", "/account/usage")
    assert (usage["mails"]["used"], usage["mails"]["reserved"]) == (5, 0)
    assert (usage["generations"]["used"], usage["generations"]["reserved"]) == (1, 0)


async def test_personas_bounce_complain_and_delay(client: Client, runtime: Runtime, list_id: str) -> None:
    for persona in ("bounce", "complaint", "delay"):
        body = {"list_id": list_id, "email": f"{persona}@sandbox.test"}
        await client.data("POST", "/subscribers", 201, json=body)
    html = "<p>Hello {{ first_name }}</p>"
    copy = {"list_id": list_id, "subject": "Hi", "html": html, "send": True}
    campaign = await client.data("POST", "/campaigns", 201, json=copy)
    await run_due(runtime)
    waiting = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (waiting["status"], waiting["emails_sent"]) == ("sending", 7)

    await make_due(runtime)
    await run_due(runtime)
    await expire_waits(runtime)
    await make_due(runtime)
    await run_due(runtime)
    ended = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (ended["status"], ended["emails_sent"]) == ("sent", 8)
    found = await client.request("GET", "/subscribers", params={"list_id": list_id, "search": "sandbox.test"})
    by_email = {row["email"]: row["status"] for row in found.json()["data"]}
    assert by_email == {
        "bounce@sandbox.test": "bounced",
        "complaint@sandbox.test": "complained",
        "delay@sandbox.test": "active",
    }


async def expire_waits(runtime: Runtime) -> None:
    """Lets deferred messages be due, in place of waiting minutes for them."""
    async with runtime.db.unit_of_work() as session:
        await session.execute(
            update(Message).where(Message.outcome == Outcome.deferred).values(next_attempt_at=db_in(-1))
        )
