"""Templates and campaigns."""

from datetime import timedelta
from typing import Any

import pytest

from newsletter.kit import clock
from newsletter.kit.clock import rfc3339
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due

PROMPT = "Announce our new pricing tiers and free 14-day trial."
HTML = "<p>Hello {{first_name}}! Here are this week’s updates...</p>"


def tomorrow() -> str:
    return rfc3339(clock.now() + timedelta(days=1))


@pytest.fixture
async def people(client: Client, list_id: str) -> list[str]:
    names = ["Alice", "Bob", "Carol"]
    for name in names:
        body = {"email": f"{name.lower()}@example.com", "list_id": list_id, "first_name": name}
        await client.data("POST", "/subscribers", 201, json=body)
    return names


async def draft(client: Client, list_id: str, **fields: object) -> Any:
    body = {"list_id": list_id, "subject": "Friday Roundup", "html": HTML, **fields}
    return await client.data("POST", "/campaigns", 201, json=body)


async def test_list_templates(client: Client) -> None:
    rows = await client.data("GET", "/templates", params={"per_page": 100})
    by_name = {row["name"]: row for row in rows}
    minimal, announcement = by_name["Minimal Digest"], by_name["Company Announcement"]
    assert (minimal["category"], minimal["is_system"], minimal["is_default"]) == ("newsletter", True, True)
    assert (announcement["category"], announcement["is_default"]) == ("announcement", False)
    assert [row["name"] for row in rows if row["is_default"]] == ["Minimal Digest"]


async def test_list_campaigns(client: Client, list_id: str) -> None:
    other = await client.data("POST", "/lists", 201, json={"name": "Other"})
    first = await draft(client, list_id)
    second = await draft(client, other["id"], scheduled_at=tomorrow())

    answer = (await client.get("/campaigns")).json()
    assert {row["id"] for row in answer["data"]} == {first["id"], second["id"]}
    assert answer["meta"] == {"current_page": 1, "per_page": 20, "last_page": 1, "total": 2}
    for query, expected in (
        ({"status": "scheduled"}, second),
        ({"status": "draft"}, first),
        ({"list_id": list_id}, first),
    ):
        rows = await client.data("GET", "/campaigns", params=query)
        assert [row["id"] for row in rows] == [expected["id"]]
    await client.expect_error("GET", "/campaigns", 422, "validation_failed", params={"per_page": 101})


async def test_retrieve_a_campaign(client: Client, runtime: Runtime, list_id: str, people: list[str]) -> None:
    made = await draft(client, list_id, preheader="Plus a free 14-day trial — start anytime.", send=True)
    await run_due(runtime)

    campaign = await client.data("GET", f"/campaigns/{made['id']}")

    template = next(row for row in await client.data("GET", "/templates") if row["is_default"])
    expected = {
        "id": made["id"],
        "subject": "Friday Roundup",
        "preheader": "Plus a free 14-day trial — start anytime.",
        "status": "sent",
        "list_id": list_id,
        "template_id": template["id"],
        "creation_method": "html",
        "recipient_count": len(people),
        "emails_sent": len(people),
        "emails_failed": 0,
        "opens": 0,
        "clicks": 0,
        "scheduled_at": None,
    }
    assert {name: campaign[name] for name in expected} == expected
    assert campaign["content"].startswith("<p>Hello {{")
    assert campaign["created_at"] < campaign["sent_at"]
    await client.expect_error("GET", "/campaigns/cmp_00000000000000000000000000", 404, "not_found")


async def test_create_a_campaign_from_a_topic(
    client: Client, runtime: Runtime, list_id: str, people: list[str]
) -> None:
    made = await client.data(
        "POST", "/campaigns", 201, json={"list_id": list_id, "ai": {"prompt": PROMPT}, "send": True}
    )
    assert (made["creation_method"], made["status"]) == ("ai", "sending")
    assert made["subject"]
    assert 0 < len(made["preheader"]) <= 150
    assert made["name"] == made["subject"]

    await run_due(runtime)
    mails = await client.data("GET", "/sandbox/messages")
    assert {mail["to_email"] for mail in mails} == {f"{name.lower()}@example.com" for name in people}


async def test_create_a_campaign_from_a_topic_with_what_the_caller_gives(
    client: Client, list_id: str
) -> None:
    given = {"name": "Internal", "subject": "Prices", "preheader": "New tiers"}
    body = {"list_id": list_id, "ai": {"prompt": PROMPT}, **given}
    made = await client.data("POST", "/campaigns", 201, json=body)
    assert {name: made[name] for name in given} == given
    assert (made["status"], made["scheduled_at"]) == ("draft", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "html"),
        ({"ai": {"prompt": PROMPT}, "html": HTML}, "html"),
        ({"ai": {"prompt": "Hi"}}, "ai.prompt"),
        ({"ai": {"prompt": "x" * 2001}}, "ai.prompt"),
        ({"html": HTML, "preheader": "x" * 151}, "preheader"),
        ({"html": HTML, "scheduled_at": "2020-01-01T00:00:00Z"}, "scheduled_at"),
        ({"html": HTML, "scheduled_at": "2090-01-01T00:00:00"}, "scheduled_at"),
        ({"html": HTML, "template_id": 1}, "template_id"),
    ],
)
async def test_create_a_campaign_refuses_what_the_page_refuses(
    client: Client, list_id: str, body: dict[str, object], field: str
) -> None:
    error = await client.expect_error(
        "POST", "/campaigns", 422, "validation_failed", json={"list_id": list_id, "subject": "S", **body}
    )
    assert list(error["errors"]) == [field]
    assert (await client.data("GET", "/campaigns")) == []


async def test_create_a_campaign_from_raw_html_scheduled(client: Client, list_id: str) -> None:
    at = tomorrow()
    made = await draft(client, list_id, scheduled_at=at, send=True)
    assert (made["status"], made["creation_method"], made["scheduled_at"]) == ("scheduled", "html", at)


async def test_a_campaign_is_rendered_into_the_template_with_footer_and_tokens_per_recipient(
    client: Client, runtime: Runtime, list_id: str, people: list[str]
) -> None:
    await draft(client, list_id, send=True)
    await run_due(runtime)
    for mail in await client.data("GET", "/sandbox/messages"):
        opened = await client.data("GET", f"/sandbox/messages/{mail['id']}")
        name = mail["to_email"].split("@")[0].title()
        assert f"Hello {name}!" in opened["html"]
        assert "Unsubscribe" in opened["html"]
        assert opened["list_unsubscribe"] in opened["html"]
        assert "{{" not in opened["html"] + opened["text"]


@pytest.mark.parametrize("verb", ["send", "launch"])
async def test_send_a_campaign(
    client: Client, runtime: Runtime, list_id: str, people: list[str], verb: str
) -> None:
    made = await draft(client, list_id)
    sending = await client.data("POST", f"/campaigns/{made['id']}/{verb}")
    assert (sending["id"], sending["status"]) == (made["id"], "sending")
    await client.expect_error("POST", f"/campaigns/{made['id']}/{verb}", 409, "already_sent")
    await run_due(runtime)
    await client.expect_error("POST", f"/campaigns/{made['id']}/{verb}", 409, "already_sent")


async def test_send_a_campaign_at_a_time(client: Client, list_id: str) -> None:
    made, at = await draft(client, list_id), tomorrow()
    later = await client.data("POST", f"/campaigns/{made['id']}/send", json={"scheduled_at": at})
    assert (later["status"], later["scheduled_at"]) == ("scheduled", at)


async def test_delete_a_draft(client: Client, runtime: Runtime, list_id: str, people: list[str]) -> None:
    made = await draft(client, list_id)
    assert (await client.delete(f"/campaigns/{made['id']}")).status_code == 204
    await client.expect_error("GET", f"/campaigns/{made['id']}", 404, "not_found")

    sent = await draft(client, list_id, send=True)
    await client.expect_error("DELETE", f"/campaigns/{sent['id']}", 409, "cannot_delete")
    await run_due(runtime)
    await client.expect_error("DELETE", f"/campaigns/{sent['id']}", 409, "cannot_delete")
