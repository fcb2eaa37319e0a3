"""What a value of the query string must be, and what its refusal says."""

import pytest

from newsletter.delivery.statuses import MessageStatus
from tests.client import Client
from tests.conftest import MakeClient, MakeProject


@pytest.mark.parametrize("path", ["/messages", "/audit-log", "/analytics/events"])
@pytest.mark.parametrize("text", ["2026", "1767225600.5", "2026-01-01", "2026-01-01T00:00:00", "", "x"])
async def test_a_moment_without_its_date_or_zone_is_refused_by_its_form(
    client: Client, path: str, text: str
) -> None:
    error = await client.expect_error("GET", path, 422, "validation_failed", params={"since": text})
    form = "must be a date and time with zone, such as 2026-11-21T09:00:00Z (RFC 3339)"
    assert error["errors"] == {"since": [form]}


async def test_a_moment_that_no_calendar_has_is_refused(client: Client) -> None:
    for text in ("2026-02-30T00:00:00Z", "2026-01-01T24:30:00Z", "9999-12-31T23:59:59-01:00"):
        await client.expect_error("GET", "/messages", 422, "validation_failed", params={"until": text})
    for text in ("2026-01-01T00:00:00Z", "2026-01-01t00:00:00.123456789z", "2026-01-01T00:00:00+05:30"):
        await client.data("GET", "/messages", params={"until": text})


async def test_a_page_too_large_is_told_where_pages_end(client: Client) -> None:
    for page in (0, 10_000_001):
        error = await client.expect_error(
            "GET", "/subscribers", 422, "validation_failed", params={"page": page}
        )
        assert error["errors"] == {"page": ["must be between 1 and 10,000,000"]}


async def test_a_number_and_a_switch_are_told_in_plain_words(client: Client) -> None:
    for path, name, text in (
        ("/lists", "per_page", "must be a whole number"),
        ("/lists", "page", "must be a whole number"),
        ("/audit-log", "status", "must be a whole number"),
        ("/templates", "is_system", "must be true or false"),
        ("/suppressions.csv", "raw", "must be true or false"),
    ):
        for value in ("x", "", "1.5"):
            error = await client.expect_error("GET", path, 422, "validation_failed", params={name: value})
            assert error["errors"] == {name: [text]}, (path, name, value)


async def test_no_refusal_of_a_query_speaks_the_language_of_the_program(
    make_client: MakeClient, make_project: MakeProject
) -> None:
    client = await make_client(await make_project(plan="enterprise"))
    document = (await client.get("http://news.test/api/openapi.json")).json()
    told: list[str] = []
    for path, item in document["paths"].items():
        asked = [one["name"] for one in item.get("get", {}).get("parameters", ()) if one["in"] == "query"]
        for name in asked:
            answer = await client.get(f"http://news.test{path.replace('{', '').replace('}', '')}?{name}=%00x")
            told += answer.json()["error"]["errors"].get(name, []) if answer.status_code == 422 else []
    assert len(told) > 60
    assert [text for text in told if "`" in text or not text.startswith(("must ", "is not "))] == []


async def test_a_word_that_is_none_of_several_is_told_all_of_them(client: Client) -> None:
    async def said(path: str, **params: str) -> dict[str, list[str]]:
        error = await client.expect_error("GET", path, 422, "validation_failed", params=params)
        found: dict[str, list[str]] = error["errors"]
        return found

    levels = "must be 'global', 'domain', 'project' or 'list'"
    assert (await said("/suppressions", level="x"))["level"] == [levels]
    (text,) = (await said("/messages", status="x"))["status"]
    assert all(f"'{status.value}'" in text for status in MessageStatus)
    # Of what a handler depends on, inside of a list, and of a literal.
    (text,) = (await said("/analytics/events", type="x"))["type"]
    assert "'message.bounced'" in text
    assert (await said("/sandbox/messages/sbx_x", format="x"))["format"] == ["must be 'json' or 'raw'"]


async def test_a_tag_of_a_summary_has_no_nul(client: Client) -> None:
    for path in ("/analytics/summary", "/analytics/summary.csv", "/analytics/summary.jsonl"):
        error = await client.expect_error("GET", path, 422, "validation_failed", params={"tag": "a\0b"})
        assert error["errors"] == {"tag": ["must not contain the NUL character"]}
