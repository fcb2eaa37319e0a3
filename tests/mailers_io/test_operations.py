"""Its operations in the order of the page."""

import json

from newsletter.accounts import keys
from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import send_campaign
from tests.mailers_io.conftest import SEND


async def test_post_send(client: Client, runtime: Runtime) -> None:
    sent = await client.data("POST", "/send", 202, json=SEND)
    assert (sent["id"][:4], sent["status"]) == ("msg_", "queued")
    await run_due(runtime)
    [mail] = await client.data("GET", "/sandbox/messages")
    assert (mail["to_email"], mail["subject"]) == ("alice@example.com", "Welcome to Acme")


async def test_idempotency_key(client: Client, runtime: Runtime) -> None:
    headers = {"Idempotency-Key": "5d6c9a4e-uuidgen"}
    first, again = [await client.post("/send", json=SEND, headers=headers) for _ in range(2)]
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    await run_due(runtime)
    assert len(await client.data("GET", "/sandbox/messages")) == 1


async def test_post_send_bulk(client: Client, runtime: Runtime) -> None:
    messages = [SEND | {"to": f"u{number}@example.com"} for number in range(3)] + [{"to": "nobody"}]
    done = await client.data("POST", "/send/bulk", 202, json={"messages": messages})
    assert len(done["results"]) == 4
    await run_due(runtime)
    assert len(await client.data("GET", "/sandbox/messages")) == 3
    many = {"messages": [SEND] * 1001}
    await client.expect_error("POST", "/send/bulk", 422, "validation_failed", json=many)


async def test_get_messages_id(client: Client, runtime: Runtime) -> None:
    sent = await client.data("POST", "/send", 202, json=SEND)
    await run_due(runtime)
    found = await client.data("GET", f"/messages/{sent['id']}")
    assert (found["status"], found["tags"]) == ("sent", ["onboarding"])
    assert found["events"][-1]["type"] == "message.accepted"


async def test_post_campaigns_and_get_campaigns(client: Client, list_id: str) -> None:
    body = {"list_id": list_id, "subject": "News", "html": "<p>Hello</p>"}
    made = await client.data("POST", "/campaigns", 201, json=body)
    await client.data("POST", "/campaigns", 201, json=body | {"scheduled_at": "2036-01-01T09:00:00Z"})
    listed = (await client.get("/campaigns", params={"status": "draft", "per_page": 1})).json()
    assert [row["id"] for row in listed["data"]] == [made["id"]]
    assert listed["meta"]["total"] == 1


async def test_post_campaigns_id_launch_and_get_campaigns_id_report(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    body = {"list_id": list_id, "subject": "News", "html": "<p>Hello</p>"}
    made = await client.data("POST", "/campaigns", 201, json=body)
    launched = await client.data("POST", f"/campaigns/{made['id']}/launch", json={})
    assert launched["status"] == "sending"
    await run_due(runtime)
    report = await client.data("GET", f"/campaigns/{made['id']}/report")
    assert (report["recipient_count"], report["sent"], report["pending"]) == (2, 2, 0)
    assert (await client.data("GET", f"/campaigns/{made['id']}"))["emails_sent"] == 2


async def test_post_automations_and_post_automations_id_trigger_and_get_automations_id_runs(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    """An event, time, or condition-based automation; one subscriber; runs and outcomes."""
    mail = {"send": {"subject": "Welcome", "html": "<p>Hello {{ first_name }}</p>"}}
    steps = [mail, {"wait": {"days": 1}}]
    starts = [
        {"event": {"name": "subscriber.created"}},
        {"time": {"at": "2036-01-01T09:00:00Z"}},
        {"condition": {"when": {"tag": "vip"}}},
    ]
    body = {"name": "Welcome", "list_id": list_id, "steps": steps}
    made = [await client.data("POST", "/automations", 201, json=body | {"start": start}) for start in starts]
    assert [each["start"] for each in made] == starts
    path = f"/automations/{made[0]['id']}"
    await client.data("POST", f"{path}/activate")
    run = await client.data("POST", f"{path}/trigger", 202, json={"email": "ada@example.com"})
    await run_due(runtime)
    [listed] = await client.data("GET", f"{path}/runs", params={"status": "running"})
    assert (listed["id"], listed["cause"]) == (run["id"], "trigger")
    shown = await client.data("GET", f"{path}/runs/{run['id']}")
    assert [step["outcome"] for step in shown["steps"]] == ["sent", "waited"]
    [mail_out] = await client.data("GET", "/sandbox/messages")
    assert (mail_out["to_email"], mail_out["subject"]) == ("ada@example.com", "Welcome")


async def test_get_templates_and_post_templates_and_post_templates_id_render(client: Client) -> None:
    assert await client.data("GET", "/templates", params={"is_system": True})
    slot = "<mj-section><mj-column><mj-text>{{ content }}</mj-text></mj-column></mj-section>"
    mjml = f"<mjml><mj-body>{slot}</mj-body></mjml>"
    made = await client.data("POST", "/templates", 201, json={"name": "Own", "mjml": mjml})
    body = {"html": "<p>Hello {{ first_name }}</p>"}
    shown = await client.data("POST", f"/templates/{made['id']}/render", json=body)
    assert "Hello" in shown["html"]


async def test_get_lists_and_post_lists_id_subscribers_and_delete_lists_id_subscribers_sid(
    client: Client, list_id: str
) -> None:
    """Lists and segments are two calls."""
    segment = {"list_id": list_id, "name": "Early", "conditions": {"tag": "early"}}
    made = await client.data("POST", "/segments", 201, json=segment)
    [listed] = await client.data("GET", "/lists")
    assert (listed["id"], listed["segment_count"]) == (list_id, 1)
    assert await client.data("GET", "/segments", params={"list_id": list_id}) == [made]
    path = f"/lists/{list_id}/subscribers"
    made = await client.data("POST", path, 201, json={"email": "new@example.com"})
    assert (await client.delete(f"{path}/{made['id']}")).status_code == 204
    found = await client.data("GET", f"/subscribers/{made['id']}")
    assert found["status"] == "unsubscribed"
    many = [{"email": f"u{number}@example.com"} for number in range(3)]
    await client.data("POST", "/subscribers/batch", json={"list_id": list_id, "subscribers": many})
    page = (await client.get("/subscribers", params={"list_id": list_id, "search": "u1@"})).json()
    assert [row["email"] for row in page["data"]] == ["u1@example.com"]


async def test_post_suppressions_and_get_suppressions(client: Client, runtime: Runtime, list_id: str) -> None:
    for reason in ("unsubscribe", "hard_bounce", "complaint"):
        body = {"email": f"{reason}@example.com", "reason": reason}
        await client.data("POST", "/suppressions", 201, json=body)
    listed = await client.data("GET", "/suppressions", params={"reason": "complaint"})
    assert [row["email"] for row in listed] == ["complaint@example.com"]
    sent = await client.data("POST", "/send", 202, json=SEND | {"to": "complaint@example.com"})
    assert sent["status"] == "suppressed"
    await run_due(runtime)
    assert await client.data("GET", "/sandbox/messages") == []
    # Of a domain and of a list they hold back what goes out from it, and to it.
    await client.data("PATCH", "/project", json={"from_email": SEND["from"]})
    for scoped in (
        {"level": "domain", "domain": "acme.example.com", "email": "dora@example.com"},
        {"level": "list", "list_id": list_id, "email": "ada@example.com"},
    ):
        await client.data("POST", "/suppressions", 201, json=scoped)
    sent = await client.data("POST", "/send", 202, json=SEND | {"to": "dora@example.com"})
    assert sent["status"] == "suppressed"
    await send_campaign(client, runtime, list_id)
    assert [mail["to_email"] for mail in await client.data("GET", "/sandbox/messages")] == [
        "grace@example.com"
    ]


async def test_get_audit_logs(client: Client) -> None:
    made = await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com/hook"})
    await client.data("POST", f"/webhooks/{made['id']}/rotate-secret", json={})
    call, act = await client.data("GET", "/audit-log", params={"subject": made["id"]})
    assert (act["action"], act["key_id"][:4]) == ("webhook.secret_rotated", "key_")
    assert (call["route"], call["key_id"]) == ("/api/v1/webhooks/{id}/rotate-secret", act["key_id"])
    lines = (await client.get("/audit-log.jsonl", params={"subject": made["id"]})).text.splitlines()
    assert [json.loads(line) for line in lines] == [act, call]
    head = await client.data("GET", "/audit-log/head")
    assert (head["seq"] > call["seq"], len(head["signature"])) == (True, 128)


async def test_audit_of_every_call(client: Client, project: Project) -> None:
    answer = await client.get("/lists")
    everything = {"account_id": ids.public("acc", project.account_id)}
    everything["project_id"] = ids.public("prj", project.id)
    [row] = await client.data("GET", "/audit-log", params={"method": "GET", **everything})
    assert row["request_id"] == answer.headers["X-Request-Id"]
    [same] = await client.data(
        "GET", "/audit-log", params={"key_id": row["key_id"], "route": "/api/v1/lists"}
    )
    assert same == row


async def test_get_analytics_events_and_get_analytics_summary(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    await send_campaign(client, runtime, list_id)
    await client.data("POST", "/send", 202, json=SEND | {"to": "bounce@sandbox.test"})
    await run_due(runtime)
    events = await client.data("GET", "/analytics/events", params={"type": "message.bounced"})
    assert [row["type"] for row in events] == ["message.bounced"]
    summary = await client.data("GET", "/analytics/summary")
    assert (summary["total"]["sent"], summary["total"]["bounced"]) == (3, 1)


async def test_get_webhooks(client: Client) -> None:
    made = await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com/hook"})
    rotated = await client.data("POST", f"/webhooks/{made['id']}/rotate-secret", json={})
    assert rotated["secret"] != made["secret"]
    [listed] = await client.data("GET", "/webhooks")
    assert (listed["id"], "secret" in listed) == (made["id"], False)


async def test_get_sending_servers_and_post_sending_domains_and_post_routing_rules(
    client: Client,
) -> None:
    body = {"name": "Own", "type": "smtp", "config": {"host": "mail.acme.example.com"}}
    server = await client.data("POST", "/sending-servers", 201, json=body)
    assert [row["id"] for row in await client.data("GET", "/sending-servers")] == [server["id"]]
    domain = await client.data("POST", "/sending-domains", 201, json={"domain": "acme.example.com"})
    assert domain["domain"] == "acme.example.com"
    rule = {"name": "All", "server_id": server["id"], "purpose": "transactional"}
    made = await client.data(
        "POST", "/routing/rules", 201, json={k: v for k, v in rule.items() if k != "name"}
    )
    assert made["purpose"] == "transactional"


async def test_scoped_keys(
    client: Client, project: Project, make_client: MakeClient, make_project: MakeProject
) -> None:
    acme = await make_client(project, scopes=("send",), from_domains=("acme.example.com",))
    await acme.data("POST", "/send", 202, json=SEND)
    other = SEND | {"from": "hello@other.example.com"}
    await acme.expect_error("POST", "/send", 403, "forbidden", json=other)
    await acme.expect_error("GET", "/messages", 403, "forbidden")
    reader = await make_client(await make_project(name="Other"), scopes=("messages:read",))
    await reader.expect_error("POST", "/send", 403, "forbidden", json=SEND)
    sent = await client.data("POST", "/send", 202, json=SEND)
    # What belongs to somebody else is not there.
    await reader.expect_error("GET", f"/messages/{sent['id']}", 404, "not_found")
    await client.expect_error("GET", f"/campaigns/{ids.public('cmp', ids.uuid7())}", 404, "not_found")


async def test_rotate_without_downtime(
    client: Client, project: Project, make_client: MakeClient, runtime: Runtime
) -> None:
    newer = await make_client(project)
    for each in (client, newer):
        await each.data("POST", "/send", 202, json=SEND)
    async with runtime.db.read() as session:
        older, _ = await keys.listed(session, project)
    async with runtime.db.unit_of_work() as session:
        assert await keys.revoke(session, older.id)
    await client.expect_error("POST", "/send", 401, "unauthenticated", json=SEND)
    await newer.data("POST", "/send", 202, json=SEND)
