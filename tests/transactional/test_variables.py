"""Values of merge tags: what a call may send, and what a template asks for."""

import pytest

from newsletter.runtime import Runtime
from tests.client import Client
from tests.transactional.conftest import MAIL, delivered, refused, send


@pytest.mark.parametrize("value", [{}, {"a": 1}, [], ["x"]])
async def test_a_variable_of_a_wrong_type_is_named_once_with_what_it_may_be(
    client: Client, value: object
) -> None:
    wrong = {"variables.x": ["must be a text, a number, true, false or null"]}
    assert await refused(client, variables={"x": value, "y": "right"}) == wrong
    body = {"messages": [MAIL | {"variables": {"x": value}}, MAIL]}
    first, second = (await client.data("POST", "/send/bulk", 202, json=body))["results"]
    assert first["error"]["errors"] == wrong
    assert second["status"] == "queued"


@pytest.mark.parametrize("value", ["text", "", 7, 7.5, True, None])
async def test_a_variable_may_be_of_each_kind_that_the_refusal_names(client: Client, value: object) -> None:
    assert (await send(client, html="<p>{{ x }}</p>", variables={"x": value}))["status"] == "queued"


@pytest.fixture
async def people(client: Client) -> None:
    """A custom field of the project, which a subscriber has a value of."""
    listed = await client.data("POST", "/lists", 201, json={"name": "x"})
    person = {"email": "alice@example.com", "first_name": "Alice", "custom_fields": {"colour": "red"}}
    await client.data("POST", "/subscribers", 201, json=person | {"list_id": listed["id"]})


async def template(client: Client, text: str) -> str:
    mjml = (
        "<mjml><mj-body><mj-section><mj-column><mj-text>{{ content }}</mj-text>"
        f"<mj-text>{text}</mj-text></mj-column></mj-section></mj-body></mjml>"
    )
    variables = [{"name": "code", "default": "none"}]
    body = {"name": "Own", "mjml": mjml, "variables": variables}
    return str((await client.data("POST", "/templates", 201, json=body))["id"])


@pytest.mark.parametrize("field", ["subject", "html", "text"])
@pytest.mark.parametrize("name", ["first_name", "last_name", "colour"])
async def test_a_tag_of_the_text_that_nothing_fills_is_refused_in_a_template_too(
    client: Client, people: None, field: str, name: str
) -> None:
    template_id = await template(client, "Code: {{ code }}")
    for tag in (f"{{{{ {name} }}}}", f'{{{{ {name} | default: "you" }}}}'):
        found = await refused(client, template_id=template_id, **{field: f"Hi {tag}"})
        assert list(found) == [field]
        assert f"there is no field '{name}'" in found[field][0]
    mail = {field: f"Hi {{{{ {name} }}}}", "template_id": template_id, "variables": {name: "Al"}}
    await send(client, **mail)


@pytest.mark.parametrize("name", ["first_name", "colour"])
async def test_a_tag_of_the_template_that_nothing_fills_is_asked_for(
    client: Client, runtime: Runtime, people: None, name: str
) -> None:
    bare = await template(client, f"Dear {{{{ {name} | upper }}}}")
    found = await refused(client, template_id=bare)
    assert list(found) == ["variables"]
    assert f"must hold '{name}'" in found["variables"][0]
    item = {"to": "alice@example.com", "subject": "Hi", "html": "<p>x</p>", "template_id": bare}
    bulk = await client.post("/send/bulk", json={"messages": [item, item | {"variables": {name: "Al"}}]})
    first, second = bulk.json()["data"]["results"]
    assert list(first["error"]["errors"]) == ["variables"]
    assert second["status"] == "queued"
    mail = await delivered(client, runtime, "alice@example.com")
    assert "Dear AL" in mail.get_body(("html",)).get_content()


async def test_a_template_may_say_what_stands_for_who_has_no_name(
    client: Client, runtime: Runtime, people: None
) -> None:
    text = (
        '{{ first_name | default: "there" }}{% if colour %}, in {{ colour }}{% endif %}'
        "{% if last_name %}{{ last_name }}{% else %}, you{% endif %}"
        '{{ last_name | default: "" }}'
    )
    await send(client, template_id=await template(client, text))
    mail = await delivered(client, runtime, "alice@example.com")
    assert "there, you" in mail.get_body(("html",)).get_content()


async def test_a_text_beside_a_template_reads_what_the_html_does(client: Client, runtime: Runtime) -> None:
    said = "({{ code }}, {{ brand_name }}, {{ email }}, {{ plan }})"
    template_id = await template(client, "Code: {{ code }}")
    await send(client, template_id=template_id, html=said, text=said, variables={"plan": "Pro"})
    mail = await delivered(client, runtime, "alice@example.com")
    project = await client.data("GET", "/project")
    filled = f"(none, {project['from_name'] or project['name']}, alice@example.com, Pro)"
    assert filled in mail.get_body(("html",)).get_content()
    assert mail.get_body(("plain",)).get_content().strip() == filled


@pytest.mark.parametrize("value", [None, "", "  "])
async def test_a_subject_that_would_be_empty_is_refused(client: Client, value: str | None) -> None:
    for subject in ("{{ name }}", "{{ name }} {{ name | upper }}"):
        assert list(await refused(client, subject=subject, variables={"name": value})) == ["subject"]
    for subject in ("{{ email }}", '{{ name | default: "you" }}', "Hi {{ name }}"):
        await send(client, subject=subject, variables={"name": value})
