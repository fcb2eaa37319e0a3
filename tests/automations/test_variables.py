"""What a call that starts a run says for the mails of that run."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from newsletter.automations import retention
from newsletter.automations.models import Run
from newsletter.delivery.models import MessagePart
from newsletter.kit import clock
from newsletter.runtime import Runtime
from newsletter.settings import AutomationSettings, Settings
from tests.automations.conftest import CREATED, WAIT, automate, join, let_time_pass, runs
from tests.client import Client
from tests.jobs import run_due

PLAN = {"name": "plan", "default": "Free", "description": "What they bought"}
HTML = "<p>Hello {{ first_name }}, this is {{ plan }}.</p>"
MAIL = {"id": "bought", "send": {"subject": "Your plan {{ plan }}", "html": HTML}}
LATER = {"id": "later", "send": {"subject": "Still {{ plan }}?", "html": "<p>Are you?</p>"}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"automations": AutomationSettings(variables=2)})


async def trigger(client: Client, automation_id: str, name: str, **variables: Any) -> None:
    body = {"email": f"{name}@example.com", "variables": variables}
    await client.data("POST", f"/automations/{automation_id}/trigger", 202, json=body)


async def mails(client: Client, name: str) -> list[tuple[str, str]]:
    """Subject and text of the mails to somebody, the oldest first."""
    found = await client.data("GET", "/sandbox/messages", params={"to": f"{name}@example.com"})
    read = [await client.data("GET", f"/sandbox/messages/{each['id']}") for each in reversed(found)]
    return [(each["subject"], each["html"]) for each in read]


async def test_each_run_has_its_own_values_in_all_of_its_mails(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    """In the mailing that they share; who started without one has the default."""
    automation_id = await automate(client, list_id, MAIL, WAIT, LATER, start=CREATED, variables=[PLAN])
    await trigger(client, automation_id, "ada", plan="Pro & <more>")
    await trigger(client, automation_id, "grace", plan=None)
    await join(client, list_id, "Marie")
    await run_due(runtime)
    await let_time_pass(runtime)
    for name, plan, shown in (
        ("ada", "Pro & <more>", "Pro &amp; &lt;more&gt;"),
        ("grace", "Free", "Free"),
        ("marie", "Free", "Free"),
    ):
        first, second = await mails(client, name)
        assert (first[0], second[0]) == (f"Your plan {plan}", f"Still {plan}?")
        assert f"Hello {name.title()}, this is {shown}." in first[1]
    [message, *_] = await client.data("GET", "/messages", params={"email": "ada@example.com"})
    assert message["subject"] == "Still Pro & <more>?"


async def test_a_template_takes_its_variables_from_the_run(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    texts = "<mj-text>{{ plan }}:</mj-text><mj-text>{{ content }}</mj-text>"
    slot = f"<mj-section><mj-column>{texts}</mj-column></mj-section>"
    own = {"name": "Own", "mjml": f"<mjml><mj-body>{slot}</mj-body></mjml>", "variables": [PLAN]}
    template = await client.data("POST", "/templates", 201, json=own)
    mail = {"send": {"subject": "Hello", "html": "<p>There</p>", "template_id": template["id"]}}
    automation_id = await automate(client, list_id, mail, variables=[PLAN | {"default": "None"}])
    await trigger(client, automation_id, "ada", plan="Team")
    await trigger(client, automation_id, "grace")
    await run_due(runtime)
    [(_, ada)], [(_, grace)] = await mails(client, "ada"), await mails(client, "grace")
    assert "Team:" in ada
    assert "None:" in grace


async def test_a_reader_sees_their_own_values_in_the_browser(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    html = '<p>{{ plan }} <a href="{{ view_in_browser_url }}">v</a></p>'
    mail = {"send": {"subject": "Plan", "html": html}}
    automation_id = await automate(client, list_id, mail, variables=[PLAN])
    await trigger(client, automation_id, "ada", plan="Pro")
    await run_due(runtime)
    [(_, html)] = await mails(client, "ada")
    path = html.partition("http://news.test/v/")[2].partition('"')[0]
    page = await client.get(f"http://news.test/v/{path}")
    assert "Pro <a" in page.text


BAD: list[tuple[dict[str, Any], str]] = [
    ({"paln": "Pro"}, "variables.paln"),
    ({"plan": "x" * 1_001}, "variables.plan"),
    ({"plan": ["Pro"]}, "variables.plan"),
    ({"plan": "a\u0000b"}, "variables.plan"),
    ({"email": "eve@example.com"}, "variables.email"),
]


@pytest.mark.parametrize(("values", "field"), BAD)
async def test_a_value_that_cannot_be_used_is_refused(
    client: Client, runtime: Runtime, list_id: str, values: dict[str, Any], field: str
) -> None:
    path = f"/automations/{await automate(client, list_id, MAIL, variables=[PLAN])}"
    body = {"email": "ada@example.com", "variables": values}
    error = await client.expect_error("POST", f"{path}/trigger", 422, "validation_failed", json=body)
    assert list(error["errors"]) == [field]
    assert await client.data("GET", f"{path}/runs") == []


async def test_what_is_declared_is_checked_with_the_mails(client: Client, list_id: str) -> None:
    body: dict[str, Any] = {"name": "Plans", "list_id": list_id, "steps": [MAIL]}
    for variables, field in (
        ([], "steps.0.send.subject"),
        ([PLAN, PLAN], "variables"),
        ([PLAN, PLAN | {"name": "b"}, PLAN | {"name": "c"}], "variables"),
        ([PLAN | {"name": "first_name"}], "variables.0.name"),
    ):
        given = body | {"variables": variables}
        error = await client.expect_error("POST", "/automations", 422, "validation_failed", json=given)
        assert field in error["errors"]
    made = await client.data("POST", "/automations", 201, json=body | {"variables": [PLAN]})
    assert made["variables"] == [PLAN]
    path = f"/automations/{made['id']}"
    error = await client.expect_error("PATCH", path, 422, "validation_failed", json={"variables": []})
    assert "steps.0.send.subject" in error["errors"]
    longer = [PLAN, PLAN | {"name": "seats"}]
    assert (await client.data("PATCH", path, json={"variables": longer}))["variables"] == longer


async def test_values_go_with_their_run_their_mail_and_their_person(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    automation_id = await automate(client, list_id, MAIL, WAIT, variables=[PLAN])
    await trigger(client, automation_id, "ada", plan="Secret A")
    await trigger(client, automation_id, "grace", plan="Secret G")
    await run_due(runtime)
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada@"})
    held = await client.data("GET", f"/subscribers/{ada['id']}/export")
    assert [run["variables"] for run in held["runs"]] == [{"plan": "Secret A"}]

    await client.data("POST", f"/subscribers/{ada['id']}/erase")
    await run_due(runtime)
    assert await _values(runtime) == ([{}, {"plan": "Secret G"}], [{}, {"plan": "Secret G"}])

    await let_time_pass(runtime)
    assert [run["variables"] for run in await runs(client, automation_id)] == [{}, {}]
    assert await retention.drop_steps(runtime.db, clock.now() + timedelta(hours=1))
    assert await _values(runtime) == ([{}, {}], [])


async def _values(runtime: Runtime) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Of runs and of messages, in their order."""
    async with runtime.db.read() as session:
        of_runs = await session.scalars(select(Run.variables).order_by(Run.id))
        of_mails = await session.scalars(select(MessagePart.variables).order_by(MessagePart.seq))
        return list(of_runs), list(of_mails)
