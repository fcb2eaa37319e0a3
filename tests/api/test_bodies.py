"""Bodies that no handler should ever see."""

import gzip
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from litestar import Router
from pydantic import TypeAdapter

from newsletter.api import routers
from newsletter.api.errors import MAX_NAME, MAX_NAMED
from newsletter.api.openapi import operations
from newsletter.kit.wording import INSTANT, REAL_TIME
from tests.client import Client


@pytest.mark.parametrize(
    "body", [b"{", b"", b"nope", b'{"name": NaN}', b"\xff\xfe", b'{"name": "x"', b"[" * 2000]
)
async def test_what_is_no_json_is_malformed(client: Client, body: bytes) -> None:
    response = await client.request(
        "POST", "/lists", content=body, headers={"Content-Type": "application/json"}
    )
    expected = (422, "validation_failed") if body == b"" else (400, "malformed_json")
    assert (response.status_code, response.json()["error"]["code"]) == expected


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_another_media_type_is_415(client: Client, kind: str) -> None:
    await client.expect_error(
        "POST",
        "/lists",
        415,
        "unsupported_media_type",
        content=b'{"name": "x"}',
        headers={"Content-Type": kind},
    )


async def test_a_compressed_body_is_415(client: Client) -> None:
    await client.expect_error(
        "POST",
        "/lists",
        415,
        "unsupported_media_type",
        content=gzip.compress(b'{"name": "x"}'),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )


async def test_a_body_that_nobody_reads_may_be_anything(client: Client) -> None:
    headers = {"Content-Type": "text/plain"}
    assert (await client.request("GET", "/lists", content=b"x", headers=headers)).status_code == 200


async def test_a_missing_body_is_named_plainly(client: Client) -> None:
    error = await client.expect_error("POST", "/lists", 422, "validation_failed")
    assert error["errors"] == {"body": ["must be a JSON object"]}


@pytest.mark.parametrize("body", [[], "text", 1, None])
async def test_a_body_that_is_no_object_is_named_plainly(client: Client, body: object) -> None:
    error = await client.expect_error("POST", "/lists", 422, "validation_failed", json=body)
    assert error["errors"] == {"body": ["must be a JSON object"]}


async def test_a_body_above_the_limit_is_413(client: Client) -> None:
    await client.expect_error("POST", "/lists", 413, "payload_too_large", json={"name": "x" * 5_000_001})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        # The name of a dependency of ours, once: Litestar then takes the error for the server's.
        ({"custom_fields": "text"}, "custom_fields"),
        ({"custom_fields": []}, "custom_fields"),
        ({"custom_fields": {"Colour of choice": "red"}}, "custom_fields.Colour of choice"),
        ({"custom_fields": {"colour": ["red"]}}, "custom_fields.colour"),
        ({"first_name": "Ada\u2067"}, "first_name"),
        ({"consent": {"source": "form", "at": 1600000000}}, "consent.at"),
        ({"consent": {"source": "form", "at": "1600000000"}}, "consent.at"),
        ({"consent": {"source": "form", "at": "0001-01-01T00:00:00+23:59"}}, "consent.at"),
        ({"consent": {"source": "form", "at": "9999-12-31T23:59:59-23:59"}}, "consent.at"),
    ],
)
async def test_one_sentence_says_what_is_wrong_with_a_field(
    client: Client, change: dict[str, object], field: str
) -> None:
    made = await client.data("POST", "/lists", 201, json={"name": "Newsletter"})
    body = {"list_id": made["id"], "email": "ada@example.com"} | change
    error = await client.expect_error("POST", "/subscribers", 422, "validation_failed", json=body)
    assert list(error["errors"]) == [field]
    assert len(error["errors"][field]) == 1


@pytest.mark.parametrize("value", [1, 0, "true", "no", None])
async def test_only_true_and_false_are_switches(client: Client, value: object) -> None:
    body = {"url": "https://example.com/hook", "is_active": value}
    error = await client.expect_error("POST", "/webhooks", 422, "validation_failed", json=body)
    assert list(error["errors"]) == ["is_active"]


@pytest.mark.parametrize(
    ("method", "path", "body", "errors"),
    [
        ("POST", "/lists", {"name": " "}, {"name": ["must have at least 1 character"]}),
        ("POST", "/lists", {"name": "x" * 201}, {"name": ["must have at most 200 characters"]}),
        (
            "POST",
            "/lists",
            {"name": "x", "description": "x" * 2001},
            {"description": ["must have at most 2000 characters"]},
        ),
        ("PUT", "/brand-voice", {"do": ["x"] * 21}, {"do": ["must have at most 20 items"]}),
        (
            "POST",
            "/send",
            {
                "from": "news@example.com",
                "to": "ada@example.com",
                "subject": "Hi",
                "text": "Hello",
                "tags": [f"tag {number}" for number in range(21)],
            },
            {"tags": ["must have at most 20 items"]},
        ),
    ],
)
async def test_a_size_is_told_in_characters_or_items(
    client: Client, method: str, path: str, body: object, errors: object
) -> None:
    error = await client.expect_error(method, path, 422, "validation_failed", json=body)
    assert error["errors"] == errors


def measured(schema: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place, kind) of what Pydantic measures behind a validator of ours, and calls a value then."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "function-after" and "_length_validator" in str(schema["function"]):
            inside = schema
            while "schema" in inside:
                inside = inside["schema"]
            yield place, inside["type"]
        for name, part in schema.items():
            yield from measured(part, f"{place}.{name}")
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from measured(part, place)


def test_no_list_is_measured_behind_a_validator_whose_error_speaks_of_characters() -> None:
    router = Router("/api/v1", route_handlers=[*routers.V1, *routers.WITH_FILES])
    bodies = {each.body for each in operations(router.routes) if each.body is not None}
    found = {pair for body in bodies for pair in measured(TypeAdapter(body).core_schema, body.__name__)}
    assert len(found) > 20
    assert {pair for pair in found if pair[1] != "str"} == set()


@pytest.mark.parametrize(
    ("method", "path", "body", "errors"),
    [
        ("POST", "/lists", {}, {"name": ["is required"]}),
        ("POST", "/lists", {"name": 1}, {"name": ["must be a text"]}),
        ("POST", "/lists", {"name": "x", "nam": 1}, {"nam": ["is not a known field"]}),
        ("PUT", "/brand-voice", {"do": "x"}, {"do": ["must be a list"]}),
        ("PUT", "/brand-voice", {"preferred_words": []}, {"preferred_words": ["must be an object"]}),
        (
            "POST",
            "/sending-servers",
            {"name": "x", "type": "smtp", "config": {"host": "mail.example.com", "port": 0, "prot": 1}},
            {"config.port": ["must be at least 1"], "config.prot": ["is not a known field"]},
        ),
    ],
)
async def test_what_is_wrong_is_told_in_the_words_of_json(
    client: Client, method: str, path: str, body: object, errors: object
) -> None:
    error = await client.expect_error(method, path, 422, "validation_failed", json=body)
    assert error["errors"] == errors


async def test_the_answer_to_a_body_of_wrong_names_stays_short(client: Client) -> None:
    body = {"x" * 1_000_000: 1} | {f"k{number}": 1 for number in range(20_000)}
    error = await client.expect_error("POST", "/lists", 422, "validation_failed", json=body)
    assert len(error["errors"]) == MAX_NAMED
    assert max(map(len, error["errors"])) == MAX_NAME + 1
    assert error["message"] == "One or more fields are invalid. The first 100 of 20,002 are named."


@pytest.mark.parametrize("member", ["before", "after"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("yesterday", INSTANT),
        (1767225600, INSTANT),
        ("2026-01-01", INSTANT),
        ("2026-01-01T09:00:00", INSTANT),
        ("2026-02-30T09:00:00Z", REAL_TIME),
        ("2026-01-01T25:00:00Z", REAL_TIME),
        ("2026-01-01, nine", REAL_TIME),
    ],
)
async def test_a_moment_is_refused_with_what_to_write(
    client: Client, member: str, text: object, says: str
) -> None:
    made = await client.data("POST", "/lists", 201, json={"name": "Newsletter"})
    asked = {"list_id": made["id"], "conditions": {"created_at": {member: text}}}
    error = await client.expect_error("POST", "/segments/preview", 422, "validation_failed", json=asked)
    assert error["errors"] == {f"conditions.created_at.{member}": [says]}
    (example,) = re.findall(r"2026-\S+", says)
    asked["conditions"] = {"created_at": {member: example}}
    await client.data("POST", "/segments/preview", json=asked)
