"""The short ways of calls answer as the long ones do."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from newsletter.api.short import MOST_BYTES
from newsletter.campaigns.routes.campaigns import PlainCampaign
from newsletter.runtime import Runtime
from newsletter.transactional.routes import PlainMessage, PlainSend
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list
from tests.transactional.conftest import MAIL, send

HEADERS = {"x-request-id", "ratelimit-remaining", "ratelimit-reset", "content-length"}
Taken = list[int | None]
FULL = MAIL | {
    "to": ["Zo\u00eb \U0001f98a <alice@example.com>", "bob@example.com"],
    "cc": "carol@example.com",
    "bcc": ["dave@example.com"],
    "variables": {"name": 'r"e\\d', "count": 3, "is_new": True},
    "html": "<p>{{ name }} {{ count }} {{ is_new }}</p>",
    "tags": {"type": "welcome"},
    "headers": {"X-Ref": "7"},
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """The status of each call that was looked at by a short way; None where it went on."""
    taken: Taken = []

    def watch(way: Any) -> None:
        carry_out = way.__call__

        async def noted(self: Any, *call: Any) -> Any:
            answer = await carry_out(self, *call)
            taken.append(None if answer is None else answer[0])
            return answer

        monkeypatch.setattr(way, "__call__", noted)

    for way in (PlainSend, PlainMessage, PlainCampaign):
        watch(way)
    return taken


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body whose length is not said, which goes the long way."""
    yield body


async def _both(client: Client, method: str, path: str, body: bytes = b"", **headers: str) -> list[Any]:
    headers = {"Content-Type": "application/json", **headers} if body else headers
    contents: Iterator[Any] = iter([body or None, _in_pieces(body)])
    return [await client.request(method, path, content=each, headers=headers) for each in contents]


def _told(answer: Any) -> Any:
    body = answer.json()
    body.get("error", {}).pop("request_id", None)
    heard = {name: value for name, value in answer.headers.items() if name not in HEADERS}
    return answer.status_code, heard, set(answer.headers), body


def _without_ids(told: Any) -> Any:
    *rest, body = told
    for each in (body.get("data"), *body.get("data", {}).get("messages", ())):
        if each:
            each["id"] = each["id"][:4]
    return *rest, body


async def test_a_message_reads_the_same(client: Client, runtime: Runtime, short: Taken) -> None:
    sent = await send(client, **FULL)
    short.clear()
    for _ in range(2):  # While it waits, and when it was sent.
        for each in sent["messages"]:
            one, other = await _both(client, "GET", f"/messages/{each['id']}")
            assert _told(one) == _told(other)
            assert one.status_code == 200
        await run_due(runtime)
    assert short == [200] * 8


async def test_a_campaign_reads_the_same(client: Client, runtime: Runtime, short: Taken) -> None:
    list_id = await subscribed_list(client, "Ada", "Bob")
    draft = await client.data(
        "POST", "/campaigns", 201, json={"list_id": list_id, "subject": "Caf\u00e9", "html": "<p>x</p>"}
    )
    sent = await send_campaign(client, runtime, list_id)
    for campaign in (draft, sent):
        one, other = await _both(client, "GET", f"/campaigns/{campaign['id']}")
        assert _told(one) == _told(other)
    assert short == [200, 200]


async def test_what_cannot_be_read_is_said_alike(
    client: Client, make_client: MakeClient, make_project: MakeProject, short: Taken
) -> None:
    list_id = await subscribed_list(client)
    draft = await client.data(
        "POST", "/campaigns", 201, json={"list_id": list_id, "subject": "x", "html": "<p>x</p>"}
    )
    sent = await send(client)
    short.clear()
    stranger = await make_client(await make_project(name="Other"))
    blind = await make_client(await make_project(name="Blind"), scopes=("lists:read",))
    for path in ("/messages/msg_1", f"/messages/{sent['id']}", f"/campaigns/{draft['id']}", "/campaigns/%00"):
        for caller, status in ((stranger, 404), (blind, 403)):
            one, other = await _both(caller, "GET", path)
            assert _told(one) == _told(other)
            assert one.status_code == status
    assert short == []


async def test_a_head_is_not_answered_with_a_body(client: Client, short: Taken) -> None:
    sent = await send(client)
    short.clear()
    answer = await client.head(f"/messages/{sent['id']}")
    assert (answer.content, short) == (b"", [])


async def test_a_mail_is_taken_the_same(client: Client, short: Taken) -> None:
    for mail in (MAIL, FULL, MAIL | {"scheduled_at": "2090-01-01T00:00:00Z"}):
        one, other = await _both(client, "POST", "/send", json.dumps(mail).encode())
        assert _without_ids(_told(one)) == _without_ids(_told(other))
        assert one.status_code == 202
    assert short == [202] * 3


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"to": "\xff"}',
        b"[" * 5000,
        b'{"to": NaN}',
        b'{"to": "x", "subject": "", "unheard_of": 1, "from": 3, "tags": [1, ""]}',
        json.dumps(MAIL | {"html": "<p>{{ nope }}</p>"}).encode(),
        json.dumps(MAIL | {"to": []}).encode(),
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
async def test_what_is_wrong_with_a_mail_is_said_alike(client: Client, body: bytes) -> None:
    one, other = await _both(client, "POST", "/send", body)
    assert _told(one) == _told(other)
    assert one.status_code >= 400


async def test_a_key_is_kept_and_heeded_both_ways(client: Client, short: Taken) -> None:
    body = json.dumps(MAIL).encode()
    key = {"Idempotency-Key": "one"}
    one, other = await _both(client, "POST", "/send", body, **key)
    assert (one.status_code, other.status_code) == (202, 202)
    assert one.json() == other.json()
    assert other.headers["Idempotent-Replayed"] == "true"
    wrong = json.dumps(MAIL | {"to": "x"}).encode()
    refused = await _both(client, "POST", "/send", wrong, **{"Idempotency-Key": "two"})
    assert [answer.status_code for answer in refused] == [422, 422]
    again = await client.post("/send", json=MAIL, headers={"Idempotency-Key": "two"})
    assert "Idempotent-Replayed" not in again.headers
    assert short == [202, None, 202]


async def test_a_large_mail_goes_the_long_way(client: Client, short: Taken) -> None:
    body = json.dumps(MAIL | {"html": f"<p>{'x' * MOST_BYTES}</p>"}).encode()
    answer = await client.post("/send", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, short) == (202, [])
