"""Brand voice over HTTP."""

import pytest

from tests.client import Client
from tests.conftest import MakeClient, MakeProject

CARD = {
    "about": "Acme makes lamps.\nSince 1962.",
    "audience": "People who read at night",
    "tone": "warm, brief",
    "do": ["Say where a lamp is made"],
    "dont": ["Shout"],
    "banned_words": ["cheap"],
    "preferred_words": {"users": "readers"},
    "samples": ["A small lamp changes an evening."],
    "sign_off": "Anna from Acme",
    "locale": "de-AT",
}


async def test_a_project_begins_with_an_empty_voice_of_version_zero(client: Client) -> None:
    voice = await client.data("GET", "/brand-voice")
    assert (voice["version"], voice["created_at"], voice["about"], voice["do"]) == (0, None, "", [])
    empty = await client.get("/brand-voice/versions")
    assert (empty.json()["data"], empty.json()["meta"]["total"]) == ([], 0)
    await client.expect_error("GET", "/brand-voice/versions/0", 404, "not_found")


async def test_each_change_is_a_new_version_and_the_old_ones_stay(client: Client) -> None:
    first = await client.data("PUT", "/brand-voice", json=CARD)
    assert {key: first[key] for key in CARD} == CARD
    assert first["version"] == 1
    second = await client.data("PUT", "/brand-voice", json={"tone": "dry"})
    assert (second["version"], second["tone"], second["about"]) == (2, "dry", "")
    assert await client.data("GET", "/brand-voice") == second
    assert await client.data("GET", "/brand-voice/versions/1") == first
    listed = await client.get("/brand-voice/versions", params={"per_page": 1})
    assert listed.json()["data"] == [second]
    assert listed.json()["meta"] == {"current_page": 1, "per_page": 1, "last_page": 2, "total": 2}


async def test_the_same_card_again_is_no_new_version(client: Client) -> None:
    first = await client.data("PUT", "/brand-voice", json=CARD)
    assert await client.data("PUT", "/brand-voice", json=CARD) == first


async def test_every_bad_field_of_a_card_is_named(client: Client) -> None:
    error = await client.expect_error(
        "PUT",
        "/brand-voice",
        422,
        "validation_failed",
        json={
            "about": "x" * 2001,
            "tone": "with\0null",
            "do": ["fine", "two\nlines"],
            "samples": ["bell\x07"],
            "banned_words": ["word"] * 101,
            "preferred_words": {"users": ""},
            "locale": "not a locale",
            "mood": "good",
        },
    )
    assert set(error["errors"]) == {
        "about",
        "tone",
        "do.1",
        "samples.0",
        "banned_words",
        "preferred_words.users",
        "locale",
        "mood",
    }


@pytest.mark.parametrize("version", ["2", "99999999999999999999", "-1", "one"])
async def test_a_version_that_never_was_is_not_found(client: Client, version: str) -> None:
    await client.data("PUT", "/brand-voice", json=CARD)
    await client.expect_error("GET", f"/brand-voice/versions/{version}", 404, "not_found")


async def test_pages_out_of_range_are_refused(client: Client) -> None:
    error = await client.expect_error(
        "GET", "/brand-voice/versions", 422, "validation_failed", params={"page": 0, "per_page": 101}
    )
    assert set(error["errors"]) == {"page", "per_page"}


async def test_the_voice_of_another_project_is_out_of_reach(
    client: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    await client.data("PUT", "/brand-voice", json=CARD)
    other = await make_client(await make_project())
    assert (await other.data("GET", "/brand-voice"))["version"] == 0
    await other.expect_error("GET", "/brand-voice/versions/1", 404, "not_found")


async def test_reading_and_writing_ask_for_their_own_scopes(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    reader = await make_client(await make_project(), scopes=("voice:read",))
    await reader.data("GET", "/brand-voice")
    await reader.expect_error("PUT", "/brand-voice", 403, "forbidden", json=CARD)
    writer = await make_client(await make_project(), scopes=("voice:write",))
    await writer.data("PUT", "/brand-voice", json=CARD)
    for path in ("/brand-voice", "/brand-voice/versions", "/brand-voice/versions/1"):
        await writer.expect_error("GET", path, 403, "forbidden")


async def test_what_is_no_card_at_all_is_told_apart(client: Client) -> None:
    json_type = {"Content-Type": "application/json"}
    await client.expect_error(
        "PUT", "/brand-voice", 400, "malformed_json", content=b'{"tone": ', headers=json_type
    )
    await client.expect_error("PUT", "/brand-voice", 422, "validation_failed", json=["tone"])
    await client.expect_error("POST", "/brand-voice", 405, "method_not_allowed", json=CARD)
