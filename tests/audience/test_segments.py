"""Segments by themselves: made, changed, counted and listed, by whom they may be."""

from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.settings import Settings
from tests.audience.conftest import MakeList
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

EARLY = {"tag": "early"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    limits = settings.limits.model_copy(update={"segments": 3, "segment_conditions": 4, "segment_depth": 3})
    return settings.model_copy(update={"limits": limits})


@pytest.fixture
async def list_id(client: Client, make_list: MakeList) -> str:
    """Ada, Ben and Cleo are early; Ben left; Dan is late."""
    made = await make_list()
    for name in ("ada", "ben", "cleo", "dan"):
        tags = [] if name == "dan" else ["early"]
        person = {"list_id": made, "email": f"{name}@example.com", "tags": tags}
        await client.data("POST", "/subscribers", 201, json=person)
    await client.delete(f"/subscribers/ben@example.com?list_id={made}")
    return made


def body(list_id: str, conditions: Any = EARLY, name: str = "The early") -> dict[str, Any]:
    return {"list_id": list_id, "name": name, "conditions": conditions}


async def emails(client: Client, path: str, **params: Any) -> list[str]:
    return [row["email"] for row in await client.data("GET", path, params=params)]


async def test_it_is_made_read_changed_and_deleted(client: Client, list_id: str) -> None:
    made = await client.data("POST", "/segments", 201, json=body(list_id) | {"description": "Who came first"})
    path = f"/segments/{made['id']}"
    assert made["id"].startswith("seg_")
    assert (made["conditions"], made["version"], made["description"]) == (EARLY, 1, "Who came first")
    assert await client.data("GET", path) == made
    changed = await client.data("PATCH", path, json={"name": "Late", "conditions": {"none": [EARLY]}})
    assert (changed["name"], changed["version"], changed["description"]) == ("Late", 2, "Who came first")
    assert await emails(client, f"{path}/subscribers") == ["dan@example.com"]
    cleared = await client.data("PATCH", path, json={"description": None}, headers={"If-Match": '"2"'})
    assert (cleared["description"], cleared["version"]) == (None, 3)
    stale = {"If-Match": "2"}
    await client.expect_error("PATCH", path, 409, "version_conflict", json={"name": "x"}, headers=stale)
    for field in ("name", "conditions"):
        await client.expect_error("PATCH", path, 422, "validation_failed", json={field: None})
    await client.expect_error("PATCH", path, 422, "validation_failed", json={"list_id": list_id})
    assert (await client.delete(path)).status_code == 204
    await client.expect_error("GET", path, 404, "not_found")
    assert len(await emails(client, "/subscribers", list_id=list_id)) == 4


async def test_lists_show_how_many_and_the_listing_is_filtered(
    client: Client, make_list: MakeList, list_id: str
) -> None:
    other = await make_list("Other")
    first = await client.data("POST", "/segments", 201, json=body(list_id, name="100% early"))
    second = await client.data("POST", "/segments", 201, json=body(other, name="Élodie"))
    assert await client.data("GET", "/segments") == [second, first]
    assert await client.data("GET", "/segments", params={"list_id": list_id}) == [first]
    assert await client.data("GET", "/segments", params={"search": "0% E"}) == [first]
    assert await client.data("GET", "/segments", params={"search": "éLO"}) == [second]
    page = (await client.get("/segments", params={"per_page": 1})).json()
    assert page["meta"] == {"current_page": 1, "per_page": 1, "last_page": 2, "total": 2}
    listed = {row["id"]: row["segment_count"] for row in await client.data("GET", "/lists")}
    assert listed == {list_id: 1, other: 1}
    await client.delete(f"/lists/{other}")
    await client.expect_error("GET", f"/segments/{second['id']}", 404, "not_found")


async def test_it_counts_and_lists_who_meets_it_whatever_became_of_them(client: Client, list_id: str) -> None:
    path = f"/segments/{(await client.data('POST', '/segments', 201, json=body(list_id)))['id']}"
    counted = await client.data("GET", f"{path}/count")
    assert (counted["total_subscribers"], counted["active_subscribers"]) == (3, 2)
    assert counted["counted_at"].endswith("Z")
    early = ["cleo@example.com", "ben@example.com", "ada@example.com"]
    assert await emails(client, f"{path}/subscribers") == early
    assert await emails(client, "/subscribers", segment_id=path.rpartition("/")[2]) == early
    assert await emails(client, f"{path}/subscribers", status="unsubscribed") == [early[1]]
    assert await emails(client, "/subscribers", segment_id=path.rpartition("/")[2], search="ADA") == early[2:]
    first = (await client.get(f"{path}/subscribers", params={"per_page": 2})).json()
    assert first["meta"]["total"] == 3
    following = {"per_page": 2, "cursor": first["meta"]["next_cursor"]}
    assert await emails(client, f"{path}/subscribers", **following) == early[2:]


async def test_conditions_are_tried_before_they_are_kept(client: Client, list_id: str) -> None:
    tried = {"list_id": list_id, "conditions": {"all": [EARLY, {"status": "active"}]}}
    for _ in range(2):
        shown = await client.data(
            "POST", "/segments/preview", json=tried, headers={"Idempotency-Key": "try-it"}
        )
        assert (shown["total_subscribers"], shown["active_subscribers"]) == (2, 2)
        assert [row["email"] for row in shown["subscribers"]] == ["cleo@example.com", "ada@example.com"]
    assert await client.data("GET", "/segments") == []


async def test_each_bad_place_is_named(client: Client, list_id: str) -> None:
    strange = ids.public("cmp", ids.uuid7())
    deep: dict[str, Any] = EARLY
    for _ in range(3):
        deep = {"all": [deep]}
    number = {"field": {"name": "orders", "above": "3"}}
    person = {"field": {"name": "email", "equals": "Ada@Example.com"}}
    cases: list[tuple[Any, str]] = [
        ({"all": [EARLY, EARLY, number]}, "conditions.all.2.field.above"),
        ({"any": [EARLY, {"opened": {"campaign_id": strange}}]}, "conditions.any.1.opened.campaign_id"),
        ({"clicked": {"step": "welcome"}}, "conditions.clicked.step"),
        ({"none": [{"list_id": ids.public("lst", ids.uuid7())}]}, "conditions.none.0.list_id"),
        ({"none": [person]}, "conditions.none.0.field.equals"),
        ({"field": {"name": "boss", "one_of": [1, "b@example.com"]}}, "conditions.field.one_of.1"),
        ({"any": [EARLY, {"tag": "ada@example.com"}]}, "conditions.any.1.tag"),
        (deep, "conditions"),
        ({"any": [EARLY] * 4}, "conditions"),
        ({"any": [EARLY] * 21}, "conditions.any"),
        ({"any": [EARLY] * 10_000}, "conditions"),
        ({"created_at": {"within_days": True}}, "conditions.created_at.within_days"),
        ({"opened": {"campaign_id": strange, "days": "3"}}, "conditions.opened.days"),
        ({"field": {"name": "boss", "equals": "ada@intra_net.example.com"}}, "conditions.field.equals"),
        ({"field": {"name": "boss", "contains": " ada@example\u3002com"}}, "conditions.field.contains"),
        ({}, "conditions"),
        ({"field": {"name": "city\"') OR 1=1 --", "is_set": True}}, "conditions.field.name"),
        ({"tag": "a\0b"}, "conditions.tag"),
        ({"field": {"name": "city", "equals": "x" * 1_001}}, "conditions.field.equals"),
    ]
    for conditions, place in cases:
        for path in ("/segments", "/segments/preview"):
            sent = body(list_id, conditions)
            if path == "/segments/preview":
                sent.pop("name")
            error = await client.expect_error("POST", path, 422, "validation_failed", json=sent)
            assert [each for each in error["errors"] if each.startswith(place)], (conditions, error)


async def test_what_is_nested_beyond_all_reason_is_refused(client: Client, list_id: str) -> None:
    for depth in (50, 300, 5_000):
        inner = '{"all":[' * depth + '{"tag":"x"}' + "]}" * depth
        text = f'{{"list_id":"{list_id}","name":"Deep","conditions":{inner}}}'
        answer = await client.post("/segments", content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text


async def test_of_far_too_many_none_is_looked_at(client: Client, list_id: str) -> None:
    bad: dict[str, Any] = {"domain": "no domain"}
    for how in ("all", "any", "none"):
        bad = {how: [bad] * 20}
    error = await client.expect_error("POST", "/segments", 422, "validation_failed", json=body(list_id, bad))
    assert error["errors"] == {"conditions": ["must be at most 500 conditions"]}


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("ΟΔΟΣ ΑΘΗΝΑΣ", "ΟΔΟΣ"),
        ("ΟΔΟΣ ΑΘΗΝΑΣ", "οδος"),
        ("οδος", "ΟΔΟΣ"),
        ("ΔΟΣΗ", "ΔΟΣ"),
        ("İSTANBUL", "İstanbul"),
        ("İSTANBUL", "istanbul"),
        ("ÅÉ", "åé"),
    ],
)
async def test_a_text_is_found_in_any_case(client: Client, list_id: str, written: str, asked: str) -> None:
    person = {"list_id": list_id, "email": "eve@example.com", "last_name": written}
    await client.data("POST", "/subscribers", 201, json=person | {"custom_fields": {"city": written}})
    for how in ("contains", "starts_with"):
        tried = {"list_id": list_id, "conditions": {"field": {"name": "city", how: asked}}}
        shown = await client.data("POST", "/segments/preview", json=tried)
        assert [row["email"] for row in shown["subscribers"]] == ["eve@example.com"], how
    found = await client.data("GET", "/subscribers", params={"list_id": list_id, "search": asked})
    assert [row["email"] for row in found] == ["eve@example.com"]
    segment = await client.data("POST", "/segments", 201, json=body(list_id, name=written))
    assert await client.data("GET", "/segments", params={"search": asked}) == [segment]


@pytest.mark.parametrize(
    "text", ["%", "_", "'; DROP TABLE segments; --", "\\", '"', "Ωμέγα", "/%", "🌱", "$1", ":x"]
)
async def test_hostile_values_are_values(client: Client, list_id: str, text: str) -> None:
    person = {"list_id": list_id, "email": "eve@example.com", "custom_fields": {"city": f"a{text}b"}}
    await client.data("POST", "/subscribers", 201, json=person | {"tags": [text]})
    for condition in (
        {"tag": text},
        {"field": {"name": "city", "contains": text}},
        {"field": {"name": "city", "starts_with": f"A{text}"}},
        {"field": {"name": "city", "one_of": ["x", f"a{text}b"]}},
    ):
        tried = {"list_id": list_id, "conditions": condition}
        shown = await client.data("POST", "/segments/preview", json=tried)
        assert [row["email"] for row in shown["subscribers"]] == ["eve@example.com"], condition


async def test_a_project_has_so_many_and_no_more(client: Client, list_id: str) -> None:
    for _ in range(3):
        await client.data("POST", "/segments", 201, json=body(list_id))
    await client.expect_error("POST", "/segments", 409, "segment_limit_reached", json=body(list_id))


async def test_those_of_another_project_are_unknown(
    client: Client, make_client: MakeClient, make_project: MakeProject, list_id: str
) -> None:
    segment = await client.data("POST", "/segments", 201, json=body(list_id))
    stranger = await make_client(await make_project(name="Other"))
    assert await stranger.data("GET", "/segments") == []
    path = f"/segments/{segment['id']}"
    for method, where in (
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("GET", f"{path}/count"),
        ("GET", f"{path}/subscribers"),
    ):
        sent = {"json": {"name": "Mine"}} if method == "PATCH" else {}
        await stranger.expect_error(method, where, 404, "not_found", **sent)
    await stranger.expect_error("POST", "/segments", 422, "validation_failed", json=body(list_id))
    tried = {"list_id": list_id, "conditions": EARLY}
    await stranger.expect_error("POST", "/segments/preview", 422, "validation_failed", json=tried)
    named = {"segment_id": segment["id"]}
    await stranger.expect_error("GET", "/subscribers", 422, "validation_failed", params=named)
    theirs = (await stranger.data("POST", "/lists", 201, json={"name": "Theirs"}))["id"]
    foreign = body(theirs, {"list_id": list_id})
    await stranger.expect_error("POST", "/segments", 422, "validation_failed", json=foreign)


async def test_a_restricted_key_has_those_of_its_lists(
    client: Client, make_client: MakeClient, make_list: MakeList, project: Project, list_id: str
) -> None:
    other = await make_list("Other")
    mine, theirs = [await client.data("POST", "/segments", 201, json=body(each)) for each in (list_id, other)]
    restricted = await make_client(project, list_ids=(ids.private("lst", list_id),))
    assert await restricted.data("GET", "/segments") == [mine]
    path = f"/segments/{theirs['id']}"
    for method, where, sent in (
        ("GET", path, None),
        ("PATCH", path, {"name": "x"}),
        ("DELETE", path, None),
        ("GET", f"{path}/count", None),
        ("GET", f"{path}/subscribers", None),
        ("GET", f"/subscribers?segment_id={theirs['id']}", None),
        ("GET", f"/segments?list_id={other}", None),
        ("POST", "/segments", body(other)),
        ("POST", "/segments/preview", {"list_id": other, "conditions": EARLY}),
    ):
        await restricted.expect_error(method, where, 403, "forbidden", **({"json": sent} if sent else {}))
    # Who is on a list outside the key's is not told by a condition either.
    asking = body(list_id, {"list_id": other})
    await restricted.expect_error("POST", "/segments", 422, "validation_failed", json=asking)
    await restricted.data("PATCH", f"/segments/{mine['id']}", json={"name": "Ours"})


async def test_a_key_needs_the_scopes_of_subscribers(
    client: Client, make_client: MakeClient, project: Project, list_id: str
) -> None:
    segment = await client.data("POST", "/segments", 201, json=body(list_id))
    reader = await make_client(project, scopes=("subscribers:read",))
    assert (await reader.data("GET", f"/segments/{segment['id']}/count"))["total_subscribers"] == 3
    await reader.expect_error("POST", "/segments", 403, "forbidden", json=body(list_id))
    await reader.expect_error("DELETE", f"/segments/{segment['id']}", 403, "forbidden")
    other = await make_client(project, scopes=("lists:read", "campaigns:read"))
    await other.expect_error("GET", f"/segments/{segment['id']}/count", 403, "forbidden")


async def test_an_answer_is_not_repeated_to_a_key_of_other_lists(
    client: Client, make_client: MakeClient, project: Project
) -> None:
    ids_ = [(await client.data("POST", "/lists", 201, json={"name": name}))["id"] for name in ("A", "B")]
    await client.data("POST", "/subscribers", 201, json={"list_id": ids_[0], "email": "ada@example.com"})
    call = {"list_id": ids_[0], "conditions": {"status": "active"}}
    once = {"Idempotency-Key": "look-1"}
    first = await client.post("/segments/preview", headers=once, json=call)
    assert "ada@example.com" in first.text
    of_another_list = await make_client(project, list_ids=(ids.private("lst", ids_[1]),))
    again = await of_another_list.post("/segments/preview", headers=once, json=call)
    assert again.status_code == 422
    assert again.json()["error"]["code"] == "idempotency_key_reused"
    # A key that replaces the first one is told what that was told.
    successor = await make_client(project)
    assert (await successor.post("/segments/preview", headers=once, json=call)).json() == first.json()
