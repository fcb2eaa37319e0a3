"""What a caller may say of an automation, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.automations import checking
from newsletter.kit import clock, ids
from newsletter.settings import AutomationSettings, Settings
from tests.automations.conftest import BYE, HELLO, WAIT, automate
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.mailbox import HTML, subscribed_list

TAG = {"tag": {"add": ["seen"]}}
OTHERS = "01k9x3v7m8e5tbn2c4r6p0qzaw"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    small = AutomationSettings(automations=2, steps=4, depth=2, wait_days=10, condition_parts=10)
    return settings.model_copy(update={"automations": small})


def nested(depth: int) -> dict[str, Any]:
    inner = [TAG] if depth == 1 else [nested(depth - 1)]
    return {"branch": {"when": {"tag": "a"}, "yes": inner}}


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"steps": []}, ["steps"]),
    ({"steps": [{}]}, ["steps.0"]),
    ({"steps": [TAG | WAIT]}, ["steps.0"]),
    ({"steps": [TAG, {"send": {"subject": "", "html": "x"}}]}, ["steps.1.send.subject"]),
    ({"steps": [{"send": {"subject": "S", "html": "{{ unknown }}"}}]}, ["steps.0.send.html"]),
    (
        {"steps": [{"send": {"subject": "S", "html": "x", "template_id": f"tpl_{OTHERS}"}}]},
        ["steps.0.send.template_id"],
    ),
    ({"steps": [{"wait": {}}]}, ["steps.0.wait"]),
    ({"steps": [{"wait": {"days": 1, "until": "2036-01-01T00:00:00Z"}}]}, ["steps.0.wait"]),
    ({"steps": [{"wait": {"days": 11}}]}, ["steps.0.wait"]),
    ({"steps": [{"wait": {"until": "2036-01-01T00:00:00Z"}}]}, ["steps.0.wait.until"]),
    ({"steps": [{"wait": {"hours": -1}}]}, ["steps.0.wait.hours"]),
    ({"steps": [{"tag": {}}]}, ["steps.0.tag"]),
    ({"steps": [{"id": "Upper", **TAG}]}, ["steps.0.id"]),
    ({"steps": [{"id": "a", **TAG}, {"id": "a", **TAG}]}, ["steps.1.id"]),
    ({"steps": [TAG] * 5}, ["steps"]),
    ({"steps": [nested(2)]}, ["steps.0.branch.yes.0.branch.yes.0"]),
    ({"steps": [{"branch": {"when": {"all": [{"any": [{"tag": "a"}]}]}}}]}, ["steps.0.branch.when"]),
    (
        {"steps": [{"branch": {"when": {"any": [{"tag": "a"}, {"tag": "ada@example.com"}]}}}]},
        ["steps.0.branch.when.any.1.tag"],
    ),
    (
        {"start": {"condition": {"when": {"field": {"name": "first_name", "equals": "ada@example.com"}}}}},
        ["start.condition.when.field.equals"],
    ),
    (
        {"steps": [{"branch": {"when": {"opened": {"step": "hello"}}}}, HELLO]},
        ["steps.0.branch.when.opened.step"],
    ),
    (
        {"steps": [{"branch": {"when": {"any": [{"clicked": {"campaign_id": f"cmp_{OTHERS}"}}]}}}]},
        ["steps.0.branch.when.any.0.clicked.campaign_id"],
    ),
    ({"steps": [{"branch": {"when": {"list_id": f"lst_{OTHERS}"}}}]}, ["steps.0.branch.when.list_id"]),
    ({"list_id": f"lst_{OTHERS}"}, ["list_id"]),
    ({"start": {}}, ["start"]),
    ({"start": {"event": {"name": "subscriber.unsubscribed"}}}, ["start.event.name"]),
    (
        {"start": {"event": {"name": "message.opened", "campaign_id": f"cmp_{OTHERS}"}}},
        ["start.event.campaign_id"],
    ),
    ({"start": {"event": {"name": "subscriber.created", "campaign_id": f"cmp_{OTHERS}"}}}, ["start.event"]),
    ({"start": {"condition": {"when": {"opened": {"step": "a"}}}}}, ["start.condition.when.opened.step"]),
    ({"start": {"condition": {"when": {"tag": "a"}}}, "reentry": "always"}, ["reentry"]),
    ({"start": {"condition": {"when": {"any": [{"tag": "a"}] * 10}}}}, ["start.condition.when"]),
    ({"start": {"time": {"at": 1_800_000_000}}}, ["start.time.at"]),
    ({"name": "", "reentry": "twice", "unknown": 1}, ["name", "reentry", "unknown"]),
]


@pytest.mark.parametrize("number", range(len(BAD)))
async def test_a_bad_field_is_named_where_it_stands(client: Client, list_id: str, number: int) -> None:
    change, fields = BAD[number]
    body = {"name": "Welcome", "list_id": list_id, "steps": [HELLO], **change}
    error = await client.expect_error("POST", "/automations", 422, "validation_failed", json=body)
    assert sorted(error["errors"]) == fields
    assert await client.data("GET", "/automations") == []


async def test_it_is_shown_as_it_was_written_with_ids_for_steps_that_had_none(
    client: Client, list_id: str
) -> None:
    branch = {"when": {"opened": {"step": "hello", "days": 3}}, "yes": [TAG], "no": []}
    start = {"event": {"name": "subscriber.created", "when": {"none": [{"tag": "staff"}]}}}
    body = {"name": "Welcome", "list_id": list_id, "start": start, "steps": [HELLO, {"branch": branch}, TAG]}
    made = await client.data("POST", "/automations", 201, json=body)
    assert (made["status"], made["reentry"], made["version"]) == ("draft", "once", 1)
    assert made["start"] == start
    named = {"id": "step-2", "tag": {"add": ["seen"], "remove": []}}
    assert made["steps"] == [
        HELLO,
        {"id": "step-1", "branch": branch | {"yes": [named]}},
        {"id": "step-3", "tag": {"add": ["seen"], "remove": []}},
    ]
    assert await client.data("GET", f"/automations/{made['id']}") == made
    changed = await client.data(
        "PATCH", f"/automations/{made['id']}", json={"name": "Hi", "steps": made["steps"]}
    )
    assert (changed["name"], changed["steps"], changed["version"]) == ("Hi", made["steps"], 2)


async def test_an_update_is_checked_as_a_whole(client: Client, list_id: str) -> None:
    draft = await automate(client, list_id, HELLO, is_active=False)
    path = f"/automations/{draft}"
    for body, field in (
        ({"steps": [{"branch": {"when": {"opened": {"step": "bye"}}}}]}, "steps.0.branch.when.opened.step"),
        ({"list_id": None}, "list_id"),
        ({"name": None}, "name"),
        ({"reentry": "always", "start": {"time": {"at": "2036-01-01T00:00:00Z"}}}, "reentry"),
    ):
        error = await client.expect_error("PATCH", path, 422, "validation_failed", json=body)
        assert list(error["errors"]) == [field]
    start = {"time": {"at": "2036-01-01T00:00:00Z"}}
    assert (await client.data("PATCH", path, json={"start": start}))["start"] == start
    assert (await client.data("PATCH", path, json={"start": None}))["start"] is None


async def test_two_changes_that_do_not_fit_are_not_both_made(
    client: Client, list_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/automations/{await automate(client, list_id, HELLO, is_active=False)}"
    check, by_time = checking.check, {"start": {"time": {"at": "2036-01-01T00:00:00Z"}}}

    async def check_while_another_changes_it(*what: Any, **of_it: Any) -> None:
        monkeypatch.setattr(checking, "check", check)
        await check(*what, **of_it)
        await client.data("PATCH", path, json={"reentry": "always"})

    monkeypatch.setattr(checking, "check", check_while_another_changes_it)
    await client.expect_error("PATCH", path, 409, "automation_changed", json=by_time)
    await client.expect_error("PATCH", path, 422, "validation_failed", json=by_time)


async def test_while_it_is_active_only_its_name_may_change(client: Client, list_id: str) -> None:
    automation_id = await automate(client, list_id, HELLO)
    path = f"/automations/{automation_id}"
    assert (await client.data("PATCH", path, json={"name": "Hi"}))["name"] == "Hi"
    for body in ({"steps": [BYE]}, {"start": None}, {"reentry": "always"}, {"list_id": list_id}):
        await client.expect_error("PATCH", path, 409, "automation_active", json=body)
    again = await client.data("POST", f"{path}/activate")
    assert again["version"] == 3


async def test_a_draft_is_deleted_and_neither_paused_nor_triggered(client: Client, list_id: str) -> None:
    draft = await automate(client, list_id, HELLO, is_active=False)
    path = f"/automations/{draft}"
    await client.expect_error("POST", f"{path}/pause", 409, "automation_not_active")
    ada = {"email": "ada@example.com"}
    await client.expect_error("POST", f"{path}/trigger", 409, "automation_not_active", json=ada)
    assert (await client.delete(path)).status_code == 204
    await client.expect_error("GET", path, 404, "not_found")


async def test_a_time_that_is_past_starts_nobody(client: Client, list_id: str) -> None:
    at = (clock.now() - timedelta(hours=1)).isoformat()
    draft = await automate(client, list_id, HELLO, start={"time": {"at": at}}, is_active=False)
    await client.expect_error("POST", f"/automations/{draft}/activate", 409, "start_is_past")


async def test_a_project_has_so_many_automations(client: Client, list_id: str) -> None:
    first, _ = [await automate(client, list_id, HELLO) for _ in range(2)]
    body = {"name": "Third", "list_id": list_id, "steps": [HELLO]}
    await client.expect_error("POST", "/automations", 409, "automation_limit_reached", json=body)
    await client.delete(f"/automations/{first}")
    await client.data("POST", "/automations", 201, json=body)


async def test_a_key_reaches_the_automations_of_its_lists_and_senders(
    client: Client, make_client: MakeClient, project: Project, list_id: str
) -> None:
    mine = await automate(client, list_id, HELLO, is_active=False)
    other_list = await subscribed_list(client)
    bound = await make_client(project, list_ids=(ids.private("lst", other_list),))
    await bound.expect_error("GET", f"/automations/{mine}", 403, "forbidden")
    await bound.expect_error("POST", f"/automations/{mine}/activate", 403, "forbidden")
    assert await bound.data("GET", "/automations") == []
    body: dict[str, Any] = {"name": "Own", "list_id": list_id, "steps": [HELLO]}
    await bound.expect_error("POST", "/automations", 403, "forbidden", json=body)
    spying = {"branch": {"when": {"list_id": list_id}, "yes": [TAG]}}
    body = {"name": "Own", "list_id": other_list, "steps": [spying]}
    await bound.expect_error("POST", "/automations", 422, "validation_failed", json=body)
    from_elsewhere = await make_client(project, from_domains=("else.example.com",))
    body = {"name": "Own", "list_id": list_id, "steps": [HELLO]}
    await from_elsewhere.expect_error("POST", "/automations", 403, "forbidden", json=body)
    # Nor does it let mails go out from there that another key wrote.
    await from_elsewhere.expect_error("POST", f"/automations/{mine}/activate", 403, "forbidden")
    await client.data("POST", f"/automations/{mine}/activate")
    ada = {"email": "ada@example.com"}
    await from_elsewhere.expect_error("POST", f"/automations/{mine}/trigger", 403, "forbidden", json=ada)


async def test_a_key_learns_nothing_of_the_campaigns_of_other_lists(
    client: Client, make_client: MakeClient, project: Project, list_id: str
) -> None:
    """Who opened one would tell who is on its list."""
    other_list = await subscribed_list(client)
    bound = await make_client(project, list_ids=(ids.private("lst", other_list),))
    draft = {"name": "News", "subject": "News", "html": HTML}
    secret, own = [
        (await client.data("POST", "/campaigns", 201, json=draft | {"list_id": each}))["id"]
        for each in (list_id, other_list)
    ]

    def asking(campaign_id: str) -> dict[str, Any]:
        when = {"any": [{kind: {"campaign_id": campaign_id}} for kind in ("opened", "clicked")]}
        event = {"name": "message.opened", "campaign_id": campaign_id}
        steps = [{"branch": {"when": when, "yes": [TAG]}}]
        return {"name": "Spy", "list_id": other_list, "start": {"event": event}, "steps": steps}

    error = await bound.expect_error("POST", "/automations", 422, "validation_failed", json=asking(secret))
    assert error["errors"] == {
        place: ["is not a campaign of this project"]
        for place in (
            "start.event.campaign_id",
            "steps.0.branch.when.any.0.opened.campaign_id",
            "steps.0.branch.when.any.1.clicked.campaign_id",
        )
    }
    await bound.data("POST", "/automations", 201, json=asking(own))
    await client.data("POST", "/automations", 201, json=asking(secret))


async def test_each_call_asks_for_its_scope(
    client: Client, make_client: MakeClient, project: Project, list_id: str
) -> None:
    automation_id = await automate(client, list_id, HELLO, is_active=False)
    path = f"/automations/{automation_id}"
    reader = await make_client(project, scopes=("automations:read",))
    writer = await make_client(project, scopes=("automations:write",))
    await reader.data("GET", f"{path}/runs")
    await reader.expect_error("PATCH", path, 403, "forbidden", json={"name": "Other"})
    await writer.expect_error("GET", path, 403, "forbidden")
    await writer.expect_error("POST", f"{path}/activate", 403, "forbidden")
    await writer.expect_error("POST", f"{path}/trigger", 403, "forbidden", json={"email": "a@example.com"})


async def test_runs_come_by_pages_and_by_status(client: Client, list_id: str) -> None:
    automation_id = await automate(client, list_id, HELLO)
    path = f"/automations/{automation_id}"
    made = [
        (await client.data("POST", f"{path}/trigger", 202, json={"email": f"{name}@example.com"}))["id"]
        for name in ("ada", "grace")
    ]
    first = (await client.get(f"{path}/runs", params={"per_page": 1})).json()
    rest = (await client.get(f"{path}/runs", params={"cursor": first["meta"]["next_cursor"]})).json()
    assert [run["id"] for run in first["data"] + rest["data"]] == made[::-1]
    assert rest["meta"]["next_cursor"] is None
    assert await client.data("GET", f"{path}/runs", params={"status": "left"}) == []
    await client.expect_error("GET", f"{path}/runs/run_{OTHERS}", 404, "not_found")


async def test_a_live_project_needs_what_every_launch_needs(
    make_client: MakeClient, make_project: MakeProject
) -> None:
    live = await make_client(await make_project(is_test=False))
    list_id = await subscribed_list(live)
    hello = {"send": {"subject": "Hello", "html": HTML}}
    draft = await automate(live, list_id, hello, is_active=False)
    await live.expect_error("POST", f"/automations/{draft}/activate", 409, "sending_server_missing")


@pytest.mark.parametrize("levels", [20, 150, 3_000])
async def test_a_tree_without_end_is_refused(client: Client, list_id: str, levels: int) -> None:
    condition = '{"none": [' * levels + '{"tag": "a"}' + "]}" * levels
    steps = '{"branch": {"when": {"tag": "a"}, "yes": [' * levels + '{"tag": {"add": ["a"]}}' + "]}}" * levels
    start = f'{{"condition": {{"when": {condition}}}}}'
    for change in (f'"start": {start}, "steps": [{{"tag": {{"add": ["a"]}}}}]', f'"steps": [{steps}]'):
        body = f'{{"name": "Deep", "list_id": "{list_id}", {change}}}'
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/automations", content=body, headers=headers)
        assert answer.status_code in (400, 422), answer.text[:300]


async def test_what_somebody_else_changed_is_neither_changed_nor_deleted(
    client: Client, list_id: str
) -> None:
    path = f"/automations/{await automate(client, list_id, HELLO, is_active=False)}"
    seen = {"If-Match": f'"{(await client.data("GET", path))["version"]}"'}
    changed = await client.data("PATCH", path, json={"name": "Theirs"}, headers=seen)
    for changes in ({"name": "Mine"}, {"reentry": "always"}):
        await client.expect_error("PATCH", path, 409, "version_conflict", json=changes, headers=seen)
    await client.expect_error("DELETE", path, 409, "version_conflict", headers=seen)
    assert await client.data("GET", path) == changed
    seen = {"If-Match": f'"{changed["version"]}"'}
    assert (await client.delete(path, headers=seen)).status_code == 204
