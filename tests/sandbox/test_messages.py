"""``/sandbox/messages``: the mail of a test project."""

from email import message_from_bytes
from email.policy import default as modern

import pytest

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.mailbox import mail_to, send_campaign, subscribed_list


@pytest.fixture
async def filled(client: Client, runtime: Runtime) -> Client:
    """A client of a project whose inbox holds one mail each to Ada, Grace and Ken."""
    await send_campaign(client, runtime, await subscribed_list(client, "Ada", "Grace", "Ken"))
    return client


async def test_a_mail_is_shown_in_parts(filled: Client) -> None:
    mail = await mail_to(filled, "ada@example.com")
    assert mail["id"].startswith("sbx_")
    assert mail["message_id"].startswith("msg_")
    assert (mail["from_email"], mail["from_name"]) == ("news@acme.example.com", "Acme")
    assert (mail["to_email"], mail["subject"]) == ("ada@example.com", "Fresh beans")
    assert "Hello Ada" in mail["html"]
    assert "Hello Ada" in mail["text"]
    assert mail["list_unsubscribe"].startswith("http://news.test/u/")
    headers = {header["name"]: header["value"] for header in mail["headers"]}
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert headers["Subject"] == "Fresh beans"


async def test_the_raw_mail_is_what_the_parts_were_read_from(filled: Client) -> None:
    mail = await mail_to(filled, "ada@example.com")
    response = await filled.get(f"/sandbox/messages/{mail['id']}", params={"format": "raw"})
    assert response.headers["content-type"] == "message/rfc822"
    assert len(response.content) == mail["size"]
    parsed = message_from_bytes(response.content, policy=modern)
    assert parsed["Message-ID"].startswith(f"<{mail['message_id']}.")
    assert parsed["Message-ID"].endswith("@acme.example.com>")


async def test_the_address_is_found_in_any_case_and_only_as_a_whole(filled: Client) -> None:
    found = await filled.data("GET", "/sandbox/messages", params={"to": "ADA@example.com"})
    assert [mail["to_email"] for mail in found] == ["ada@example.com"]
    assert await filled.data("GET", "/sandbox/messages", params={"to": "example.com"}) == []


async def test_a_cursor_leads_through_all_mails_once_the_newest_first(filled: Client) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        params = {"per_page": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await filled.get("/sandbox/messages", params=params)).json()
        seen += [mail["id"] for mail in page["data"]]
        cursor = page["meta"]["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 3
    assert seen == sorted(set(seen), reverse=True)


async def test_bad_pages_are_named(filled: Client) -> None:
    error = await filled.expect_error(
        "GET", "/sandbox/messages", 422, "validation_failed", params={"per_page": 101}
    )
    assert set(error["errors"]) == {"per_page"}
    error = await filled.expect_error(
        "GET", "/sandbox/messages", 422, "validation_failed", params={"cursor": "nonsense"}
    )
    assert set(error["errors"]) == {"cursor"}


async def test_clearing_empties_this_inbox_alone(
    filled: Client, runtime: Runtime, make_project: MakeProject, make_client: MakeClient
) -> None:
    other = await make_client(await make_project())
    await send_campaign(other, runtime, await subscribed_list(other, "Ada"))
    response = await other.delete("/sandbox/messages")
    assert response.status_code == 204
    assert await other.data("GET", "/sandbox/messages") == []
    assert len(await filled.data("GET", "/sandbox/messages")) == 3


async def test_another_project_s_mail_is_not_found(
    filled: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    mail = await mail_to(filled, "ada@example.com")
    other = await make_client(await make_project())
    for unknown in (mail["id"], ids.public("sbx", ids.uuid7()), "sbx_1", "msg_x"):
        await other.expect_error("GET", f"/sandbox/messages/{unknown}", 404, "not_found")


async def test_a_live_project_has_no_sandbox(make_project: MakeProject, make_client: MakeClient) -> None:
    live = await make_client(await make_project(is_test=False))
    for method, path in (
        ("GET", "/sandbox/messages"),
        ("GET", "/sandbox/messages/sbx_1"),
        ("DELETE", "/sandbox/messages"),
    ):
        await live.expect_error(method, path, 409, "not_a_test_project")


async def test_reading_and_clearing_have_scopes_of_their_own(
    filled: Client, make_client: MakeClient, project: Project
) -> None:
    reads = await make_client(project, scopes=("sandbox:read",))
    assert len(await reads.data("GET", "/sandbox/messages")) == 3
    await reads.expect_error("DELETE", "/sandbox/messages", 403, "forbidden")
    clears = await make_client(project, scopes=("sandbox:write",))
    await clears.expect_error("GET", "/sandbox/messages", 403, "forbidden")
    assert (await clears.delete("/sandbox/messages")).status_code == 204
