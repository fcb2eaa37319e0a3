"""``/v/{token}``: a mail in the browser."""

import re

import pytest
from sqlalchemy import delete

from newsletter.delivery.models import Batch, Mailing, Message
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign, subscribed_list


@pytest.fixture
async def url(client: Client, runtime: Runtime) -> str:
    """The link in Ada's mail."""
    list_id = await subscribed_list(client, "Ada", "Grace")
    body = '<p>Hello {{ first_name }} <a href="{{ view_in_browser_url }}">in the browser</a></p>'
    await send_campaign(client, runtime, list_id, html=body)
    mail = await mail_to(client, "ada@example.com")
    link = re.search(r'http://news\.test/v/[^"]+', mail["html"])
    assert link is not None
    return link.group(0)


async def test_the_mail_is_shown_as_its_reader_got_it(client: Client, url: str) -> None:
    page = await client.get(url, headers={"Authorization": ""})
    mail = await mail_to(client, "ada@example.com")
    assert page.status_code == 200
    assert page.text.split() == mail["html"].split()


async def test_a_corrected_name_shows(client: Client, url: str) -> None:
    found = await client.data("GET", "/subscribers", params={"search": "ada"})
    await client.data("PATCH", f"/subscribers/{found[0]['id']}", json={"first_name": "Augusta"})
    assert "Hello Augusta" in (await client.get(url)).text


async def test_nothing_in_it_can_run(client: Client, url: str) -> None:
    response = await client.get(url)
    policy = response.headers["content-security-policy"].split("; ")
    assert policy[0].startswith("sandbox ")
    assert "allow-scripts" not in policy[0]
    assert "default-src 'none'" in policy
    assert "style-src 'unsafe-inline'" in policy


async def test_the_mail_of_an_erased_person_is_gone(client: Client, runtime: Runtime, url: str) -> None:
    found = await client.data("GET", "/subscribers", params={"search": "ada"})
    await client.data("POST", f"/subscribers/{found[0]['id']}/erase")
    # At once, and after the job that blanks the messages.
    for _ in range(2):
        response = await client.get(url)
        assert response.status_code == 410
        assert "This mail is gone" in response.text
        await run_due(runtime)


async def test_the_mail_of_a_mailing_that_is_gone_is_gone(client: Client, runtime: Runtime, url: str) -> None:
    async with runtime.db.unit_of_work() as session:
        for table in (Message, Batch, Mailing):
            await session.execute(delete(table))
    assert (await client.get(url)).status_code == 410


async def test_a_cut_link_and_the_link_of_a_preview_have_pages(client: Client, url: str) -> None:
    cut = await client.get(url[:-2])
    assert (cut.status_code, "This link does not work" in cut.text) == (404, True)
    preview = await client.get("http://news.test/v/preview")
    assert (preview.status_code, "This is a preview link" in preview.text) == (200, True)


async def test_a_test_mail_can_be_viewed(client: Client, runtime: Runtime) -> None:
    list_id = await subscribed_list(client)
    body = {"list_id": list_id, "subject": "Hi", "html": '<p><a href="{{ view_in_browser_url }}">see</a></p>'}
    draft = await client.data("POST", "/campaigns", 201, json=body)
    await client.data("POST", f"/campaigns/{draft['id']}/test", 202, json={"emails": ["me@example.com"]})
    await run_due(runtime)
    mail = await mail_to(client, "me@example.com")
    link = re.search(r'http://news\.test/v/[^"]+', mail["html"])
    assert link is not None
    assert (await client.get(link.group(0))).status_code == 200
