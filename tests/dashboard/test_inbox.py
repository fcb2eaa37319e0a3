"""The inbox page of a test project."""

import re

import httpx
import pytest

from newsletter.accounts.inbox import inbox_url
from newsletter.accounts.project import Project
from newsletter.dashboard import inbox
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.mailbox import mail_to, send_campaign, subscribed_list


@pytest.fixture
async def browser(make_client: MakeClient, project: Project) -> Client:
    """Somebody with the link and no key."""
    made = await make_client(project)
    del made.headers["Authorization"]
    return made


@pytest.fixture
async def url(client: Client, runtime: Runtime) -> str:
    """The inbox's link, as the API shows it, with mails to Ada and Grace inside."""
    list_id = await subscribed_list(client, "Ada", "Grace")
    body = '<p>Hello {{ first_name }}</p><img src="https://cdn.example.com/cup.png" alt="A cup">'
    await send_campaign(client, runtime, list_id, subject="Fresh <beans>", html=body)
    shown = await client.data("GET", "/project")
    return str(shown["inbox_url"])


async def test_the_inbox_lists_mails_and_leads_to_them(browser: Client, url: str) -> None:
    page = await browser.get(url)
    assert page.status_code == 200
    assert "2 mails" in page.text
    assert "Fresh &lt;beans&gt;" in page.text
    links = re.findall(r'href="([^"]*sbx_[^"]*)"', page.text)
    assert len(links) == 2
    mail = await browser.get(str(httpx.URL(url).join(links[0])))
    assert mail.status_code == 200
    assert "grace@example.com" in mail.text


async def test_every_link_of_a_mail_s_page_works(browser: Client, client: Client, url: str) -> None:
    mail = await mail_to(client, "ada@example.com")
    here = httpx.URL(f"{url}/{mail['id']}")
    page = await browser.get(here)
    links = re.findall(r'(?:href|src)="([^"]+)"', page.text.split("</style>")[1])
    assert len(links) == 7
    for link in links:
        answer = await browser.get(here.join(link))
        assert answer.status_code == 200, link
    assert "Hello Ada" in (await browser.get(here, params={"show": "text"})).text
    assert "List-Unsubscribe-Post" in (await browser.get(here, params={"show": "headers"})).text
    assert 'class="screen phone"' in (await browser.get(here, params={"show": "phone"})).text
    assert 'class="screen desktop"' in (await browser.get(here, params={"show": "nonsense"})).text


async def test_a_mail_s_html_is_boxed_in_and_its_images_show(
    browser: Client, client: Client, url: str
) -> None:
    mail = await mail_to(client, "ada@example.com")
    framed = await browser.get(f"{url}/{mail['id']}/html")
    policy = framed.headers["content-security-policy"].split("; ")
    assert policy[0] == "sandbox allow-popups allow-popups-to-escape-sandbox"
    assert "default-src 'none'" in policy
    assert "img-src https: http: data:" in policy
    assert "https://cdn.example.com/cup.png" in framed.text
    # Its links open beside the frame, in which most pages refuse to be shown.
    assert '<head><base target="_blank">' in framed.text
    # The page around it must not hold the mail's HTML itself.
    around = await browser.get(f"{url}/{mail['id']}")
    assert "cdn.example.com" not in around.text
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in around.text


async def test_the_mail_can_be_downloaded(browser: Client, client: Client, url: str) -> None:
    mail = await mail_to(client, "ada@example.com")
    raw = await browser.get(f"{url}/{mail['id']}/raw")
    assert raw.headers["content-type"] == "message/rfc822"
    assert raw.headers["content-disposition"] == f'attachment; filename="{mail["id"]}.eml"'
    assert len(raw.content) == mail["size"]


async def test_the_search_finds_one_person_s_mails(browser: Client, url: str) -> None:
    page = await browser.get(url, params={"to": "Ada@example.com"})
    assert "ada@example.com" in page.text
    assert "grace@example.com" not in page.text
    nobody = await browser.get(url, params={"to": '"><script>alert(1)</script>'})
    assert "No mails to" in nobody.text
    assert "<script" not in nobody.text


async def test_older_mails_are_a_link_away(
    browser: Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "PER_PAGE", 1)
    first = await browser.get(url)
    link = re.search(r'href="([^"]*cursor=[^"]*)"', first.text)
    assert link is not None
    second = await browser.get(httpx.URL(url).join(link.group(1)))
    assert ("grace@" in first.text, "ada@" in first.text) == (True, False)
    assert ("grace@" in second.text, "ada@" in second.text) == (False, True)
    assert "cursor=" not in second.text


async def test_a_wrong_link_shows_no_inbox(
    browser: Client, client: Client, runtime: Runtime, url: str, make_project: MakeProject
) -> None:
    mail = await mail_to(client, "ada@example.com")
    live = await make_project(is_test=False)
    other = inbox_url(runtime.signer, "http://news.test", (await make_project()).id)
    wrong = [
        url[:-2],
        inbox_url(runtime.signer, "http://news.test", live.id),
        f"{other}/{mail['id']}",
        f"{other}/{mail['id']}/html",
        f"{other}/{mail['id']}/raw",
        f"{url}/sbx_1",
        f"{url}?cursor=x",
        runtime.signer.sign("view", live.id.bytes),
    ]
    for link in wrong:
        answer = await browser.get(httpx.URL("http://news.test/inbox/").join(link))
        assert answer.status_code == 404, link
        assert answer.headers["content-type"].startswith("text/html")


async def test_an_empty_inbox_says_how_it_fills(browser: Client, runtime: Runtime, project: Project) -> None:
    page = await browser.get(inbox_url(runtime.signer, "http://news.test", project.id))
    assert "No mails yet" in page.text


async def test_times_are_those_of_the_project(browser: Client, client: Client, url: str) -> None:
    await client.data("PATCH", "/project", json={"time_zone": "Asia/Kolkata"})
    mail = await mail_to(client, "ada@example.com")
    assert "IST" in (await browser.get(f"{url}/{mail['id']}")).text


async def test_a_live_project_shows_no_inbox_link(make_project: MakeProject, make_client: MakeClient) -> None:
    live = await make_client(await make_project(is_test=False))
    assert (await live.data("GET", "/project"))["inbox_url"] is None
