"""The audit log: who did what, shown to its project alone, never changed."""

import json
from datetime import timedelta
from typing import Any

import pytest

from newsletter.accounts import keys
from newsletter.accounts.audit import service as audit
from newsletter.kit import clock, ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject


async def rotated(client: Client) -> str:
    """An endpoint whose secret was rotated; its id."""
    made = await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com/hook"})
    await client.data("POST", f"/webhooks/{made['id']}/rotate-secret", json={"overlap_hours": 2})
    return str(made["id"])


async def entries(client: Client, **params: Any) -> list[dict[str, Any]]:
    """Acts but for the making of the client's own key."""
    found = await client.data("GET", "/audit-log", params=params)
    return [row for row in found if row["action"] not in ("key.created", "call")]


async def test_a_call_is_noted_with_its_key_and_address(client: Client) -> None:
    endpoint_id = await rotated(client)
    [row] = await entries(client)
    assert (row["action"], row["subject"]) == ("webhook.secret_rotated", endpoint_id)
    assert row["details"] == {"overlap_hours": 2}
    assert (row["id"][:4], row["key_id"][:4], row["ip"]) == ("aud_", "key_", "127.0.0.1")


async def test_an_operator_who_makes_and_revokes_a_key_is_noted(
    make_client: MakeClient, make_project: MakeProject, runtime: Runtime
) -> None:
    project = await make_project()
    client = await make_client(project)
    async with runtime.db.unit_of_work() as session:
        made = await keys.create(session, runtime.vault, project, name="worker", scopes=("send",))
    async with runtime.db.unit_of_work() as session:
        assert await keys.revoke(session, made.id)
    async with runtime.db.unit_of_work() as session:
        assert not await keys.revoke(session, made.id)
    subject = ids.public("key", made.id)
    newest = await client.data("GET", "/audit-log", params={"subject": subject})
    assert [(row["action"], row["key_id"], row["ip"]) for row in newest] == [
        ("key.revoked", None, None),
        ("key.created", None, None),
    ]
    assert newest[1]["details"] == {"name": "worker", "prefix": made.prefix, "scopes": ["send"]}
    assert made.secret not in json.dumps(newest)


async def test_nobody_else_sees_it(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    await rotated(client)
    other = await make_client(await make_project(name="Other"))
    [row] = await client.data("GET", "/audit-log", params={"action": "webhook.secret_rotated"})
    for params in ({}, {"subject": row["subject"]}, {"key_id": row["key_id"]}):
        assert await entries(other, **params) == []
    # Nor where the other's page is asked to go on.
    after = {"cursor": str(row["seq"] + 1)}
    assert await entries(other, **after) == []
    assert row["subject"] not in (await other.get("/audit-log.jsonl")).text


async def test_what_an_operator_did_to_the_installation_is_shown_to_no_project(
    client: Client, runtime: Runtime
) -> None:
    async with runtime.db.unit_of_work() as session:
        await audit.note(session, None, "global_suppressions.added", "global", details={"addresses": 1})
    assert await entries(client) == []


async def test_it_is_read_by_what_and_when_and_page_by_page(client: Client, runtime: Runtime) -> None:
    first, second = await rotated(client), await rotated(client)
    both = await entries(client)
    assert [row["subject"] for row in both] == [second, first]
    assert [row["subject"] for row in await entries(client, subject=first)] == [first]
    assert await entries(client, action="suppression.removed") == []
    assert await entries(client, key_id=both[0]["key_id"]) == both
    assert await entries(client, key_id=ids.public("key", ids.uuid7())) == []
    hour = timedelta(hours=1)
    assert await entries(client, since=(clock.now() - hour).isoformat()) == both
    assert await entries(client, until=(clock.now() - hour).isoformat()) == []

    shown: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    wanted: dict[str, Any] = {"action": "webhook.secret_rotated", "per_page": 1}
    for _ in range(2):
        page = (await client.get("/audit-log", params={**wanted, **cursor})).json()
        shown += page["data"]
        cursor = {"cursor": page["meta"]["next_cursor"]}
    assert [row["subject"] for row in shown] == [second, first]
    assert (await client.get("/audit-log", params={**wanted, **cursor})).json()["data"] == []


async def test_it_is_exported_as_json_lines_in_its_own_order(client: Client) -> None:
    for _ in range(2):
        await rotated(client)
    wanted = {"action": "webhook.secret_rotated"}
    answer = await client.get("/audit-log.jsonl", params=wanted)
    assert answer.headers["Content-Type"].startswith("application/jsonl")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == (await entries(client))[::-1]
    rest = await client.get("/audit-log.jsonl", params={**wanted, "after_seq": lines[0]["seq"]})
    assert [json.loads(line) for line in rest.text.splitlines()] == lines[1:]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"key_id": "usr_1"}, "key_id"),
        ({"cursor": "x"}, "cursor"),
        ({"per_page": 101}, "per_page"),
        ({"action": "a\0"}, "action"),
        ({"status": 1}, "status"),
        ({"account_id": "key_1"}, "account_id"),
        ({"project_id": "1"}, "project_id"),
        ({"cursor": "-1"}, "cursor"),
    ],
)
async def test_a_bad_filter_is_named(client: Client, params: dict[str, Any], field: str) -> None:
    error = await client.expect_error("GET", "/audit-log", 422, "validation_failed", params=params)
    assert list(error["errors"]) == [field]


async def test_a_key_needs_its_scope_and_all_lists(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    project = await make_project()
    for path in ("/audit-log", "/audit-log.jsonl", "/audit-log/head"):
        for limits in ({"scopes": ("account:read",)}, {"list_ids": (ids.uuid7(),)}):
            narrow = await make_client(project, **limits)
            await narrow.expect_error("GET", path, 403, "forbidden")
