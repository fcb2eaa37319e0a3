"""What a query may name: a name that an operation does not take is refused, and never means its absence."""

import re
from typing import Any

import pytest

from newsletter.api.errors import MAX_NAMED
from newsletter.asgi import make_routes
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

LIST_ONLY = "is not a known parameter: this operation takes 'list_id'"
NONE = "is not a known parameter: this operation takes none in its query"


async def operations(client: Client) -> list[tuple[str, str, list[str]]]:
    """(method, path, names in the query) of each that the API's own document has."""
    document: dict[str, Any] = (await client.get("http://news.test/api/openapi.json")).json()
    return [
        (method.upper(), path, [one["name"] for one in each["parameters"] if one.get("in") == "query"])
        for path, item in document["paths"].items()
        for method, each in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]


def sentence(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in sorted(names)]
    if not quoted:
        return NONE
    takes = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    return f"is not a known parameter: this operation takes {takes}"


async def test_every_operation_refuses_a_name_that_it_does_not_take(
    make_client: MakeClient, make_project: MakeProject
) -> None:
    client = await make_client(await make_project(plan="enterprise"))
    found = await operations(client)
    assert len(found) > 120
    for method, path, names in found:
        path = re.sub(r"{\w+}", "x", path)
        answer = await client.request(method, f"http://news.test{path}", params={"nonsense": "1"})
        assert answer.status_code == 422, (method, path, answer.text)
        error = answer.json()["error"]
        assert (error["code"], error["errors"]) == ("validation_failed", {"nonsense": [sentence(names)]})


async def test_no_route_behind_a_key_is_left_out(client: Client, runtime: Runtime) -> None:
    """Whatever names a scope is behind the gate; one that the document hides would be walked by nobody."""
    settings = runtime.settings
    routes = {
        (method, route.path_format)
        for route in make_routes(settings.limits, settings.public_url, runtime.plans).routes
        for handler in getattr(route, "route_handlers", ())
        if "scope" in handler.opt
        for method in handler.http_methods - {"OPTIONS"}
    }
    assert routes == {(method, path) for method, path, _ in await operations(client)}


async def test_a_misspelt_list_unsubscribes_from_no_list(client: Client) -> None:
    lists = [(await client.data("POST", "/lists", 201, json={"name": name}))["id"] for name in "ab"]
    for list_id in lists:
        body = {"list_id": list_id, "email": "ada@example.com"}
        await client.data("POST", "/subscribers", 201, json=body)
    path = "/subscribers/ada@example.com"
    for name in ("listId", "List_Id", "list_id[]", "list_id%20", "a;list_id"):
        error = await client.expect_error("DELETE", f"{path}?{name}={lists[1]}", 422, "validation_failed")
        assert list(error["errors"].values()) == [[LIST_ONLY]]
    rows = await client.data("GET", "/subscribers")
    assert [row["status"] for row in rows] == ["active", "active"]
    assert (await client.delete(path, params={"list_id": lists[1]})).status_code == 204


async def test_all_wrong_names_are_told_at_once_and_once_each(client: Client) -> None:
    error = await client.expect_error(
        "GET", "/lists?pag=1&per_page=5&limit=3&limit=4&bare", 422, "validation_failed"
    )
    text = "is not a known parameter: this operation takes 'page' and 'per_page'"
    assert error["errors"] == {name: [text] for name in ("pag", "limit", "bare")}


async def test_the_answer_to_very_many_names_stays_short(client: Client) -> None:
    query = "&".join(f"k{number}" for number in range(5_000))
    error = await client.expect_error("GET", f"/lists?{query}", 422, "validation_failed")
    assert len(error["errors"]) == MAX_NAMED


@pytest.mark.parametrize("query", ["", "&", "&&page=1&"])
async def test_an_empty_query_names_nothing(client: Client, query: str) -> None:
    await client.data("GET", f"/lists?{query}")


async def test_a_key_stands_in_the_query_of_a_get_alone(client: Client) -> None:
    own = {"api_key": client.secret}
    await client.data("GET", "/lists", params=own)
    error = await client.expect_error(
        "POST", "/lists", 422, "validation_failed", params=own, json={"name": "Readers"}
    )
    assert error["errors"] == {"api_key": [NONE]}
    assert client.secret not in str(error)


async def test_a_hot_call_with_a_query_is_refused_before_it_is_done(client: Client) -> None:
    list_id = (await client.data("POST", "/lists", 201, json={"name": "Readers"}))["id"]
    body = {"list_id": list_id, "email": "ada@example.com"}
    for path in ("/subscribers?dry_run=true", "/send?dry_run=true"):
        error = await client.expect_error("POST", path, 422, "validation_failed", json=body)
        assert error["errors"] == {"dry_run": [NONE]}
    assert await client.data("GET", "/subscribers") == []


async def test_who_has_no_key_or_no_scope_is_told_that_first(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    stranger = await client.get("/lists?x=1", headers={"Authorization": "Bearer nl_test_wrong"})
    assert stranger.status_code == 401
    narrow = await make_client(await make_project(), scopes=("lists:read",))
    await narrow.expect_error("GET", "/campaigns?x=1", 403, "forbidden")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/u/x"),
        ("POST", "/u/x"),
        ("GET", "/v/x"),
        ("GET", "/c/x/y"),
        ("GET", "/o/x"),
        ("POST", "/inbound/mailgun/x"),
        ("GET", "/inbound/mailgun/x"),
        ("GET", "/healthz"),
        ("GET", "/tls/ask"),
        ("GET", "/inbox/x"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/docs"),
    ],
)
async def test_pages_and_calls_of_providers_bear_any_name(client: Client, method: str, path: str) -> None:
    """Mail clients, scanners and providers add names of their own."""
    plain = await client.request(method, f"http://news.test{path}")
    named = await client.request(
        method, f"http://news.test{path}", params={"utm_source": "news", "challenge": "1"}
    )
    assert named.status_code == plain.status_code
    assert named.headers["Content-Type"] == plain.headers["Content-Type"]
