"""A single mail's links and pixel: by the project's switches, or by the mail's own."""

import re
from html import unescape
from typing import Any

from newsletter.runtime import Runtime
from tests.client import Client
from tests.transactional.conftest import MAIL, delivered, send

HTML = '<p><a href="https://shop.example.org/order?id=7#pay">Pay</a></p>'
TAGGED = "https://shop.example.org/order?id=7&utm_source=shop&utm_medium=email#pay"
PROJECT = {"source": "shop", "medium": "email", "campaign": "{{campaign_name}}"}


def link_in(mail: Any) -> str:
    found = re.search(r'href="([^"]*)"', mail.get_body(("html",)).get_content())
    assert found is not None
    return unescape(found[1])


def has_pixel(mail: Any) -> bool:
    return 'width="1" height="1"' in mail.get_body(("html",)).get_content()


async def test_links_have_the_projects_parameters_and_a_campaign_has_no_name_here(
    client: Client, runtime: Runtime
) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    await send(client, html=HTML)
    mail = await delivered(client, runtime, "alice@example.com")
    assert link_in(mail) == TAGGED
    assert TAGGED in mail.get_body(("plain",)).get_content()


async def test_with_clicks_off_a_mail_has_its_plain_links_and_their_parameters(
    client: Client, runtime: Runtime
) -> None:
    project = {"utm": PROJECT, "track_opens": True, "track_clicks": True}
    await client.data("PATCH", "/project", json=project)
    await send(client, html=HTML, tracking={"opens": False, "clicks": False, "utm": {"medium": "receipt"}})
    mail = await delivered(client, runtime, "alice@example.com")
    assert (link_in(mail), has_pixel(mail)) == (TAGGED.replace("=email", "=receipt"), False)


async def test_with_clicks_on_a_mail_is_tracked_whatever_the_project_says(
    client: Client, runtime: Runtime
) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    await send(client, html=HTML, tracking={"opens": True, "clicks": True})
    mail = await delivered(client, runtime, "alice@example.com")
    assert has_pixel(mail)
    answer = await client.get(link_in(mail), headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["Location"]) == (302, TAGGED)


async def test_parameters_that_look_like_characters_arrive_as_they_were_written(
    client: Client, runtime: Runtime
) -> None:
    url = "https://shop.example.org/?id=1&region=x&param=2&copy=3&currency=4&lt=5"
    html = f"<p><a href={url}>Pay</a></p>"
    utm = {"source": "shop"}
    await send(client, html=html, tracking={"clicks": True})
    link = link_in(await delivered(client, runtime, "alice@example.com"))
    assert (await client.get(link, headers={"Authorization": ""})).headers["Location"] == url
    await send(client, html=html, tracking={"clicks": True, "utm": utm})
    link = link_in(await delivered(client, runtime, "alice@example.com"))
    assert (await client.get(link, headers={"Authorization": ""})).headers[
        "Location"
    ] == f"{url}&utm_source=shop"
    await send(client, html=html, tracking={"utm": utm})
    mail = await delivered(client, runtime, "alice@example.com")
    assert link_in(mail) == f"{url}&utm_source=shop"
    assert f"{url}&utm_source=shop" in "".join(mail.get_body(("plain",)).get_content().split())


async def test_items_of_a_bulk_have_their_own_though_they_say_the_same(
    client: Client, runtime: Runtime
) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    ways: dict[str, Any] = {
        "a@example.com": {},
        "b@example.com": {"utm": {"source": "own", "medium": None}},
        "c@example.com": {"utm": {"source": None, "medium": None}},
        "d@example.com": {"clicks": True},
    }
    messages = [MAIL | {"to": to, "html": HTML, "tracking": tracking} for to, tracking in ways.items()]
    bad = MAIL | {"tracking": {"utm": {"source": "{{email}}"}}}
    done = await client.data("POST", "/send/bulk", 202, json={"messages": [*messages, bad]})
    assert list(done["results"][4]["error"]["errors"]) == ["tracking.utm.source"]
    links = {to: link_in(await delivered(client, runtime, to)) for to in ways}
    assert links["a@example.com"] == TAGGED
    assert links["b@example.com"] == "https://shop.example.org/order?id=7&utm_source=own#pay"
    assert links["c@example.com"] == "https://shop.example.org/order?id=7#pay"
    assert "/c/" in links["d@example.com"]
