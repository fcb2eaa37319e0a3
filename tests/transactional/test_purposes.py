"""Who may not be mailed, and what marketing has that a receipt has not."""

import re

from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeProject
from tests.jobs import run_due
from tests.mailbox import subscribed_list
from tests.transactional.conftest import delivered, message, send, send_scheduled

MARKETING = {"purpose": "marketing"}


async def test_a_suppressed_send_is_taken_and_says_so(client: Client, runtime: Runtime) -> None:
    for reason in ("hard_bounce", "complaint", "manual"):
        email = f"{reason}@example.com"
        await client.data("POST", "/suppressions", 201, json={"email": email, "reason": reason})
        sent = await send(client, to=email)
        assert sent["status"] == "suppressed"
        assert await delivered(client, runtime, email) is None
        found = await message(client, sent["id"])
        assert (found["status"], found["attempts"]) == ("suppressed", 0)
        assert reason in found["reason"]
        assert "message.suppressed" in [event["type"] for event in found["events"]]
    usage = await client.data("GET", "/account/usage")
    assert usage["mails"]["used"] == 0


async def test_one_suppressed_recipient_does_not_stop_the_others(client: Client, runtime: Runtime) -> None:
    await client.data("POST", "/suppressions", 201, json={"email": "bob@example.com", "reason": "manual"})
    sent = await send(client, to=["bob@example.com", "alice@example.com"])
    assert [each["status"] for each in sent["messages"]] == ["suppressed", "queued"]
    assert sent["status"] == "queued"
    assert await delivered(client, runtime, "alice@example.com") is not None
    assert await delivered(client, runtime, "bob@example.com") is None


async def test_an_unsubscribe_stops_marketing_and_no_receipt(client: Client, runtime: Runtime) -> None:
    await subscribed_list(client, "Alice")
    assert (await send(client, routing=MARKETING))["status"] == "queued"
    await client.request("DELETE", "/subscribers/alice@example.com")
    assert (await send(client, routing=MARKETING))["status"] == "suppressed"
    assert (await send(client))["status"] == "queued"
    await run_due(runtime)
    assert await delivered(client, runtime, "alice@example.com") is not None


async def test_who_is_still_on_a_list_gets_marketing(client: Client) -> None:
    first, _ = await subscribed_list(client, "Alice"), await subscribed_list(client, "Alice")
    await client.request("DELETE", f"/subscribers/alice@example.com?list_id={first}")
    assert (await send(client, routing=MARKETING))["status"] == "queued"


async def test_marketing_has_a_footer_whose_link_takes_the_person_off(
    client: Client, runtime: Runtime
) -> None:
    await subscribed_list(client, "Alice")
    await send(client, routing=MARKETING, html="<html><body><p>Sale!</p></body></html>")
    mail = await delivered(client, runtime, "alice@example.com")
    html = mail.get_body(("html",)).get_content()
    assert html.index("Sale!") < html.index("Unsubscribe") < html.index("</body>")
    assert "1 Main Street" in html
    assert "Unsubscribe" in mail.get_body(("plain",)).get_content()
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = mail["List-Unsubscribe"].strip("<>")
    assert "alice" not in (await client.get(url)).text.replace("a\u2022\u2022\u2022@", "")
    assert (await send(client, routing=MARKETING))["status"] == "queued"
    form = {"List-Unsubscribe": "One-Click"}
    assert (await client.post(url, data=form)).status_code == 200
    assert (await client.post(url, data=form)).status_code == 200
    assert (await send(client, routing=MARKETING))["status"] == "suppressed"
    assert (await send(client))["status"] == "queued"
    (person,) = (await client.get("/subscribers")).json()["data"]
    assert person["status"] == "unsubscribed"
    view = re.search(r"http://news\.test/v/[\w-]+", html)
    assert view is not None
    assert "Sale!" in (await client.get(view[0])).text


async def test_who_comes_back_gets_marketing_again(client: Client, runtime: Runtime) -> None:
    list_id = await subscribed_list(client, "Alice")
    await send(client, routing=MARKETING)
    mail = await delivered(client, runtime, "alice@example.com")
    await client.post(mail["List-Unsubscribe"].strip("<>"), data={"List-Unsubscribe": "One-Click"})
    body = {"list_id": list_id, "email": "alice@example.com"}
    await client.data("POST", "/subscribers", 200, json=body)
    assert (await send(client, routing=MARKETING))["status"] == "queued"


async def test_a_suppression_before_its_time_stops_a_scheduled_mail(client: Client, runtime: Runtime) -> None:
    sent = await send(client, scheduled_at="2099-01-01T00:00:00Z")
    await client.data("POST", "/suppressions", 201, json={"email": "alice@example.com", "reason": "manual"})
    await send_scheduled(runtime)
    assert (await message(client, sent["id"]))["status"] == "suppressed"
    assert await delivered(client, runtime, "alice@example.com") is None


async def test_who_leaves_the_last_list_before_its_time_gets_no_scheduled_marketing(
    client: Client, runtime: Runtime
) -> None:
    first = await subscribed_list(client, "Alice", "Bert")
    await subscribed_list(client, "Bert")
    marketing = {"routing": MARKETING, "scheduled_at": "2099-01-01T00:00:00Z"}
    alice = await send(client, to="alice@example.com", **marketing)
    bert = await send(client, to="bert@example.com", **marketing)
    receipt = await send(client, to="alice@example.com", scheduled_at="2099-01-01T00:00:00Z")
    for name in ("alice", "bert"):
        body = {"email": f"{name}@example.com", "list_id": first}
        await client.data("POST", "/unsubscribes", 201, json=body)
    await send_scheduled(runtime)
    outcomes = [(await message(client, each["id"]))["status"] for each in (alice, bert, receipt)]
    assert outcomes == ["suppressed", "sent", "sent"]


async def test_another_projects_suppressions_do_not_count(
    client: Client, make_project: MakeProject, runtime: Runtime
) -> None:
    await client.data("POST", "/suppressions", 201, json={"email": "alice@example.com", "reason": "manual"})
    assert (await send(client))["status"] == "suppressed"
