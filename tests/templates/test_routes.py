"""Templates over HTTP."""

import asyncio
from uuid import UUID

import pytest

from newsletter.accounts.project import Project
from newsletter.audience import fields
from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

MJML = """<mjml>
  <mj-body>
    <mj-section><mj-column>
      <mj-text css-class="title">{{ issue | default: "News" }} for {{ first_name | default: "you" }}</mj-text>
      <mj-text>{{ content }}</mj-text>
    </mj-column></mj-section>
  </mj-body>
</mjml>"""
TEMPLATE = {
    "name": "Ours",
    "category": "digest",
    "description": "Two columns of nothing.",
    "mjml": MJML,
    "variables": [{"name": "issue", "default": "Issue 1", "description": "Its number"}],
}
UNKNOWN = "tpl_01k9x3v7m8e5tbn2c4r6p0qzaw"


async def ids_by_name(client: Client, **filters: str) -> dict[str, str]:
    response = await client.get("/templates", params={"per_page": "100", **filters})
    assert response.status_code == 200, response.text
    return {template["name"]: template["id"] for template in response.json()["data"]}


async def default_name(client: Client) -> str:
    response = await client.get("/templates", params={"per_page": 100})
    [name] = [template["name"] for template in response.json()["data"] if template["is_default"]]
    return str(name)


async def test_list_templates_shows_system_and_custom_ones_and_marks_the_default(client: Client) -> None:
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    listed = (await client.get("/templates", params={"per_page": 100})).json()["data"]
    first, last = listed[0], listed[-1]
    assert (first["name"], first["category"]) == ("Minimal Digest", "newsletter")
    assert (first["is_system"], first["is_default"], first["created_at"]) == (True, True, None)
    assert "Company Announcement" in {template["name"] for template in listed}
    assert (last["id"], last["is_system"], last["is_default"]) == (made["id"], False, False)
    assert "mjml" not in first
    assert sum(template["is_default"] for template in listed) == 1


async def test_ids_of_system_templates_are_the_same_in_every_project(
    client: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    other = await make_client(await make_project())
    assert await ids_by_name(client) == await ids_by_name(other)
    digest = (await ids_by_name(client))["Minimal Digest"]
    assert UUID(bytes=ids.decode("tpl", digest)) == UUID("ba25ba34-0a6b-551e-81ea-063ecfb37a7d")
    read = await other.data("GET", f"/templates/{digest}")
    assert "{{ content }}" in read["mjml"]


async def test_pages_run_over_both_kinds_without_a_gap(client: Client) -> None:
    made = [(await client.data("POST", "/templates", 201, json=TEMPLATE))["id"] for _ in range(3)]
    everything = [template["id"] for template in (await client.get("/templates")).json()["data"]]
    assert everything[-3:] == made
    paged: list[str] = []
    for page in range(1, 8):
        response = (await client.get("/templates", params={"page": page, "per_page": 2})).json()
        assert response["meta"]["total"] == len(everything)
        assert response["meta"]["last_page"] == -(-len(everything) // 2)
        paged += [template["id"] for template in response["data"]]
    assert paged == everything


async def test_filters_by_category_and_kind(client: Client) -> None:
    await client.data("POST", "/templates", 201, json=TEMPLATE)
    assert set(await ids_by_name(client, category="digest")) == {"Ours"}
    assert set(await ids_by_name(client, is_system="false")) == {"Ours"}
    assert "Ours" not in await ids_by_name(client, is_system="true")
    assert set(await ids_by_name(client, category="announcement", is_system="true")) == {
        "Company Announcement"
    }
    assert await ids_by_name(client, category="nothing") == {}


async def test_bad_filters_are_refused(client: Client) -> None:
    for field, value in (("is_system", "maybe"), ("page", "0"), ("per_page", "101"), ("category", "a\0b")):
        error = await client.expect_error(
            "GET", "/templates", 422, "validation_failed", params={field: value}
        )
        assert set(error["errors"]) == {field}


async def test_a_template_is_created_read_changed_and_deleted(client: Client) -> None:
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    assert {key: made[key] for key in TEMPLATE} == TEMPLATE
    assert made["created_at"] == made["updated_at"]
    path = f"/templates/{made['id']}"
    assert await client.data("GET", path) == made

    changed = await client.data("PATCH", path, json={"name": "Yours", "description": ""})
    assert (changed["name"], changed["description"], changed["mjml"]) == ("Yours", "", MJML)
    assert changed["updated_at"] > made["updated_at"]

    assert (await client.delete(path)).status_code == 204
    await client.expect_error("GET", path, 404, "not_found")
    await client.expect_error("DELETE", path, 404, "not_found")
    await client.expect_error("PATCH", path, 404, "not_found", json={"name": "Ghost"})


async def test_what_does_not_compile_is_refused_with_all_its_lines(client: Client) -> None:
    broken = MJML.replace("first_name", "frist_name").replace("<mj-section>", '<mj-section onclick="x()">')
    error = await client.expect_error(
        "POST", "/templates", 422, "validation_failed", json={**TEMPLATE, "mjml": broken}
    )
    assert set(error["errors"]) == {"mjml"}
    texts = error["errors"]["mjml"]
    assert any(text.startswith("line 4: ") and "frist_name" in text for text in texts)
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    unclosed = MJML.replace("</mj-text>\n    </mj", "\n    </mj")
    error = await client.expect_error(
        "PATCH", f"/templates/{made['id']}", 422, "validation_failed", json={"mjml": unclosed}
    )
    assert error["errors"]["mjml"][0].startswith("line ")
    assert (await client.data("GET", f"/templates/{made['id']}"))["mjml"] == MJML


@pytest.mark.parametrize(
    "mjml",
    ["", "plain text", "<mjml></mjml>", "<html></html>", MJML.replace("{{ content }}", ""), "<mjml>" * 2000],
)
async def test_what_is_no_template_is_refused(client: Client, mjml: str) -> None:
    error = await client.expect_error(
        "POST", "/templates", 422, "validation_failed", json={"name": "x", "mjml": mjml}
    )
    assert set(error["errors"]) == {"mjml"}
    assert 1 <= len(error["errors"]["mjml"]) <= 20


async def test_a_template_that_loses_a_variable_it_reads_is_refused(client: Client) -> None:
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    error = await client.expect_error(
        "PATCH", f"/templates/{made['id']}", 422, "validation_failed", json={"variables": []}
    )
    assert "issue" in error["errors"]["mjml"][0]


async def test_a_template_may_read_registered_custom_fields(
    client: Client, project: Project, runtime: Runtime
) -> None:
    mjml = MJML.replace("first_name", "company")
    await client.expect_error("POST", "/templates", 422, "validation_failed", json={**TEMPLATE, "mjml": mjml})
    async with runtime.db.unit_of_work() as session:
        await fields.register(session, project, ["company"], 100)
    made = await client.data("POST", "/templates", 201, json={**TEMPLATE, "mjml": mjml})
    sample = {"subscriber": {"custom_fields": {"company": "Initech & Sons"}}}
    rendered = await client.data("POST", f"/templates/{made['id']}/render", json=sample)
    assert "Initech &amp; Sons" in rendered["html"]


async def test_every_bad_field_is_named_at_once(client: Client) -> None:
    variables = [
        {"name": "Bad Name"},
        {"name": "first_name"},
        {"name": "content"},
        {"name": "fine", "default": "two\nlines"},
    ]
    error = await client.expect_error(
        "POST",
        "/templates",
        422,
        "validation_failed",
        json={"name": "", "category": "a\tb", "colour": 1, "variables": variables},
    )
    assert set(error["errors"]) == {
        "name",
        "category",
        "mjml",
        "colour",
        "variables.0.name",
        "variables.1.name",
        "variables.2.name",
        "variables.3.default",
    }
    twice = {**TEMPLATE, "variables": [{"name": "issue"}, {"name": "issue"}]}
    error = await client.expect_error("POST", "/templates", 422, "validation_failed", json=twice)
    assert set(error["errors"]) == {"variables"}


async def test_mjml_beyond_the_size_limit_is_refused(client: Client, runtime: Runtime) -> None:
    mjml = MJML.replace("News", "x" * runtime.settings.limits.html_bytes)
    error = await client.expect_error(
        "POST", "/templates", 422, "validation_failed", json={**TEMPLATE, "mjml": mjml}
    )
    assert "500,000" in error["errors"]["mjml"][0]


async def test_system_templates_cannot_be_changed_or_deleted(client: Client) -> None:
    path = f"/templates/{(await ids_by_name(client))['Plain Letter']}"
    await client.expect_error("PATCH", path, 409, "template_is_system", json={"name": "Mine"})
    await client.expect_error(
        "PATCH", path, 409, "template_is_system", json={"is_default": True, "mjml": MJML}
    )
    await client.expect_error("DELETE", path, 409, "template_is_system")
    assert await default_name(client) == "Minimal Digest"


async def test_the_default_is_the_projects_choice(client: Client) -> None:
    letter = (await ids_by_name(client))["Plain Letter"]
    assert (await client.data("PATCH", f"/templates/{letter}", json={"is_default": True}))["is_default"]
    assert (await client.data("GET", "/project"))["default_template_id"] == letter
    assert await default_name(client) == "Plain Letter"

    made = await client.data("POST", "/templates", 201, json={**TEMPLATE, "is_default": True})
    assert made["is_default"]
    assert await default_name(client) == "Ours"

    await client.data("PATCH", f"/templates/{made['id']}", json={"is_default": False})
    assert await default_name(client) == "Minimal Digest"


async def test_deleting_the_default_returns_to_the_packaged_one(client: Client) -> None:
    made = await client.data("POST", "/templates", 201, json={**TEMPLATE, "is_default": True})
    assert (await client.delete(f"/templates/{made['id']}")).status_code == 204
    assert (await client.data("GET", "/project"))["default_template_id"] is None
    assert await default_name(client) == "Minimal Digest"


async def test_a_default_that_is_deleted_at_the_same_time_leaves_no_dangling_choice(client: Client) -> None:
    for _ in range(5):
        made = await client.data("POST", "/templates", 201, json=TEMPLATE)
        path = f"/templates/{made['id']}"
        await asyncio.gather(client.patch(path, json={"is_default": True}), client.delete(path))
        assert await default_name(client) == "Minimal Digest"


async def test_render_fills_in_variables_and_a_sample_reader(client: Client) -> None:
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    path = f"/templates/{made['id']}/render"
    plain = await client.data("POST", path)
    assert plain == await client.data("POST", path, json={})
    assert plain["subject"] is None
    assert "Issue 1 for you" in plain["html"]
    assert 'href="http://news.test/u/preview"' in plain["html"]
    assert "Acme Ltd, 1 Main Street" in plain["text"]

    full = await client.data(
        "POST",
        path,
        json={
            "variables": {"issue": "Issue <7>"},
            "subscriber": {"first_name": "Zoë", "email": "zoe@example.com"},
            "subject": "For {{ first_name }}",
            "html": "<p>Written to {{ email }}</p><script>alert(1)</script>",
        },
    )
    assert full["subject"] == "For Zoë"
    assert "Issue &lt;7&gt; for Zoë" in full["html"]
    assert "Written to zoe@example.com" in full["html"]
    assert "Written to zoe@example.com" in full["text"]
    assert "alert(1)" not in full["html"] + full["text"]
    for part in full.values():
        assert "{{" not in part
        assert "}}" not in part


async def test_render_takes_out_what_no_mail_can_hold(client: Client) -> None:
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    values = {"variables": {"issue": "7\ufffe"}, "html": "<p>Hi&#xfffe;&#1;\uffff there</p>"}
    shown = await client.data("POST", f"/templates/{made['id']}/render", json=values)
    assert "Hi there" in shown["html"]
    assert "Hi there" in shown["text"]


async def test_every_system_template_renders_for_a_preview_and_can_be_copied(client: Client) -> None:
    for name, key in (await ids_by_name(client, is_system="true")).items():
        rendered = await client.data("POST", f"/templates/{key}/render", json={})
        assert rendered["html"].startswith("<!doctype html>")
        read = await client.data("GET", f"/templates/{key}")
        copy = {"name": name, "mjml": read["mjml"], "variables": read["variables"]}
        made = await client.data("POST", "/templates", 201, json=copy)
        assert (await client.data("POST", f"/templates/{made['id']}/render", json={})) == rendered


async def test_render_names_each_bad_field(client: Client, runtime: Runtime) -> None:
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    path = f"/templates/{made['id']}/render"
    cases: list[tuple[dict[str, object], set[str]]] = [
        ({"variables": {"nope": "x"}, "html": "x" * 500_001}, {"variables.nope", "html"}),
        ({"html": "<p>{{ frist_name }}</p>"}, {"html"}),
        ({"subject": "{{ frist_name }}"}, {"subject"}),
        ({"preheader": "{{ frist_name }}"}, {"preheader"}),
        (
            {"subscriber": {"email": "nope", "age": 3}, "subject": "a\nb"},
            {"subscriber.email", "subscriber.age", "subject"},
        ),
    ]
    for body, names in cases:
        error = await client.expect_error("POST", path, 422, "validation_failed", json=body)
        assert set(error["errors"]) == names


async def test_an_idempotency_key_creates_one_template(client: Client) -> None:
    headers = {"Idempotency-Key": "create-1"}
    first = await client.post("/templates", json=TEMPLATE, headers=headers)
    again = await client.post("/templates", json=TEMPLATE, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await ids_by_name(client, is_system="false")) == 1
    refused = {**TEMPLATE, "mjml": "<mjml></mjml>"}
    await client.expect_error(
        "POST", "/templates", 422, "idempotency_key_reused", json=refused, headers=headers
    )
    path = f"/templates/{first.json()['data']['id']}/render"
    key = {"Idempotency-Key": "render-1"}
    assert (await client.post(path, json={}, headers=key)).status_code == 200
    assert (await client.post(path, json={}, headers=key)).headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("key", [UNKNOWN, "tpl_x", "cmp_01k9x3v7m8e5tbn2c4r6p0qzaw", "1"])
async def test_an_id_that_is_none_of_ours_is_not_found(client: Client, key: str) -> None:
    await client.expect_error("GET", f"/templates/{key}", 404, "not_found")
    await client.expect_error("PATCH", f"/templates/{key}", 404, "not_found", json={"name": "x"})
    await client.expect_error("DELETE", f"/templates/{key}", 404, "not_found")
    await client.expect_error("POST", f"/templates/{key}/render", 404, "not_found", json={})


async def test_templates_of_another_project_are_out_of_reach(
    client: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    made = await client.data("POST", "/templates", 201, json=TEMPLATE)
    other = await make_client(await make_project())
    path = f"/templates/{made['id']}"
    await other.expect_error("GET", path, 404, "not_found")
    await other.expect_error("PATCH", path, 404, "not_found", json={"is_default": True})
    await other.expect_error("DELETE", path, 404, "not_found")
    await other.expect_error("POST", f"{path}/render", 404, "not_found", json={})
    assert "Ours" not in await ids_by_name(other)
    assert await client.data("GET", path) == made


async def test_reading_and_writing_ask_for_their_own_scopes(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    project = await make_project()
    reader = await make_client(project, scopes=("templates:read",))
    writer = await make_client(project, scopes=("templates:write",))
    made = await writer.data("POST", "/templates", 201, json=TEMPLATE)
    path = f"/templates/{made['id']}"
    await reader.data("GET", path)
    await reader.data("POST", f"{path}/render", json={})
    await reader.expect_error("POST", "/templates", 403, "forbidden", json=TEMPLATE)
    await reader.expect_error("PATCH", path, 403, "forbidden", json={"name": "x"})
    await reader.expect_error("DELETE", path, 403, "forbidden")
    await writer.expect_error("GET", path, 403, "forbidden")
    await writer.expect_error("GET", "/templates", 403, "forbidden")
