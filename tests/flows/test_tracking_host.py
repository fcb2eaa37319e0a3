"""A campaign whose links lead to a host of the project's own, and what is counted there."""

import re
from html import unescape
from typing import Any

import pytest

from newsletter.runtime import Runtime
from newsletter.settings import Settings
from tests.client import Client
from tests.dns_server import NameServer
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign, subscribed_list

OWN = "http://click.acme.example.com"
COPY = '<p>Hello, <a href="https://shop.example.org/beans">beans</a>.</p>'
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def settings(settings: Settings, name_server: NameServer) -> Settings:
    return settings.model_copy(update={"dns": name_server.settings})


@pytest.fixture
async def domain(client: Client, name_server: NameServer) -> dict[str, Any]:
    """The sender's, verified, with a tracking host that nobody has published yet."""
    switches = {"from_email": "news@acme.example.com", "track_opens": True, "track_clicks": True}
    await client.data("PATCH", "/project", json=switches)
    made = await client.data("POST", "/sending-domains", 201, json={"domain": "acme.example.com"})
    name_server.publish(made["records"])
    path = f"/sending-domains/{made['id']}"
    await client.data("POST", f"{path}/verify")
    named: dict[str, Any] = await client.data("PATCH", path, json={"tracking_host": "click.acme.example.com"})
    return named


def links(mail: dict[str, Any]) -> dict[str, str]:
    """The mail's own links, by what they are for."""
    found = [unescape(url) for url in re.findall(r'(?:href|src)="([^"]+)"', mail["html"])]
    purposes = {purpose: [url for url in found if f"/{purpose}/" in url] for purpose in ("c", "o", "u", "v")}
    return {purpose: urls[0] for purpose, urls in purposes.items() if urls}


async def test_links_lead_to_the_projects_host_once_it_is_verified_and_are_counted_there(
    client: Client, runtime: Runtime, name_server: NameServer, domain: dict[str, Any]
) -> None:
    list_id = await subscribed_list(client, "Ada")
    await send_campaign(client, runtime, list_id, html=COPY)
    before = links(await mail_to(client, "ada@example.com"))
    assert before["c"].startswith("http://news.test/c/")

    name_server.publish(domain["records"])
    await client.data("POST", f"/sending-domains/{domain['id']}/verify")
    campaign = await send_campaign(client, runtime, list_id, html=COPY)
    mail = await mail_to(client, "ada@example.com")
    after = links(mail)
    assert after["c"].startswith(f"{OWN}/c/")
    assert after["o"].startswith(f"{OWN}/o/")
    # They must work for as long as somebody keeps the mail, so they stay with the installation.
    assert after["u"].startswith("http://news.test/u/")
    assert mail["list_unsubscribe"].startswith("http://news.test/u/")

    reader = {"Authorization": "", "User-Agent": BROWSER}
    followed = await client.get(after["c"], headers=reader, follow_redirects=False)
    assert (followed.status_code, followed.headers["Location"]) == (302, "https://shop.example.org/beans")
    assert (await client.get(after["o"], headers=reader)).status_code == 200
    await runtime.sightings.flush()
    await run_due(runtime)
    read = await client.data("GET", f"/campaigns/{campaign['id']}")
    assert (read["opens"], read["clicks"]) == (1, 1)

    # Whoever has the whole name answered by the installation has these answered, too.
    there = after["u"].replace("http://news.test", OWN)
    one_click = {"List-Unsubscribe": "One-Click"}
    assert (await client.post(there, data=one_click, headers={"Authorization": ""})).status_code == 200


async def test_links_of_single_mails_lead_there_too(
    client: Client, runtime: Runtime, name_server: NameServer, domain: dict[str, Any]
) -> None:
    name_server.publish(domain["records"])
    await client.data("POST", f"/sending-domains/{domain['id']}/verify")
    mail = {"to": "ada@example.com", "subject": "Hi", "html": COPY}
    await client.data("POST", "/send", 202, json=mail)
    await run_due(runtime)
    assert links(await mail_to(client, "ada@example.com"))["c"].startswith(f"{OWN}/c/")
