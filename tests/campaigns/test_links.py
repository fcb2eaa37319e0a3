"""A campaign's links: tracked or not, and with UTM parameters, by the project's wish or by its own."""

import re
from html import unescape
from typing import Any

import pytest

from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign, subscribed_list

HTML = '<p>Hello, <a href="https://shop.example.org/beans?page=2#top">beans</a>.</p>'
PROJECT = {"source": "roast", "medium": "email", "campaign": "{{ campaign_name }}"}
TAGGED = (
    "https://shop.example.org/beans?page=2&utm_source=roast&utm_medium=email&utm_campaign=Fresh%20beans#top"
)


@pytest.fixture
async def list_id(client: Client) -> str:
    return await subscribed_list(client, "Ada")


async def link_of(client: Client) -> str:
    """The address of the word "beans" in the newest mail."""
    mail = await mail_to(client, "ada@example.com")
    found = re.search(r'href="([^"]*)"[^>]*>beans<', mail["html"])
    assert found is not None
    return unescape(found[1])


async def followed(client: Client, link: str) -> str:
    answer = await client.get(link, headers={"Authorization": ""})
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"]


async def test_the_projects_parameters_are_on_every_link(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    await send_campaign(client, runtime, list_id, html=HTML)
    assert await link_of(client) == TAGGED
    mail = await mail_to(client, "ada@example.com")
    assert TAGGED in "".join(mail["text"].split())
    # Who wants to leave is not counted as somebody who came.
    assert "utm_" not in "".join(re.findall(r"https?://[^\s\"]*/[uv]/[^\s\"]*", mail["html"] + mail["text"]))


async def test_a_tracked_link_leads_to_the_address_with_them(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT, "track_clicks": True})
    await send_campaign(client, runtime, list_id, html=HTML)
    link = await link_of(client)
    assert "/c/" in link
    assert await followed(client, link) == TAGGED


async def test_a_campaign_changes_what_it_names_and_leaves_the_rest(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    own = {"medium": None, "term": "a b", "campaign": "{{list_name}}"}
    campaign = await send_campaign(client, runtime, list_id, html=HTML, utm=own)
    assert campaign["utm"] == own
    assert await link_of(client) == (
        "https://shop.example.org/beans?page=2"
        "&utm_source=roast&utm_campaign=The%20Roast%20Letter&utm_term=a%20b#top"
    )


@pytest.mark.parametrize("is_on", [True, False])
async def test_a_campaigns_switches_win_over_the_projects(
    client: Client, runtime: Runtime, list_id: str, is_on: bool
) -> None:
    others = {"track_opens": not is_on, "track_clicks": not is_on}
    await client.data("PATCH", "/project", json={"utm": PROJECT, **others})
    own = {"track_opens": is_on, "track_clicks": is_on}
    campaign = await send_campaign(client, runtime, list_id, html=HTML, **own)
    assert {name: campaign[name] for name in own} == own
    link, mail = await link_of(client), await mail_to(client, "ada@example.com")
    assert ('width="1" height="1"' in mail["html"]) is is_on
    assert (link != TAGGED) is is_on
    assert (await followed(client, link) if is_on else link) == TAGGED


async def test_a_draft_may_change_them_and_a_preview_shows_them(client: Client, list_id: str) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    body = {"list_id": list_id, "subject": "Hi", "html": HTML, "name": "Fresh beans", "track_opens": True}
    made = await client.data("POST", "/campaigns", 201, json=body)
    assert (made["track_opens"], made["track_clicks"], made["utm"]) == (True, None, {})
    path = f"/campaigns/{made['id']}"

    async def shown() -> str:
        preview = await client.data("GET", f"{path}/preview")
        return unescape(preview["html"])

    assert f'"{TAGGED}"' in await shown()
    changed = await client.data(
        "PATCH", path, json={"utm": dict.fromkeys(PROJECT), "track_opens": None, "track_clicks": False}
    )
    assert (changed["track_opens"], changed["track_clicks"]) == (None, False)
    assert '"https://shop.example.org/beans?page=2#top"' in await shown()
    assert (await client.data("PATCH", path, json={"utm": None}))["utm"] == {}
    assert f'"{TAGGED}"' in await shown()


async def test_a_test_send_has_them(client: Client, runtime: Runtime, list_id: str) -> None:
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    body = {"list_id": list_id, "subject": "Fresh beans", "html": HTML}
    made = await client.data("POST", "/campaigns", 201, json=body)
    await client.data("POST", f"/campaigns/{made['id']}/test", 202, json={"emails": ["ada@example.com"]})
    await run_due(runtime)
    assert await link_of(client) == TAGGED


async def test_the_projects_are_kept_member_by_member(client: Client) -> None:
    empty = dict.fromkeys(("source", "medium", "campaign", "term", "content"))
    assert (await client.data("GET", "/project"))["utm"] == empty
    await client.data("PATCH", "/project", json={"utm": PROJECT})
    changed = await client.data("PATCH", "/project", json={"utm": {"medium": None, "content": "top"}})
    assert changed["utm"] == {**empty, **PROJECT, "medium": None, "content": "top"}
    assert (await client.data("PATCH", "/project", json={"utm": None}))["utm"] == empty


@pytest.mark.parametrize(
    ("utm", "field"),
    [
        ({"source": ""}, "utm.source"),
        ({"source": "x" * 201}, "utm.source"),
        ({"medium": "a\nb"}, "utm.medium"),
        ({"campaign": "{{first_name}}"}, "utm.campaign"),
        ({"campaign": "{% if x %}"}, "utm.campaign"),
        ({"campaign": "{{campaign_name}}}}"}, "utm.campaign"),
        ({"source": 1}, "utm.source"),
        ({"id": "x"}, "utm.id"),
    ],
)
async def test_a_bad_parameter_is_named(
    client: Client, list_id: str, utm: dict[str, Any], field: str
) -> None:
    body = {"list_id": list_id, "subject": "Hi", "html": HTML, "utm": utm}
    for method, path in (("PATCH", "/project"), ("POST", "/campaigns")):
        sent = body if method == "POST" else {"utm": utm}
        error = await client.expect_error(method, path, 422, "validation_failed", json=sent)
        assert list(error["errors"]) == [field]
