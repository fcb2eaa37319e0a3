"""The OpenAPI document: whole, true to the routes, and with examples that work."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Router
from pydantic import TypeAdapter
from sqlalchemy import update

from newsletter.accounts.keys import SCOPES
from newsletter.api import examples, raises, routers
from newsletter.api.describe import Operation
from newsletter.api.generators import for_generators
from newsletter.api.openapi import operations
from newsletter.domains.models import DomainStatus, SendingDomain
from newsletter.kit.errors import InternalError, MethodNotAllowed, UnknownCoding, catalogue
from newsletter.runtime import Runtime
from tests.client import Client
from tests.mailbox import subscribed_list

METHODS = {"get", "put", "post", "delete", "patch"}
OF_PAGES = {"unknown_form", "mail_gone", "bad_signature"}


@pytest.fixture
async def document(client: Client) -> dict[str, Any]:
    response = await client.get("http://news.test/api/openapi.json", headers={"Authorization": ""})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    made: dict[str, Any] = response.json()
    return made


def every(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield path, method, item[method]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from walk(part)
    elif isinstance(value, list):
        for part in value:
            yield from walk(part)


def resolve(document: dict[str, Any], ref: str) -> Any:
    assert ref.startswith("#/"), ref
    found: Any = document
    for step in ref[2:].split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def known() -> dict[str, Operation]:
    router = Router("/api/v1", route_handlers=[*routers.V1, *routers.WITH_FILES])
    return {each.id: each for each in operations(router.routes)}


async def test_the_document_has_the_parts_of_openapi_3_1(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert {"title", "version", "description"} <= document["info"].keys()
    assert document["servers"] == [{"url": "http://news.test", "description": "This installation"}]
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    assert {"openapi", "info", "servers", "paths", "components", "tags"} == document.keys()
    assert {tag for *_, each in every(document) for tag in each["tags"]} == {
        tag["name"] for tag in document["tags"]
    }
    for part in ("schemas", "responses", "parameters", "examples", "headers", "securitySchemes"):
        for name in document["components"][part]:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+", name), name


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    refs = [each["$ref"] for each in walk(document) if isinstance(each.get("$ref"), str)]
    assert len(refs) > 300
    for ref in refs:
        resolve(document, ref)


async def test_every_route_is_there_with_all_that_a_caller_must_know(document: dict[str, Any]) -> None:
    seen = {}
    for path, method, each in every(document):
        name = each["operationId"]
        assert name not in seen, name
        seen[name] = each
        assert each["summary"], name
        assert each["x-scope"] in SCOPES, name
        assert f"`{each['x-scope']}`" in each["description"], name
        assert f"`{each['x-rate-class']}`" in each["description"], name
        assert [set(one) for one in each["security"]][:2] == [{"bearer"}, {"header"}], name
        assert all(one == [each["x-scope"]] for role in each["security"] for one in role.values()), name
        assert {"401", "403", "429", "503", "default"} <= each["responses"].keys(), name
        assert ("404" in each["responses"]) == ("{" in path), name
        assert any(status.startswith("2") for status in each["responses"]), name
        if "requestBody" in each:
            assert {"400", "413", "415", "422"} <= each["responses"].keys(), name
        if method == "post":  # A body that comes unasked is covered by the Idempotency-Key, too.
            assert {"413", "415", "422"} <= each["responses"].keys(), name
        assert "requestBody" not in each or method in {"post", "put", "patch"}, name
    assert seen.keys() == known().keys()


async def test_an_upsert_says_that_it_answers_for_new_and_for_known(document: dict[str, Any]) -> None:
    for name in ("post", "put"):
        assert {"200", "201"} <= document["paths"]["/api/v1/subscribers"][name]["responses"].keys()


async def test_parameters_match_the_path_and_are_described(document: dict[str, Any]) -> None:
    for path, _, each in every(document):
        given = [one if "$ref" not in one else resolve(document, one["$ref"]) for one in each["parameters"]]
        in_path = {one["name"] for one in given if one["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), path
        assert len({(one["in"], one["name"]) for one in given}) == len(given), path
        for one in given:
            assert one["description"], (path, one["name"])
            assert one["schema"], (path, one["name"])
            assert one["required"] == (one["in"] == "path"), (path, one["name"])


async def test_every_post_takes_an_idempotency_key_and_nothing_else_does(document: dict[str, Any]) -> None:
    for path, method, each in every(document):
        has = {"$ref": "#/components/parameters/IdempotencyKey"} in each["parameters"]
        assert has == (method == "post"), path
        assert ("Idempotent-Replayed" in str(each["responses"])) == (method == "post"), path


async def test_changing_a_campaign_takes_its_version(document: dict[str, Any]) -> None:
    change = document["paths"]["/api/v1/campaigns/{campaign_id}"]["patch"]
    headers = [one["name"] for one in change["parameters"] if one.get("in") == "header"]
    assert headers == ["If-Match"]
    assert "version_conflict" in change["responses"]["409"]["$ref"]


async def test_ids_are_described_as_they_look(document: dict[str, Any]) -> None:
    campaign = document["components"]["schemas"]["CampaignOut"]["properties"]["id"]
    assert re.fullmatch(campaign["pattern"], campaign["examples"][0])
    assert "uuid" not in str(document["components"]["schemas"])


async def test_nothing_makes_a_generator_of_clients_stumble(document: dict[str, Any]) -> None:
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", name), name
    assert {"DataListOut", "StepInput", "WebhooksAttemptOut", "ErrorBody"} <= document["components"][
        "schemas"
    ].keys()
    assert [each for each in walk(document) if "anyOf" in each and each.get("default") == []] == []
    for path, _, each in every(document):
        for media in each.get("requestBody", {"content": {}})["content"].values():
            assert media["schema"], path
    lines = document["paths"]["/api/v1/analytics/summary.jsonl"]["get"]["responses"]["200"]
    assert lines["content"].keys() == {"application/jsonl"}
    subscriber = document["components"]["schemas"]["SubscriberOut"]["properties"]
    assert subscriber["created_at"] == {"type": "string", "format": "date-time"}


def test_two_schemas_never_get_one_name() -> None:
    schemas: dict[str, Any] = {"Data_ListOut_": {}, "DataListOut": {}}
    with pytest.raises(ValueError, match="same name"):
        for_generators({"components": {"schemas": schemas}})


async def test_limits_of_fields_are_in_the_document(document: dict[str, Any]) -> None:
    topic = document["components"]["schemas"]["Topic"]["properties"]["prompt"]
    assert (topic["minLength"], topic["maxLength"]) == (5, 2000)
    assert document["components"]["schemas"]["CampaignCreate"]["additionalProperties"] is False


async def test_an_update_shows_no_defaults(document: dict[str, Any]) -> None:
    """A client that filled them in would change what it meant to leave."""
    for name in (
        "ProjectUpdate",
        "DomainUpdate",
        "CampaignUpdate",
        "SegmentUpdate",
        "SubscriberUpdate",
        "TemplateUpdate",
        "SubscriberPut",
    ):
        fields = document["components"]["schemas"][name]["properties"]
        assert not [field for field, schema in fields.items() if "default" in schema], name


async def test_upserts_show_both_statuses(document: dict[str, Any]) -> None:
    create = document["paths"]["/api/v1/subscribers"]["post"]["responses"]
    assert create["200"]["content"] == create["201"]["content"]


async def test_every_error_of_the_catalogue_is_documented(document: dict[str, Any]) -> None:
    codes = {error.code for error in catalogue() if error.__module__.startswith("newsletter.")}
    elsewhere = {MethodNotAllowed.code, InternalError.code, UnknownCoding.code} | OF_PAGES
    assert codes - elsewhere == document["components"]["examples"].keys()
    for code, example in document["components"]["examples"].items():
        assert example["value"]["error"]["code"] == code


def test_errors_are_named_for_operations_that_exist() -> None:
    assert raises.OWN.keys() <= known().keys()
    assert examples.REQUESTS.keys() <= known().keys()
    assert examples.ANSWERS.keys() <= known().keys()


@pytest.mark.parametrize("name", sorted(examples.ANSWERS))
def test_an_example_answer_is_whole_and_valid(name: str) -> None:
    answer = TypeAdapter(known()[name].answer)
    example = examples.ANSWERS[name]
    assert answer.dump_python(answer.validate_python(example), mode="json") == example


@pytest.mark.parametrize("name", sorted(examples.REQUESTS))
def test_an_example_call_is_valid(name: str) -> None:
    body = TypeAdapter(known()[name].body)
    for example in examples.REQUESTS[name].values():
        body.validate_python(example["value"])


async def test_example_calls_work(client: Client, runtime: Runtime) -> None:
    """Each as it stands, with ids of this project in the place of the examples'."""
    list_id = await subscribed_list(client, "Ada", "Ben")
    server = await client.data("POST", "/sending-servers", 201, json={"name": "Own", "type": "sandbox"})
    template = (await client.data("GET", "/templates"))[0]
    hook = await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com/hooks"})
    domain = await client.data(
        "POST", "/sending-domains", 201, json={"domain": "example.com", "mode": "relay"}
    )
    credential = await client.data("POST", "/smtp-credentials", 201, json={"name": "shop server"})
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(SendingDomain).values(status=DomainStatus.verified))
    steps = [{"tag": {"add": ["seen"]}}]
    variables = [{"name": "plan", "default": "Free"}, {"name": "seats", "default": "1"}]
    automation = await client.data(
        "POST",
        "/automations",
        201,
        json={"name": "Own", "list_id": list_id, "steps": steps, "variables": variables},
    )
    await client.data("POST", f"/automations/{automation['id']}/activate")
    named = {"list_id": list_id, "name": "Own", "conditions": {"tag": "seen"}}
    segment = await client.data("POST", "/segments", 201, json=named)
    body = {"list_id": list_id, "subject": "S", "html": "<p>Hello</p>"}
    done = set()
    for name, variants in examples.REQUESTS.items():
        each = known()[name]
        for variant in variants.values():
            draft = await client.data("POST", "/campaigns", 201, json=body)
            path = each.path.removeprefix("/api/v1").replace("{campaign_id}", draft["id"])
            path = path.replace("{automation_id}", automation["id"])
            path = path.replace("{segment_id}", segment["id"])
            path = path.replace("/webhooks/{id}", f"/webhooks/{hook['id']}")
            path = path.replace("/sending-domains/{id}", f"/sending-domains/{domain['id']}")
            path = path.replace("{credential_id}", credential["id"])
            own = {"list_id": list_id, "server_id": server["id"], "template_id": template["id"]}
            sent = variant["value"] | {name: own[name] for name in own if name in variant["value"]}
            response = await client.request(each.method, path, json=sent)
            assert response.status_code in each.statuses, (name, response.text)
            done.add(name)
    assert done == examples.REQUESTS.keys()


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/redoc", "/api/openapi.yaml", "/api/v1/openapi.json"])
async def test_the_framework_s_own_pages_are_not_there(client: Client, path: str) -> None:
    response = await client.get(f"http://news.test{path}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
