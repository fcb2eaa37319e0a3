"""All that is held of a person, in one document: who else but that person is in it, and who is not."""

import json

from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.feedback.reports.samples import dsn
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list

FULL = dsn(status="4.2.2", diagnostic="smtp; 452 4.2.2 mailbox full")


async def test_everything_of_one_person_and_nothing_of_another(client: Client, runtime: Runtime) -> None:
    first, second = await subscribed_list(client, "Ada", "Grace"), await subscribed_list(client, "Ada")
    await send_campaign(client, runtime, first)
    single = {"to": "ada@example.com", "subject": "Your receipt", "html": "<p>Thanks</p>"}
    await client.data("POST", "/send", 202, json={"from": "hi@acme.example.com", **single})
    await run_due(runtime)
    (sent,) = await client.data("GET", "/sandbox/messages", params={"to": "ada@example.com", "per_page": 1})
    path = runtime.return_paths.of("x@example.com")(sent["message_id"]).sealed
    headers = {"Content-Type": "message/rfc822"}
    await client.post("/inbound/mail", content=FULL, headers=headers, params={"recipient": path})
    await run_due(runtime)
    await client.data("POST", "/unsubscribes", 201, json={"email": "Ada@example.com", "list_id": second})
    await run_due(runtime)

    (ada, _) = await client.data("GET", "/subscribers", params={"search": "ada"})
    held = await client.data("GET", f"/subscribers/{ada['id']}/export")
    assert (held["email"], held["is_complete"], held["soft_bounces"]) == ("ada@example.com", True, 1)
    assert {row["list_id"]: row["status"] for row in held["subscribers"]} == {
        first: "active",
        second: "unsubscribed",
    }
    assert [row["action"] for row in held["consents"]][-1] == "unsubscribed"
    assert [(row["reason"], row["level"]) for row in held["suppressions"]] == [("unsubscribe", "list")]
    assert [row["subject"] for row in held["messages"]] == ["Your receipt", "Fresh beans"]
    kinds = {row["type"] for row in held["events"]}
    assert {"message.bounced", "subscriber.created", "subscriber.unsubscribed"} <= kinds
    assert "grace" not in json.dumps(held).lower()

    # The one id leads to the same person as the other.
    (_, other) = await client.data("GET", "/subscribers", params={"search": "ada"})
    again = await client.data("GET", f"/subscribers/{other['id']}/export")
    assert again | {"exported_at": None} == held | {"exported_at": None}


async def test_an_erased_person_and_a_strangers_are_not_found(
    client: Client, runtime: Runtime, make_project: MakeProject, make_client: MakeClient
) -> None:
    list_id = await subscribed_list(client, "Ada")
    (ada,) = await client.data("GET", "/subscribers")
    stranger = await make_client(await make_project(name="Stranger"))
    await stranger.expect_error("GET", f"/subscribers/{ada['id']}/export", 404, "not_found")
    await client.expect_error("GET", "/subscribers/nobody/export", 404, "not_found")
    # The history still knows who was on a list that is gone.
    await client.delete(f"/lists/{list_id}")
    held = await client.data("GET", f"/subscribers/{ada['id']}/export")
    assert (held["subscribers"], len(held["consents"])) == ([], 1)
    await client.data("POST", f"/subscribers/{ada['id']}/erase", 200)
    await run_due(runtime)
    await client.expect_error("GET", f"/subscribers/{ada['id']}/export", 404, "not_found")


async def test_a_key_for_one_list_exports_nobody(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    project = await make_project(name="Restricted")
    whole = await make_client(project)
    await subscribed_list(whole, "Ada")
    (ada,) = await whole.data("GET", "/subscribers")
    narrow = await make_client(project, list_ids=(ids.private("lst", ada["list_id"]),))
    await narrow.expect_error("GET", f"/subscribers/{ada['id']}/export", 403, "forbidden")
