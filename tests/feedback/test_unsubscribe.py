"""The unsubscribe link of a mail: what a reader, a scanner and a mailbox provider do with it."""

from typing import Any

import pytest

from newsletter.delivery.links import MessageRef
from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign, subscribed_list

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
BUTTON = {"confirm": "unsubscribe"}


class Reader:
    """Somebody who got a mail: no key, only its link."""

    def __init__(self, client: Client, list_id: str, url: str) -> None:
        self.client, self.list_id, self.url = client, list_id, url
        self.headers = {"Authorization": ""}

    async def ask(self, method: str, **options: Any) -> Any:
        return await self.client.request(method, self.url, headers=self.headers, **options)

    async def record(self) -> dict[str, Any]:
        found = await self.client.data("GET", "/subscribers", params={"search": "ada"})
        record: dict[str, Any] = found[0]
        return record


@pytest.fixture
async def reader(client: Client, runtime: Runtime) -> Reader:
    list_id = await subscribed_list(client, "Ada")
    await send_campaign(client, runtime, list_id)
    mail = await mail_to(client, "ada@example.com")
    return Reader(client, list_id, mail["list_unsubscribe"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_opening_the_link_never_unsubscribes(reader: Reader, method: str) -> None:
    response = await reader.ask(method)
    assert response.status_code in (200, 204)
    assert (await reader.record())["status"] == "active"


async def test_the_page_names_the_list_and_masks_the_address(reader: Reader) -> None:
    page = (await reader.ask("GET")).text
    assert "The Roast Letter" in page
    assert "Acme" in page
    assert "a•••@example.com" in page
    assert "ada@example.com" not in page
    assert '<form method="post">' in page


async def test_the_button_unsubscribes_and_its_consent_says_so(reader: Reader) -> None:
    response = await reader.ask("POST", data=BUTTON)
    assert response.status_code == 200
    assert "You are unsubscribed" in response.text
    record = await reader.record()
    assert record["status"] == "unsubscribed"
    consents = await reader.client.data("GET", f"/subscribers/{record['id']}/consents")
    assert (consents[0]["action"], consents[0]["source"]) == ("unsubscribed", "unsubscribe page")
    assert consents[0]["ip"] == "127.0.0.1"


@pytest.mark.parametrize(
    "form",
    [{"data": ONE_CLICK}, {"files": {"List-Unsubscribe": (None, "One-Click")}}],
    ids=["urlencoded", "multipart"],
)
async def test_a_mailbox_provider_unsubscribes_with_one_post(reader: Reader, form: dict[str, Any]) -> None:
    response = await reader.ask("POST", **form)
    assert response.status_code == 200
    assert "location" not in response.headers
    assert "set-cookie" not in response.headers
    record = await reader.record()
    assert record["status"] == "unsubscribed"
    consents = await reader.client.data("GET", f"/subscribers/{record['id']}/consents")
    assert consents[0]["source"] == "one-click"


async def test_unsubscribing_twice_changes_and_announces_nothing_more(
    reader: Reader, runtime: Runtime
) -> None:
    await reader.ask("POST", data=ONE_CLICK)
    record = await reader.record()
    again = await reader.ask("POST", data=BUTTON)
    assert again.status_code == 200
    assert "You are unsubscribed" in again.text
    assert await reader.record() == record
    consents = await reader.client.data("GET", f"/subscribers/{record['id']}/consents")
    assert [each["action"] for each in consents] == ["unsubscribed", "subscribed"]
    page = await reader.ask("GET")
    assert "You are unsubscribed" in page.text
    assert "<form" not in page.text


async def test_who_left_gets_no_further_campaign(reader: Reader, runtime: Runtime) -> None:
    await reader.ask("POST", data=ONE_CLICK)
    campaign = await send_campaign(reader.client, runtime, reader.list_id, subject="Second")
    assert campaign["recipient_count"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": {"List-Unsubscribe": "Yes"}},
        {"json": ONE_CLICK},
        {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    ],
    ids=["empty", "other value", "json", "broken multipart"],
)
async def test_any_other_post_is_refused_and_changes_nothing(reader: Reader, body: dict[str, Any]) -> None:
    response = await reader.client.post(reader.url, **body)
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("text/html")
    assert (await reader.record())["status"] == "active"


async def test_a_long_body_is_refused(reader: Reader) -> None:
    response = await reader.ask("POST", data={"confirm": "x" * 100_000})
    assert response.status_code == 413
    assert "<h1>" in response.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_cut_link_gets_a_page_that_helps(reader: Reader, method: str) -> None:
    response = await reader.client.request(method, reader.url[:-3], data=BUTTON if method == "POST" else None)
    assert response.status_code == 404
    assert "This link does not work" in response.text
    assert (await reader.record())["status"] == "active"


async def test_the_view_link_does_not_unsubscribe(reader: Reader) -> None:
    """Tokens are good for their purpose alone."""
    mail = await mail_to(reader.client, "ada@example.com")
    token = mail["html"].split("/v/")[1].split('"')[0]
    response = await reader.client.post(f"http://news.test/u/{token}", data=ONE_CLICK)
    assert response.status_code == 404


async def test_an_erased_person_is_told_that_nothing_is_left_to_do(reader: Reader, runtime: Runtime) -> None:
    record = await reader.record()
    await reader.client.data("POST", f"/subscribers/{record['id']}/erase")
    await run_due(runtime)
    for method, form in (("GET", None), ("POST", ONE_CLICK)):
        response = await reader.ask(method, data=form)
        assert response.status_code == 200
        assert "You are not subscribed" in response.text


async def test_the_link_outlives_its_mailing(reader: Reader, runtime: Runtime) -> None:
    record = await reader.record()
    ref = MessageRef(ids.uuid7(), 1, ids.private("sub", record["id"]))
    response = await reader.client.post(runtime.links.unsubscribe(ref), data=ONE_CLICK)
    assert response.status_code == 200
    assert (await reader.record())["status"] == "unsubscribed"


async def test_the_links_of_previews_and_test_mails_unsubscribe_nobody(
    reader: Reader, runtime: Runtime
) -> None:
    test_mail = runtime.links.unsubscribe(MessageRef(ids.uuid7(), 1, None))
    for url in ("http://news.test/u/preview", test_mail):
        for method, form in (("GET", None), ("POST", ONE_CLICK)):
            response = await reader.client.request(method, url, data=form)
            assert response.status_code == 200
            assert "This is a preview link" in response.text
    assert (await reader.record())["status"] == "active"


async def test_nothing_foreign_can_enter_the_page(reader: Reader) -> None:
    response = await reader.ask("GET")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert response.headers["x-robots-tag"] == "noindex, nofollow"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in response.headers


async def test_names_are_escaped(client: Client, runtime: Runtime) -> None:
    made = await client.data("POST", "/lists", 201, json={"name": "<b>Bold & co</b>"})
    body = {"list_id": made["id"], "email": "ada@example.com"}
    await client.data("POST", "/subscribers", 201, json=body)
    await send_campaign(client, runtime, made["id"])
    mail = await mail_to(client, "ada@example.com")
    page = (await client.get(mail["list_unsubscribe"])).text
    assert "&lt;b&gt;Bold &amp; co&lt;/b&gt;" in page
    assert "<b>Bold" not in page
