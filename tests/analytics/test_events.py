"""The raw log: who may read it, by what it is narrowed, and what its files hold."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.analytics import history
from newsletter.delivery import announcing
from newsletter.delivery import queries as delivery
from newsletter.delivery.announcing import Happened
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.db import Database, JSONObject
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list


class Log:
    """Events about the mails of one campaign to Ada and Grace, and one of the project."""

    def __init__(self, client: Client, db: Database, project: Project, campaign: dict[str, Any]) -> None:
        self.client, self.db, self.project, self.campaign = client, db, project, campaign
        self.messages: dict[str, str] = {}

    async def happen(self, kind: EventType, name: str, **details: JSONObject) -> None:
        async with self.db.unit_of_work() as session:
            found = await delivery.by_public_id(session, self.messages[name])
            assert found is not None
            await announcing.announce(session, kind, [Happened(found.mailing_id, found.seq, details)])

    async def pages(self, per_page: int = 2, **asked: str | Sequence[str]) -> list[tuple[str, str | None]]:
        """All that match, page by page, by type and reader."""
        found, cursor = [], None
        while True:
            params = {**asked, "per_page": str(per_page), **({"cursor": cursor} if cursor else {})}
            answer = await self.client.request("GET", "/analytics/events", params=params)
            assert answer.status_code == 200, answer.text
            found += answer.json()["data"]
            cursor = answer.json()["meta"]["next_cursor"]
            if cursor is None:
                names = {message_id: name for name, message_id in self.messages.items()}
                return [
                    (each["type"], names.get(each["data"].get("message", {}).get("id"))) for each in found
                ]


OPENED, CLICKED, BOUNCED = "message.opened", "message.clicked", "message.bounced"
ALL = [(BOUNCED, "grace"), (CLICKED, "ada"), (OPENED, "grace"), (OPENED, "ada")]


@pytest.fixture
async def log(client: Client, runtime: Runtime, db: Database, project: Project) -> Log:
    list_id = await subscribed_list(client, "Ada", "Grace")
    made = Log(client, db, project, await send_campaign(client, runtime, list_id, html="<p>Hello</p>"))
    for row in await client.data("GET", f"/campaigns/{made.campaign['id']}/recipients"):
        made.messages[row["address"].partition("@")[0]] = row["id"]
    seen = {"by": "human", "reason": "no_sign_of_a_machine", "user_agent": "=cmd", "network": None}
    await made.happen(EventType.message_opened, "ada", open=seen)
    await made.happen(EventType.message_opened, "grace", open=seen)
    await made.happen(EventType.message_clicked, "ada", click=seen | {"url": "https://example.org/"})
    await made.happen(EventType.message_bounced, "grace", bounce={"kind": "hard", "reason": "@gone"})
    return made


async def test_events_are_narrowed_by_all_that_they_are_about(log: Log) -> None:
    assert await log.pages(campaign_id=log.campaign["id"]) == ALL
    assert await log.pages(type=[OPENED, BOUNCED]) == [ALL[0], ALL[2], ALL[3]]
    assert await log.pages(type=[OPENED], message_id=log.messages["ada"]) == [ALL[3]]
    assert await log.pages(message_id=log.messages["grace"]) == [ALL[0], ALL[2]]
    assert await log.pages(message_id="msg_x") == []
    assert await log.pages(email="ADA@example.com") == [ALL[1], ALL[3]]
    assert await log.pages(email="ada@example.com", message_id=log.messages["grace"]) == []
    assert await log.pages(email="nobody@example.com") == []
    assert await log.pages(campaign_id=log.campaign["id"], since="2100-01-01T00:00:00Z") == []
    assert await log.pages(campaign_id=log.campaign["id"], until="2100-01-01T00:00:00Z") == ALL
    assert (await log.pages())[: len(ALL)] == ALL
    assert ("campaign.sent", None) in await log.pages()


async def test_a_page_reads_only_so_much_of_the_log_and_the_next_goes_on(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOOK_AT", 2)
    first = await log.client.request("GET", "/analytics/events", params={"type": OPENED})

    assert first.json()["data"] == []
    assert first.json()["meta"]["next_cursor"] is not None
    assert await log.pages(type=[OPENED]) == [ALL[2], ALL[3]]


async def test_events_of_single_mails_are_found_by_their_tag(log: Log, runtime: Runtime) -> None:
    body = {
        "from": "news@acme.example.com",
        "to": ["ken@example.com"],
        "subject": "Your code",
        "text": "1234",
        "tags": ["login"],
    }
    sent = await log.client.data("POST", "/send", 202, json=body)
    await run_due(runtime)
    log.messages["ken"] = sent["id"]
    await log.happen(EventType.message_opened, "ken", open={"by": "human"})

    assert await log.pages(tag="login") == [(OPENED, "ken")]
    assert await log.pages(email="ken@example.com") == [(OPENED, "ken")]
    assert await log.pages(tag="signup") == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"campaign_id": ids.public("cmp", ids.uuid7())}, "campaign_id"),
        ({"campaign_id": "x"}, "campaign_id"),
        ({"type": "message.eaten"}, "type"),
        ({"email": "nobody"}, "email"),
        ({"tag": "a\0b"}, "tag"),
        ({"since": "2026-11-21T09:00:00"}, "since"),
        ({"cursor": "x"}, "cursor"),
        ({"per_page": "101"}, "per_page"),
    ],
)
async def test_what_cannot_be_looked_for_is_named(client: Client, asked: dict[str, str], field: str) -> None:
    error = await client.expect_error("GET", "/analytics/events", 422, "validation_failed", params=asked)
    assert list(error["errors"]) == [field]


async def test_the_files_hold_every_event_and_no_formula(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ROWS_PER_READ", 3)
    asked = {"campaign_id": log.campaign["id"]}
    as_csv = await log.client.request("GET", "/analytics/events.csv", params=asked)
    lines = await log.client.request("GET", "/analytics/events.jsonl", params=asked)

    rows = list(csv.DictReader(io.StringIO(as_csv.text, newline="")))
    assert [(row["type"], row["email"]) for row in rows] == [
        (kind, f"{name}@example.com") for kind, name in ALL
    ]
    assert (rows[0]["reason"], rows[1]["by"], rows[1]["url"]) == ("'@gone", "human", "https://example.org/")
    read = [json.loads(line) for line in lines.text.splitlines()]
    assert [each["id"] for each in read] == [row["id"] for row in rows]
    assert [json.loads(row["data"]) for row in rows] == [each["data"] for each in read]


async def test_a_plan_without_history_has_summaries_alone(
    make_client: MakeClient, make_project: MakeProject
) -> None:
    for plan, is_test, is_allowed in (
        ("starter", False, False),
        ("free", True, True),
        ("professional", False, True),
    ):
        client = await make_client(await make_project(is_test=is_test, plan=plan))
        for name in ("events", "events.csv", "events.jsonl"):
            if is_allowed:
                assert (await client.request("GET", f"/analytics/{name}")).status_code == 200
            else:
                await client.expect_error("GET", f"/analytics/{name}", 402, "event_history_not_available")
        assert (await client.request("GET", "/analytics/summary")).status_code == 200


async def test_nobody_reads_the_log_of_another_project(
    log: Log, make_client: MakeClient, make_project: MakeProject
) -> None:
    stranger = await make_client(await make_project())
    for asked in ({"message_id": log.messages["ada"]}, {"email": "ada@example.com"}, {}):
        assert await stranger.data("GET", "/analytics/events", params=asked) == []
    foreign = {"campaign_id": log.campaign["id"]}
    await stranger.expect_error("GET", "/analytics/events", 422, "validation_failed", params=foreign)


async def test_a_key_for_lists_reads_the_events_of_their_campaigns(
    log: Log, make_client: MakeClient, project: Project
) -> None:
    list_id = ids.private("lst", log.campaign["list_id"])
    theirs = await make_client(project, list_ids=(list_id,))
    other = await make_client(project, list_ids=(ids.uuid7(),))
    asked = {"campaign_id": log.campaign["id"]}

    assert len(await theirs.data("GET", "/analytics/events", params=asked)) == len(ALL)
    await theirs.expect_error("GET", "/analytics/events", 403, "forbidden")
    await theirs.expect_error("GET", "/analytics/summary", 403, "forbidden")
    await other.expect_error("GET", "/analytics/events", 403, "forbidden", params=asked)
