"""Creating, reading, changing and deleting campaigns."""

import asyncio

import pytest

from newsletter.accounts.project import Project
from newsletter.kit import ids
from tests.campaigns.conftest import Make, make_list
from tests.client import Client
from tests.conftest import MakeClient, MakeProject


async def test_a_campaign_is_a_draft_by_default(draft: Make) -> None:
    campaign = await draft()
    assert campaign["status"] == "draft"
    assert campaign["name"] == "Hi"
    assert campaign["creation_method"] == "html"
    assert campaign["content"] == "<p>Hello {{ first_name }}</p>"
    assert (campaign["opens"], campaign["clicks"], campaign["recipient_count"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ai": {"prompt": "A topic to write about"}}, "html"),
        ({"html": None}, "html"),
        ({"html": "  "}, "html"),
        ({"html": "<script>run()</script><p>\u00a0&nbsp;<br>\u200b</p>"}, "html"),
        ({"html": None, "ai": {"prompt": "abcd"}}, "ai.prompt"),
        ({"html": None, "ai": {"prompt": " \t   abcd \n"}}, "ai.prompt"),
        ({"html": None, "ai": {"prompt": "x" * 2001}}, "ai.prompt"),
        ({"html": None, "ai": {"prompt": "a topic", "model": "x"}}, "ai.model"),
        ({"subject": "Hi\r\nBcc: everyone@example.com"}, "subject"),
        ({"subject": "Hi {{ nobody }}"}, "subject"),
        ({"html": "<p>{{ nobody }}</p>"}, "html"),
        ({"preheader": "x" * 151}, "preheader"),
        ({"from_name": "Acme\nBcc: x@example.com"}, "from_name"),
        ({"from_name": "{{ first_name }}"}, "from_name"),
        ({"from_email": "not an address"}, "from_email"),
        ({"from_email": "ü@example.com"}, "from_email"),
        ({"reply_to": "=?x?q?y?=@example.com"}, "reply_to"),
        ({"scheduled_at": "2020-01-01T00:00:00Z"}, "scheduled_at"),
        ({"scheduled_at": "2099-01-01T00:00:00"}, "scheduled_at"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"scheduled_at": 4070908800}, "scheduled_at"),
        ({"scheduled_at": "9999-12-31T23:59:59-23:59"}, "scheduled_at"),
        ({"list_id": "1"}, "list_id"),
        ({"list_id": ids.public("lst", ids.uuid7())}, "list_id"),
        ({"template_id": ids.public("tpl", ids.uuid7())}, "template_id"),
        ({"sent": True}, "sent"),
        ({"send": "perhaps"}, "send"),
        ({"send": 1}, "send"),
    ],
)
async def test_a_bad_field_is_named(
    client: Client, list_id: str, change: dict[str, object], field: str
) -> None:
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>Hello</p>"} | change
    error = await client.expect_error("POST", "/campaigns", 422, "validation_failed", json=body)
    assert list(error["errors"]) == [field]


async def test_html_above_the_limit_is_refused(client: Client, list_id: str) -> None:
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>" + "x" * 500_001 + "</p>"}
    error = await client.expect_error("POST", "/campaigns", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["html"]


async def test_what_could_run_in_a_mailbox_is_taken_out(draft: Make) -> None:
    campaign = await draft(
        html='<p onclick="x()">Hi</p><script>alert(1)</script><a href="javascript:x">y</a>'
    )
    assert "script" not in campaign["content"]
    assert "onclick" not in campaign["content"]


async def test_characters_that_no_mail_can_hold_are_taken_out_however_they_are_written(
    client: Client, draft: Make
) -> None:
    campaign = await draft(html='<p title="a&#1;b">Hi&#xfffe;&#xffff;&#1; there</p>')
    shown = await client.data("GET", f"/campaigns/{campaign['id']}/preview")
    assert "Hi there" in shown["html"]
    changed = await client.data("PATCH", f"/campaigns/{campaign['id']}", json={"html": "<p>Oh&#xfffe;!</p>"})
    assert "Oh!" in changed["content"]


async def test_campaigns_are_listed_newest_first_and_filtered(
    client: Client, draft: Make, list_id: str
) -> None:
    made = [(await draft(subject=f"No {number}"))["id"] for number in range(3)]
    page = (await client.request("GET", "/campaigns", params={"per_page": 2})).json()
    assert [row["id"] for row in page["data"]] == [made[2], made[1]]
    assert page["meta"] == {"current_page": 1, "per_page": 2, "last_page": 2, "total": 3}
    assert "content" not in page["data"][0]
    sent = await client.request("GET", "/campaigns", params={"status": "sent"})
    assert sent.json()["data"] == []
    of_list = await client.request("GET", "/campaigns", params={"list_id": list_id})
    assert of_list.json()["meta"]["total"] == 3


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"per_page": 101}, "per_page"),
        ({"per_page": 0}, "per_page"),
        ({"page": 0}, "page"),
        ({"page": "x"}, "page"),
        ({"status": "gone"}, "status"),
        ({"list_id": "x"}, "list_id"),
    ],
)
async def test_a_bad_filter_is_422(client: Client, params: dict[str, str], field: str) -> None:
    error = await client.expect_error("GET", "/campaigns", 422, "validation_failed", params=params)
    assert list(error["errors"]) == [field]


async def test_a_draft_is_changed_in_part(client: Client, draft: Make) -> None:
    campaign = await draft()
    changed = await client.data("PATCH", f"/campaigns/{campaign['id']}", json={"subject": "New"})
    assert (changed["subject"], changed["content"]) == ("New", campaign["content"])
    assert changed["version"] == campaign["version"] + 1


async def test_a_change_of_what_somebody_else_changed_is_refused(client: Client, draft: Make) -> None:
    campaign = await draft()
    path, headers = f"/campaigns/{campaign['id']}", {"If-Match": f'"{campaign["version"]}"'}
    await client.data("PATCH", path, json={"subject": "First"}, headers=headers)
    await client.expect_error(
        "PATCH", path, 409, "version_conflict", json={"subject": "Second"}, headers=headers
    )
    assert (await client.data("GET", path))["subject"] == "First"


@pytest.mark.parametrize("when", [{}, {"scheduled_at": "2099-01-01T00:00:00Z"}])
@pytest.mark.parametrize("verb", ["send", "launch"])
async def test_what_somebody_else_changed_is_neither_sent_nor_deleted(
    client: Client, draft: Make, verb: str, when: dict[str, str]
) -> None:
    campaign = await draft()
    path, seen = f"/campaigns/{campaign['id']}", {"If-Match": f'"{campaign["version"]}"'}
    changed = await client.data("PATCH", path, json={"html": "<p>Not approved</p>"})
    for method, where, body in (("POST", f"{path}/{verb}", when), ("DELETE", path, None)):
        await client.expect_error(method, where, 409, "version_conflict", headers=seen, json=body)
        bad = await client.expect_error(
            method, where, 422, "validation_failed", headers={"If-Match": "abc"}, json=body
        )
        assert list(bad["errors"]) == ["If-Match"]
    assert await client.data("GET", path) == changed
    seen = {"If-Match": f'"{changed["version"]}"'}
    await client.data("POST", f"{path}/{verb}", headers=seen, json=when)


async def test_a_change_that_does_not_compile_is_refused(client: Client, draft: Make) -> None:
    path = f"/campaigns/{(await draft())['id']}"
    error = await client.expect_error(
        "PATCH", path, 422, "validation_failed", json={"html": "<p>{{ nope }}</p>"}
    )
    assert list(error["errors"]) == ["html"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"html": None}, "html"),
        ({"html": " \n "}, "html"),
        ({"html": "<style>p { color: red }</style><div></div>"}, "html"),
        ({"html": "<p>{{ first_name | nope }}</p>"}, "html"),
        ({"name": None}, "name"),
        ({"list_id": None}, "list_id"),
        ({"template_id": None}, "template_id"),
        ({"template_id": ids.public("tpl", ids.uuid7())}, "template_id"),
        ({"from_name": "{% if x %}"}, "from_name"),
    ],
)
async def test_a_bad_change_is_named(
    client: Client, draft: Make, change: dict[str, object], field: str
) -> None:
    path = f"/campaigns/{(await draft())['id']}"
    error = await client.expect_error("PATCH", path, 422, "validation_failed", json=change)
    assert list(error["errors"]) == [field]


async def test_a_draft_moves_to_another_list_and_template(client: Client, draft: Make) -> None:
    column = "<mj-column><mj-text>{{ content }}</mj-text></mj-column>"
    mjml = f"<mjml><mj-body><mj-section>{column}</mj-section></mj-body></mjml>"
    template = await client.data("POST", "/templates", 201, json={"name": "Own", "mjml": mjml})
    change = {"list_id": await make_list(client), "template_id": template["id"]}
    path = f"/campaigns/{(await draft())['id']}"
    changed = await client.data("PATCH", path, json=change)
    assert {field: changed[field] for field in change} == change
    assert (await client.data("GET", path))["list_id"] == change["list_id"]


@pytest.mark.parametrize("html", ['<img src="https://example.com/a.png" alt="">', "{{ first_name }}", "."])
async def test_a_picture_or_a_name_is_enough(client: Client, draft: Make, html: str) -> None:
    path = f"/campaigns/{(await draft(html=html))['id']}"
    assert html.partition(" ")[0] in (await client.data("PATCH", path, json={"html": html}))["content"]


async def test_only_a_draft_is_deleted(client: Client, draft: Make) -> None:
    path = f"/campaigns/{(await draft())['id']}"
    assert (await client.request("DELETE", path)).status_code == 204
    await client.expect_error("GET", path, 404, "not_found")
    for changes in ({"send": True}, {"scheduled_at": "2099-01-01T00:00:00Z"}):
        other = f"/campaigns/{(await draft(**changes))['id']}"
        await client.expect_error("DELETE", other, 409, "cannot_delete")


async def test_another_tenants_campaign_does_not_exist(
    client: Client, draft: Make, make_project: MakeProject, make_client: MakeClient
) -> None:
    campaign = await draft()
    stranger = await make_client(await make_project())
    path = f"/campaigns/{campaign['id']}"
    for method, suffix, body in [
        ("GET", "", None),
        ("PATCH", "", {"subject": "x"}),
        ("DELETE", "", None),
        ("POST", "/send", {}),
        ("POST", "/launch", {}),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/cancel", None),
        ("POST", "/resend-unknown", None),
        ("GET", "/recipients", None),
        ("GET", "/recipients.csv", None),
        ("POST", "/test", {"emails": ["x@example.com"]}),
        ("GET", "/preview", None),
    ]:
        await stranger.expect_error(method, path + suffix, 404, "not_found", json=body)
    assert await client.data("GET", path) == campaign


async def test_a_foreign_list_in_a_body_is_422_on_that_field(
    list_id: str, make_project: MakeProject, make_client: MakeClient
) -> None:
    stranger = await make_client(await make_project())
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>"}
    error = await stranger.expect_error("POST", "/campaigns", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["list_id"]


async def test_a_key_restricted_to_a_list_keeps_out_of_others(
    client: Client, project: Project, draft: Make, make_client: MakeClient
) -> None:
    other = await make_list(client, "ken")
    restricted = await make_client(project, list_ids=(ids.private("lst", other),))
    campaign = await draft()
    await restricted.expect_error("GET", f"/campaigns/{campaign['id']}", 403, "forbidden")
    body = {"list_id": campaign["list_id"], "subject": "Hi", "html": "<p>x</p>"}
    await restricted.expect_error("POST", "/campaigns", 403, "forbidden", json=body)
    page = await restricted.request("GET", "/campaigns")
    assert page.json()["data"] == []


async def test_the_free_plan_holds_ten_campaigns_however_many_ask_at_once(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    project = await make_project(plan="free")
    clients = [await make_client(project) for _ in range(2)]
    list_id = await make_list(clients[0], "ada")
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>"}
    answers = await asyncio.gather(
        *(clients[number % 2].request("POST", "/campaigns", json=body) for number in range(16))
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [402] * 6
    refused = next(answer for answer in answers if answer.status_code == 402)
    assert refused.json()["error"]["code"] == "campaign_limit_reached"


async def test_a_deleted_draft_makes_room_for_another(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    client = await make_client(await make_project(plan="free"))
    list_id = await make_list(client)
    body = {"list_id": list_id, "subject": "Hi", "html": "<p>x</p>"}
    first = await client.data("POST", "/campaigns", 201, json=body)
    await client.request("DELETE", f"/campaigns/{first['id']}")
    usage = await client.data("GET", "/account/usage")
    assert usage["campaigns"]["used"] == 0


async def test_a_preview_is_merged_and_compliant(client: Client, draft: Make, list_id: str) -> None:
    campaign = await draft(subject="Hi {{ first_name | default: 'there' }}", preheader="For {{ first_name }}")
    found = await client.request("GET", "/subscribers", params={"search": "ada"})
    reader = found.json()["data"][0]["id"]
    preview = await client.data(
        "GET", f"/campaigns/{campaign['id']}/preview", params={"subscriber_id": reader}
    )
    assert (preview["subject"], preview["preheader"]) == ("Hi Ada", "For Ada")
    assert "Hello Ada" in preview["html"]
    assert "Hello Ada" in preview["text"]
    assert "Acme Ltd, 1 Main Street, Springfield" in preview["html"]
    assert "/u/preview" in preview["html"]
    assert "{{" not in preview["html"] + preview["text"]


async def test_a_preview_shows_no_reader_that_the_key_may_not_read(
    client: Client, make_client: MakeClient, project: Project, draft: Make, list_id: str
) -> None:
    path = f"/campaigns/{(await draft())['id']}/preview"
    other = await make_list(client, "stranger")
    [stranger] = await client.data("GET", "/subscribers", params={"list_id": other})
    [reader, *_] = await client.data("GET", "/subscribers", params={"list_id": list_id})
    restricted = await make_client(project, list_ids=(ids.private("lst", list_id),))
    blind = await make_client(project, scopes=("campaigns:read",))
    for key, person in ((restricted, stranger), (blind, reader)):
        await key.expect_error("GET", path, 403, "forbidden", params={"subscriber_id": person["id"]})
        await key.data("GET", path)
    await restricted.data("GET", path, params={"subscriber_id": reader["id"]})
