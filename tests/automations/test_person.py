"""Runs belong to a person: they are in that person's export, and end with their erasure."""

import json

from newsletter.runtime import Runtime
from tests.automations.conftest import BYE, HELLO, WAIT, automate, runs, taken
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import subscribed_list


async def test_the_runs_of_a_person_are_in_their_export(client: Client, runtime: Runtime) -> None:
    """On whatever list, those of others left out."""
    first, second = await subscribed_list(client, "Ada", "Grace"), await subscribed_list(client, "Ada")
    for list_id in (first, second):
        path = f"/automations/{await automate(client, list_id, HELLO, WAIT)}/trigger"
        await client.data("POST", path, 202, json={"email": "ada@example.com"})
    path = f"/automations/{await automate(client, first, BYE)}/trigger"
    await client.data("POST", path, 202, json={"email": "grace@example.com"})
    await run_due(runtime)
    people = await client.data("GET", "/subscribers", params={"search": "ada@"})
    held = await client.data("GET", f"/subscribers/{people[0]['id']}/export")
    assert [run["automation"] for run in held["runs"]] == ["Welcome", "Welcome"]
    assert {run["subscriber_id"] for run in held["runs"]} == {person["id"] for person in people}
    sent = {message["id"] for message in held["messages"]}
    for run in held["runs"]:
        assert taken(run) == [("hello", "sent"), ("rest", "waited")]
        assert run["steps"][0]["message_id"] in sent
    assert held["is_complete"]


async def test_the_open_runs_of_an_erased_person_end_at_once(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    """And not when their wait is over; those of others go on waiting."""
    automation_id = await automate(client, list_id, HELLO, WAIT, BYE)
    for name in ("ada", "grace"):
        path = f"/automations/{automation_id}/trigger"
        await client.data("POST", path, 202, json={"email": f"{name}@example.com"})
    await run_due(runtime)
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada@"})
    await client.data("POST", f"/subscribers/{ada['id']}/erase")
    await run_due(runtime)
    first, second = await runs(client, automation_id)
    assert (first["subscriber_id"], first["status"], first["reason"]) == (
        ada["id"],
        "left",
        "subscriber_gone",
    )
    assert (second["status"], second["step_id"]) == ("running", "bye")
    assert "ada" not in json.dumps(first).lower()
