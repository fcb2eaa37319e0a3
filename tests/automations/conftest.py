"""A list with two readers, and what tests of automations do again and again."""

from typing import Any

import pytest
from sqlalchemy import update

from newsletter.automations import starting
from newsletter.automations.models import Automation, Run
from newsletter.kit.db import db_now
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import subscribed_list

HELLO = {"id": "hello", "send": {"subject": "Hello", "html": "<p>Hello {{ first_name }}.</p>"}}
BYE = {"id": "bye", "send": {"subject": "Goodbye", "html": "<p>That was it.</p>"}}
WAIT = {"id": "rest", "wait": {"days": 2}}
CREATED = {"event": {"name": "subscriber.created"}}


@pytest.fixture
async def list_id(client: Client) -> str:
    return await subscribed_list(client, "Ada", "Grace")


async def automate(
    client: Client, list_id: str, *steps: Any, start: Any = None, is_active: bool = True, **more: Any
) -> str:
    """An automation with these steps, which runs; returns its id."""
    body = {"name": "Welcome", "list_id": list_id, "start": start, "steps": list(steps), **more}
    made = await client.data("POST", "/automations", 201, json=body)
    if is_active:
        await client.data("POST", f"/automations/{made['id']}/activate", 200)
    return str(made["id"])


async def join(client: Client, list_id: str, name: str, **fields: Any) -> str:
    body = {"list_id": list_id, "email": f"{name.lower()}@example.com", "first_name": name, **fields}
    return str((await client.data("POST", "/subscribers", 201, json=body))["id"])


async def sweep(runtime: Runtime) -> list[str]:
    """What the sweeper does of it, and the work that it finds."""
    await starting.enqueue_due(runtime.db)
    return await run_due(runtime)


async def let_time_pass(runtime: Runtime) -> None:
    """Every wait is over, and every look is due."""
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Run).values(due_at=db_now()))
        later = Automation.enrol_at.is_not(None)
        await session.execute(update(Automation).where(later).values(enrol_at=db_now()))
    await sweep(runtime)


async def runs(client: Client, automation_id: str, **filters: Any) -> list[dict[str, Any]]:
    """Its runs with their steps, the oldest first."""
    found = await client.data("GET", f"/automations/{automation_id}/runs", params=filters)
    paths = [f"/automations/{automation_id}/runs/{run['id']}" for run in reversed(found)]
    return [await client.data("GET", path) for path in paths]


def taken(run: dict[str, Any]) -> list[tuple[str, str]]:
    """The steps of a run and how each went."""
    return [(step["step_id"], step["outcome"]) for step in run["steps"]]


async def subjects(client: Client, address: str) -> list[str]:
    """Those of the mails to this address, the oldest first."""
    found = await client.data("GET", "/sandbox/messages", params={"to": address})
    return [mail["subject"] for mail in reversed(found)]
