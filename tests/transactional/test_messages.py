"""`/messages`: what became of each mail, of campaigns and of calls."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from newsletter.accounts.project import Project
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list
from tests.transactional.conftest import delivered, message, send, send_scheduled

LATER = "2099-01-01T09:00:00+01:00"


async def listed(client: Client, **params: object) -> list[str]:
    """The addresses of all pages of two, in order."""
    found, cursor = [], None
    while True:
        paged = {**params, "per_page": 2} | ({"cursor": cursor} if cursor else {})
        answer = await client.get("/messages", params=paged)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += [each["to"] for each in body["data"]]
        cursor = body["meta"]["next_cursor"]
        if cursor is None:
            return found


async def test_messages_of_campaigns_and_calls_are_one_list(client: Client, runtime: Runtime) -> None:
    campaign = await send_campaign(client, runtime, await subscribed_list(client, "Ada", "Grace", "Linus"))
    await send(client, to=["ada@example.com", "bob@example.com"], tags={"type": "welcome"})
    await send(client, to="carol@example.com", tags=["receipt"], scheduled_at=LATER)
    everyone = await listed(client)
    assert everyone == [
        *("carol@example.com", "bob@example.com", "ada@example.com"),
        *("linus@example.com", "grace@example.com", "ada@example.com"),
    ]
    assert await listed(client, tag="type:welcome") == ["bob@example.com", "ada@example.com"]
    assert await listed(client, tag="nothing") == []
    assert await listed(client, email="ADA@example.com") == ["ada@example.com"] * 2
    assert await listed(client, campaign_id=campaign["id"]) == everyone[3:]
    assert await listed(client, campaign_id=campaign["id"], email="ada@example.com") == ["ada@example.com"]
    assert await listed(client, status="scheduled") == ["carol@example.com"]
    assert await listed(client, status="queued") == ["bob@example.com", "ada@example.com"]
    assert await listed(client, status="sent") == everyone[3:]
    for status in ("sending", "deferred", "delivered", "failed", "suppressed", "skipped", "unknown"):
        assert await listed(client, status=status) == []
    now = datetime.now(UTC)
    assert await listed(client, until=(now - timedelta(hours=1)).isoformat()) == []
    assert await listed(client, since=(now - timedelta(hours=1)).isoformat()) == everyone
    await run_due(runtime)
    assert await listed(client, status="sent") == everyone[1:]
    (one,) = (await client.get("/messages", params={"campaign_id": campaign["id"], "per_page": 1})).json()[
        "data"
    ]
    assert (one["campaign_id"], one["kind"], one["subject"]) == (campaign["id"], "campaign", "Fresh beans")
    found = await message(client, one["id"])
    assert [event["type"] for event in found["events"]] == ["message.queued", "message.accepted"]


async def test_a_message_has_the_names_that_the_description_of_the_api_gives_it(client: Client) -> None:
    sent = await send(client)
    described = (await client.get("http://news.test/api/openapi.json")).json()["components"]["schemas"]
    (summary,) = await client.data("GET", "/messages")
    assert summary["from"] == "hello@acme.example.com"
    for shown, name in ((summary, "MessageSummary"), (await message(client, sent["id"]), "MessageOut")):
        assert shown.keys() == described[name]["properties"].keys()


async def test_bad_filters_are_named(client: Client) -> None:
    for params in (
        {"cursor": "x"},
        {"campaign_id": "x"},
        {"email": "x"},
        {"per_page": 0},
        {"status": "x"},
        {"since": "x"},
        {"since": "2026-01-01T00:00:00"},
        {"tag": "\0"},
    ):
        error = await client.expect_error("GET", "/messages", 422, "validation_failed", params=params)
        assert error["errors"].keys() == params.keys()


async def test_nobody_sees_anothers_messages(
    client: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    sent = await send(client)
    stranger = await make_client(await make_project(name="Other"))
    for path in (f"/messages/{sent['id']}", f"/messages/{sent['id']}/explain", "/messages/msg_x"):
        await stranger.expect_error("GET", path, 404, "not_found")
    await stranger.expect_error("POST", f"/messages/{sent['id']}/cancel", 404, "not_found")
    assert (await stranger.get("/messages")).json()["data"] == []


async def test_a_refused_try_is_told_with_the_next(client: Client, runtime: Runtime) -> None:
    sent = await send(client, to="delay@sandbox.test")
    await run_due(runtime)
    found = await message(client, sent["id"])
    assert (found["status"], found["attempts"]) == ("deferred", 1)
    assert found["scheduled_at"] is not None
    (tried,) = found["history"]
    assert (tried["number"], tried["outcome"], tried["code"], tried["enhanced"]) == (
        1,
        "deferred",
        451,
        "4.2.1",
    )
    assert found["events"][-1]["type"] == "message.deferred"


async def test_what_comes_back_is_in_the_history(client: Client, runtime: Runtime) -> None:
    sent = await send(client, to="bounce@sandbox.test")
    await run_due(runtime)
    found = await message(client, sent["id"])
    assert found["status"] == "bounced"
    assert "message.bounced" in [event["type"] for event in found["events"]]
    assert (await send(client, to="bounce@sandbox.test"))["status"] == "suppressed"
    explained = await client.data("GET", f"/messages/{sent['id']}/explain")
    assert [(each["level"], each["reason"]) for each in explained["suppressions"]] == [
        ("project", "hard_bounce")
    ]


async def test_a_scheduled_mail_is_cancelled_for_all_its_readers(client: Client, runtime: Runtime) -> None:
    sent = await send(client, to="alice@example.com", cc="bob@example.com", scheduled_at=LATER)
    assert sent["status"] == "scheduled"
    found = await message(client, sent["id"])
    assert found["scheduled_at"] == "2099-01-01T08:00:00Z"
    assert (await client.data("GET", "/account/usage"))["mails"]["reserved"] == 2
    cancelled = await client.data("POST", f"/messages/{sent['id']}/cancel", 200)
    assert cancelled["status"] == "cancelled"
    assert (await client.data("GET", "/account/usage"))["mails"]["reserved"] == 0
    assert (await message(client, sent["messages"][1]["id"]))["status"] == "cancelled"
    assert await listed(client, status="cancelled") == ["bob@example.com", "alice@example.com"]
    await client.expect_error("POST", f"/messages/{sent['id']}/cancel", 409, "not_scheduled")
    assert await delivered(client, runtime, "alice@example.com") is None
    at_once = await send(client)
    await client.expect_error("POST", f"/messages/{at_once['id']}/cancel", 409, "not_scheduled")


async def test_cancelling_one_item_leaves_the_others(client: Client) -> None:
    items = [
        {"to": f"{name}@example.com", "subject": "Hi", "text": "Hi", "scheduled_at": LATER}
        for name in ("ada", "bob", "carol")
    ]
    bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    await client.data("POST", f"/messages/{bulk['results'][1]['id']}/cancel", 200)
    statuses = [(await message(client, each["id"]))["status"] for each in bulk["results"]]
    assert statuses == ["scheduled", "cancelled", "scheduled"]


async def test_explain_says_why(client: Client, runtime: Runtime) -> None:
    sent = await send(client, scheduled_at=LATER)
    found = await client.data("GET", f"/messages/{sent['id']}/explain")
    assert (found["status"], found["suppressions"], found["attempts"]) == ("scheduled", [], [])
    assert found["route"]["server_name"] == "the sandbox"
    assert found["quota"]["reserved"] == 1
    await client.data("POST", "/suppressions", 201, json={"email": "alice@example.com", "reason": "manual"})
    found = await client.data("GET", f"/messages/{sent['id']}/explain")
    assert "suppressed" in found["answer"]


async def test_an_erased_person_is_gone_from_single_mails(client: Client, runtime: Runtime) -> None:
    await subscribed_list(client, "Alice")
    (person,) = (await client.get("/subscribers")).json()["data"]
    sent = await send(
        client,
        to="Alice Doe <alice@example.com>",
        cc="bob@example.com",
        subject="For {{ name }}",
        html="<p>{{ name }}</p>",
        variables={"name": "Alice Doe"},
    )
    alone = await send(client, subject="Secret for Alice")
    await run_due(runtime)
    await client.data("POST", f"/subscribers/{person['id']}/erase", 200)
    await run_due(runtime)
    for message_id in (sent["id"], alone["id"]):
        found = await message(client, message_id)
        assert found["to"] is None
        assert "Alice" not in str(found)
    async with runtime.db.read() as session:
        for table in ("mailing_contents", "message_parts", "messages"):
            rows = (await session.execute(text(f"SELECT * FROM {table}"))).all()
            assert "alice" not in str(rows).lower(), table


async def test_who_is_erased_takes_nothing_from_the_mail_of_others(client: Client, runtime: Runtime) -> None:
    await subscribed_list(client, "Alice")
    (person,) = (await client.get("/subscribers")).json()["data"]
    await send(
        client,
        to="alice@example.com",
        cc="bob@example.com",
        html="<p>Order {{ number }}</p>",
        variables={"number": "4711"},
        scheduled_at=LATER,
    )
    await client.data("POST", f"/subscribers/{person['id']}/erase", 200)
    await run_due(runtime)
    await send_scheduled(runtime)
    assert await delivered(client, runtime, "alice@example.com") is None
    mail = await delivered(client, runtime, "bob@example.com")
    assert "Order 4711" in mail.get_body(("html",)).get_content()


async def test_a_key_needs_the_scope_and_no_lists(
    client: Client, make_client: MakeClient, project: Project
) -> None:
    sent = await send(client)
    sender = await make_client(project, scopes=("send",))
    await sender.expect_error("GET", f"/messages/{sent['id']}", 403, "forbidden")
    reader = await make_client(project, scopes=("messages:read",))
    await reader.expect_error(
        "POST", "/send", 403, "forbidden", json={"to": "a@example.com", "subject": "x", "text": "x"}
    )
    assert (await message(reader, sent["id"]))["id"] == sent["id"]


async def test_an_id_with_a_number_that_no_message_has_names_nothing(client: Client) -> None:
    # PostgreSQL's numbers end before those of an id do.
    last = "msg_" + "0" * 25 + "3zzzzzz"
    for path in (f"/messages/{last}", f"/messages/{last}/explain"):
        assert (await client.get(path)).status_code == 404
    assert (await client.post(f"/messages/{last}/cancel")).status_code == 404
    answer = await client.get("/messages", params={"cursor": last})
    assert (answer.status_code, [*answer.json()["error"]["errors"]]) == (422, ["cursor"])
