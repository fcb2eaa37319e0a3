"""`POST /send/bulk`: up to a thousand mails, of which bad ones fail alone."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, func, select

from newsletter.delivery import urgency
from newsletter.delivery.models import Batch, Content, Mailing, Message
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due, waiting
from tests.transactional.conftest import MAIL, delivered, message

GOOD = {"to": "alice@example.com", "subject": "Hi", "html": "<p>Hi</p>"}
BAD: list[tuple[object, str]] = [
    ("text", "body"),
    (None, "body"),
    ([], "body"),
    ({}, "to"),
    (GOOD | {"to": "nobody"}, "to"),
    (GOOD | {"to": []}, "to"),
    (GOOD | {"to": 7}, "to"),
    (GOOD | {"to": ["a@example.com", 7]}, "to.1"),
    (GOOD | {"to": [f"a{number}@example.com" for number in range(51)]}, "to"),
    (GOOD | {"from": "x"}, "from"),
    (GOOD | {"subject": ""}, "subject"),
    (GOOD | {"subject": "x" * 301}, "subject"),
    (GOOD | {"subject": "a\r\nb"}, "subject"),
    (GOOD | {"subject": None}, "subject"),
    (GOOD | {"html": None}, "html"),
    (GOOD | {"scheduled_at": "9999-12-31T23:59:59Z"}, "scheduled_at"),
    (GOOD | {"html": "{{ nope }}"}, "html"),
    (GOOD | {"html": "{% if x %}"}, "html"),
    (GOOD | {"html": "\0"}, "html"),
    (GOOD | {"html": "x" * 500_001}, "html"),
    (GOOD | {"text": "{{"}, "text"),
    (GOOD | {"template_id": "tpl_x"}, "template_id"),
    (GOOD | {"template_id": "tpl_01k9x3v7m8e5tbn2c4r6p0qzaw"}, "template_id"),
    (GOOD | {"variables": {"1x": "y"}}, "variables.1x"),
    (GOOD | {"variables": {"x": {}}}, "variables.x"),
    (GOOD | {"variables": {"unsubscribe_url": "https://evil.example.org"}}, "variables"),
    (GOOD | {"tags": 7}, "tags"),
    (GOOD | {"tags": {"a": {}}}, "tags"),
    (GOOD | {"tags": [""]}, "tags.0"),
    (GOOD | {"headers": {"Bcc": "eve@example.com"}}, "headers"),
    (GOOD | {"attachments": [{"filename": "../a", "content": "aGk="}]}, "attachments.0.filename"),
    (GOOD | {"attachments": [{"filename": "a", "content": "%"}]}, "attachments.0.content"),
    (GOOD | {"scheduled_at": "tomorrow"}, "scheduled_at"),
    (GOOD | {"scheduled_at": "2099-01-01T00:00:00"}, "scheduled_at"),
    (GOOD | {"routing": {"purpose": "spam"}}, "routing.purpose"),
    (GOOD | {"nope": 1}, "nope"),
    (GOOD | {"to": ["b@example.com", "Al <a=?b@example.com>"]}, "to"),
    (GOOD | {"cc": "a=?b@example.com"}, "cc"),
    (GOOD | {"to": [], "bcc": "a=?b@example.com"}, "bcc"),
    (GOOD | {"reply_to": "j\u00f6@example.com"}, "reply_to"),
]


async def test_a_character_that_no_mail_can_hold_spoils_neither_its_mail_nor_the_others(
    client: Client, runtime: Runtime
) -> None:
    template = (await client.data("GET", "/templates"))[0]["id"]
    html = "<p>Hi&#xfffe;&#xffff;&#1; there</p>"
    items = [
        GOOD | {"to": "a@example.com", "html": html, "template_id": template},
        GOOD | {"to": "b@example.com", "html": html},
        GOOD | {"to": "c@example.com", "html": "<p>{{ 'x&#" + "9" * 5_000 + ";' }}</p>"},
        GOOD | {"to": "d@example.com"},
    ]
    bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    assert [each["status"] for each in bulk["results"]] == ["queued", "queued", None, "queued"]
    assert list(bulk["results"][2]["error"]["errors"]) == ["html"]
    mail = await delivered(client, runtime, "a@example.com")
    assert "Hi there" in mail.get_body(("html",)).get_content()
    assert "Hi" in (await delivered(client, runtime, "b@example.com")).get_body(("html",)).get_content()


async def test_bad_items_fail_alone_each_with_its_reason(client: Client, runtime: Runtime) -> None:
    items = [each for bad, _ in BAD for each in (bad, GOOD | {"to": f"a{len(str(bad))}@example.com"})]
    bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    assert (bulk["total"], bulk["accepted"], bulk["failed"]) == (2 * len(BAD), len(BAD), len(BAD))
    assert [each["index"] for each in bulk["results"]] == list(range(2 * len(BAD)))
    for (bad, field), result in zip(BAD, bulk["results"][::2], strict=True):
        assert result["error"]["code"] == "validation_failed", bad
        assert any(name.startswith(field) for name in result["error"]["errors"]), (bad, result["error"])
        assert result["id"] is None
    for result in bulk["results"][1::2]:
        assert (result["status"], result["error"]) == ("queued", None)
    await run_due(runtime)
    assert all([(await message(client, each["id"]))["status"] == "sent" for each in bulk["results"][1::2]])


async def test_each_gets_what_is_theirs(client: Client, runtime: Runtime) -> None:
    names = ["ada", "bob", "carol"]
    template = {"subject": "For {{ name }}", "html": "<p>Dear {{ name }}</p>"}
    items = [{"to": f"{name}@example.com", "variables": {"name": name.title()}, **template} for name in names]
    items.append({"to": "ada@example.com", "subject": "Another", "text": "For Ada only"})
    bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    assert bulk["accepted"] == 4
    for name in names[1:]:
        mail = await delivered(client, runtime, f"{name}@example.com")
        assert mail["Subject"] == f"For {name.title()}"
        assert f"Dear {name.title()}" in mail.get_body(("html",)).get_content()
    found = await client.data("GET", "/sandbox/messages", params={"to": "ada@example.com"})
    assert {each["subject"] for each in found} == {"Another", "For Ada"}


@contextmanager
def statements(runtime: Runtime) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    engine = runtime.db.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_thousand_items_are_one_mailing_and_few_statements(client: Client, runtime: Runtime) -> None:
    items = [
        MAIL | {"to": f"reader{number}@example.com", "html": "<p>{{ n }}</p>", "variables": {"n": number}}
        for number in range(500)
    ]
    items += [
        MAIL | {"to": f"other{number}@example.com", "html": f"<p>Hello {number}</p>"} for number in range(500)
    ]
    with statements(runtime) as seen:
        bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    assert (bulk["accepted"], bulk["failed"], bulk["suppressed"]) == (1_000, 0, 0)
    assert len(seen) < 60, seen
    async with runtime.db.read() as session:
        counted = [
            (await session.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (Mailing, Batch, Content, Message)
        ]
    batches = math.ceil(1_000 / runtime.settings.delivery.batch_size)
    assert counted == [1, batches, 501, 1_000]
    assert await waiting(runtime, urgency.SEND_BULK) == batches


async def test_calls_to_few_go_first_and_those_to_many_and_marketing_do_not(
    client: Client, runtime: Runtime
) -> None:
    def items(count: int, **more: Any) -> list[dict[str, Any]]:
        return [MAIL | more | {"to": f"reader{number}@example.com"} for number in range(count)]

    copies = [f"copy{number}@example.com" for number in range(25)]
    for messages, name in (
        (items(urgency.FEW), urgency.SEND_SINGLE),
        (items(urgency.FEW + 1), urgency.SEND_BULK),
        (items(urgency.FEW + 1, tags=["a"]), urgency.SEND_BULK),
        (items(2, cc=copies), urgency.SEND_BULK),
        (items(1, routing={"purpose": "marketing"}), urgency.SEND_BULK),
    ):
        before = {each: await waiting(runtime, each) for each in urgency.JOBS}
        await client.data("POST", "/send/bulk", 202, json={"messages": messages})
        more = {each for each in urgency.JOBS if await waiting(runtime, each) > before[each]}
        assert more == {name}, (len(messages), messages[0])


async def test_a_call_has_one_to_a_thousand_items(client: Client) -> None:
    for items in ([], [GOOD] * 1_001):
        error = await client.expect_error(
            "POST", "/send/bulk", 422, "validation_failed", json={"messages": items}
        )
        assert "messages" in error["errors"]


async def test_too_many_designs_are_refused_by_item(client: Client, runtime: Runtime) -> None:
    templates = (await client.get("/templates")).json()["data"]
    items = [
        GOOD | {"to": f"a{number}@example.com", "html": f"<p>{number}</p>", "template_id": templates[0]["id"]}
        for number in range(runtime.settings.limits.bulk_designs + 1)
    ]
    bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    assert bulk["failed"] == 1
    assert "template_id" in bulk["results"][-1]["error"]["errors"]


async def test_a_full_plan_takes_none_of_them(make_project: MakeProject, make_client: MakeClient) -> None:
    poor = await make_client(await make_project(plan="free"))
    items = [GOOD | {"to": [f"a{n}@example.com", f"b{n}@example.com"]} for n in range(501)]
    await poor.expect_error("POST", "/send/bulk", 429, "quota_exceeded", json={"messages": items})
    assert (await poor.get("/messages")).json()["data"] == []
