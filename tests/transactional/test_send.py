"""`POST /send`: one mail, from the call to the inbox."""

import base64

import pytest

from newsletter.accounts.project import Project
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import mail_to
from tests.transactional.conftest import MAIL, delivered, message, refused, send

PIXEL = base64.b64encode(b"\x89PNG picture").decode()


async def test_a_mail_arrives_and_its_message_says_so(client: Client, runtime: Runtime) -> None:
    sent = await send(client)
    assert sent["status"] == "queued"
    found = await message(client, sent["id"])
    assert (found["status"], found["tags"], found["subject"]) == (
        "queued",
        ["onboarding"],
        "Welcome to Acme",
    )
    await run_due(runtime)
    mail = await mail_to(client, "alice@example.com")
    assert mail["subject"] == "Welcome to Acme"
    assert "Thanks for joining." in mail["html"]
    assert mail["text"].strip() == "Thanks for joining."
    found = await message(client, sent["id"])
    assert found["status"] == "sent"
    assert [event["type"] for event in found["events"]] == ["message.queued", "message.accepted"]
    assert [(each["number"], each["outcome"]) for each in found["history"]] == [(1, "sent")]
    listed = (await client.get("/messages")).json()["data"]
    assert [each["id"] for each in listed] == [sent["id"]]


async def test_a_transactional_mail_has_neither_footer_nor_unsubscribe_header(
    client: Client, runtime: Runtime
) -> None:
    await send(client)
    mail = await delivered(client, runtime, "alice@example.com")
    assert mail["List-Unsubscribe"] is None
    assert "nsubscribe" not in mail.as_string()
    assert mail["From"] == "Acme <hello@acme.example.com>"


async def test_headers_show_to_and_cc_and_nobody_of_bcc(client: Client, runtime: Runtime) -> None:
    sent = await send(
        client,
        to=["Alice Doe <alice@example.com>", "bob@example.com"],
        cc="Café Owner <carol@example.com>".replace("Café", "Caf\u00e9"),
        bcc=["dave@example.com", "BOB@example.com"],
    )
    roles = [(each["email"], each["role"], each["status"]) for each in sent["messages"]]
    assert roles == [
        ("alice@example.com", "to", "queued"),
        ("bob@example.com", "to", "queued"),
        ("carol@example.com", "cc", "queued"),
        ("dave@example.com", "bcc", "queued"),
    ]
    for address in ("alice@example.com", "bob@example.com", "carol@example.com", "dave@example.com"):
        mail = await delivered(client, runtime, address)
        assert mail["To"] == "Alice Doe <alice@example.com>, bob@example.com"
        assert mail["Cc"] == "Caf\u00e9 Owner <carol@example.com>"
        assert mail["Bcc"] is None
        assert "dave" not in mail.as_string()
    found = await message(client, sent["messages"][3]["id"])
    assert found["recipients"] == [each["id"] for each in sent["messages"]]


async def test_a_variable_that_no_database_can_hold_is_refused(client: Client) -> None:
    named = await refused(client, html="{{ name }}", variables={"name": "a\0b"})
    assert named == {"variables": ["'name' must not contain the NUL character"]}


@pytest.mark.parametrize(
    "at", ["tomorrow", "2099-01-01", "2099-01-01T09:00:00", "2099-02-30T09:00:00Z", 4070908800]
)
async def test_a_wrong_time_is_refused_with_one_to_write(client: Client, at: object) -> None:
    (said,) = (await refused(client, scheduled_at=at))["scheduled_at"]
    assert said.endswith("such as 2026-11-21T09:00:00Z (RFC 3339)")


async def test_variables_are_filled_in_and_escaped(client: Client, runtime: Runtime) -> None:
    await send(
        client,
        subject="Order {{ order }}",
        html='<p>Hi {{ name }}, <a href="https://shop.example.com/{{ order }}">see it</a></p>',
        variables={"name": "<b>Al & Co</b>", "order": "7/8"},
    )
    mail = await delivered(client, runtime, "alice@example.com")
    html = mail.get_body(("html",)).get_content()
    assert "Hi &lt;b&gt;Al &amp; Co&lt;/b&gt;," in html
    assert 'href="https://shop.example.com/7%2F8"' in html
    assert mail["Subject"] == "Order 7/8"
    assert "<b>Al & Co</b>" in mail.get_body(("plain",)).get_content()


async def test_an_unknown_token_is_named(client: Client) -> None:
    assert "nope" in (await refused(client, html="<p>{{ nope }}</p>"))["html"][0]
    assert "nope" in (await refused(client, subject="{{ nope }}"))["subject"][0]
    assert "nope" in (await refused(client, text="{{ nope }}"))["text"][0]


async def test_a_tag_may_not_stand_where_no_escaping_helps(client: Client) -> None:
    for html in (
        "<a href={{ name }}>x</a>",
        '<p style="{{ name }}">x</p>',
        '<p onclick="{{ name }}">x</p>',
        "<script>{{ name }}</script>",
        "<style>{{ name }}</style>",
        "<{{ name }}>",
        '<a href="javascript:{{ name }}">x</a>',
    ):
        assert "html" in await refused(client, html=html, variables={"name": "x"}), html


async def test_html_stays_as_it_was_written(client: Client, runtime: Runtime) -> None:
    page = (
        "<!doctype html><html><head><style>@media (max-width:600px){.a{color:red}}</style></head>"
        '<body class="a"><!--[if mso]><table><![endif]--><p>Hi</p></body></html>'
    )
    await send(client, html=page)
    mail = await delivered(client, runtime, "alice@example.com")
    assert mail.get_body(("html",)).get_content().strip() == page


async def test_text_alone_is_sent_as_text(client: Client, runtime: Runtime) -> None:
    await send(client, html=None, text="Hello {{ name }},\n.dot first\n", variables={"name": "Al"})
    mail = await delivered(client, runtime, "alice@example.com")
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == "Hello Al,\n.dot first\n\n"


async def test_a_template_goes_around_the_body(client: Client, runtime: Runtime) -> None:
    mjml = (
        "<mjml><mj-body><mj-section><mj-column><mj-text>{{ content }}</mj-text>"
        "<mj-text>Code: {{ code }} for {{ first_name }}</mj-text></mj-column></mj-section></mj-body></mjml>"
    )
    variables = [{"name": "code", "default": "none"}]
    made = await client.data(
        "POST", "/templates", 201, json={"name": "Code", "mjml": mjml, "variables": variables}
    )
    await send(
        client,
        template_id=made["id"],
        html="<p>Hi {{ first_name }}</p>",
        variables={"code": "<42>", "first_name": "Al"},
    )
    mail = await delivered(client, runtime, "alice@example.com")
    html = mail.get_body(("html",)).get_content()
    assert "Code: &lt;42&gt; for Al" in html
    assert "Hi Al" in html
    assert "nsubscribe" not in mail.as_string()
    assert "template_id" in await refused(client, template_id="tpl_01k9x3v7m8e5tbn2c4r6p0qzaw")


async def test_files_go_with_the_mail(client: Client, runtime: Runtime) -> None:
    invoice = b"%PDF-1.7 \x00\xff" * 1000
    await send(
        client,
        html='<p><img src="cid:logo"></p>',
        attachments=[
            {"filename": "invoice \u00e4\u00f6.pdf", "content": base64.b64encode(invoice).decode()},
            {"filename": "logo.png", "content": PIXEL, "content_id": "logo"},
        ],
    )
    mail = await delivered(client, runtime, "alice@example.com")
    assert mail.get_content_type() == "multipart/mixed"
    (attached,) = [part for part in mail.walk() if part.get_content_disposition() == "attachment"]
    assert (attached.get_filename(), attached.get_content_type()) == (
        "invoice \u00e4\u00f6.pdf",
        "application/pdf",
    )
    assert attached.get_content() == invoice
    (inline,) = [part for part in mail.walk() if part["Content-ID"] == "<logo>"]
    assert inline.get_content() == b"\x89PNG picture"
    assert mail.get_body(("html",)).get_content().strip() == '<p><img src="cid:logo"></p>'


async def test_files_have_limits(make_client: MakeClient, project: Project, runtime: Runtime) -> None:
    client = await make_client(project)
    over = base64.b64encode(bytes(runtime.settings.limits.attachment_bytes + 1)).decode()
    assert "attachments" in await refused(client, attachments=[{"filename": "a.bin", "content": over}])
    one = {"filename": "a.txt", "content": "aGk="}
    assert "attachments" in await refused(client, attachments=[one] * 21)
    assert "attachments.0.content" in await refused(client, attachments=[one | {"content": "a"}])
    assert "attachments.0.content_type" in await refused(
        client, attachments=[one | {"content_type": "message/rfc822"}]
    )


async def test_a_large_file_is_taken(client: Client, runtime: Runtime) -> None:
    large = base64.b64encode(bytes(6_000_000)).decode()
    await send(client, attachments=[{"filename": "a.bin", "content": large}])
    mail = await delivered(client, runtime, "alice@example.com")
    (attached,) = [part for part in mail.walk() if part.get_content_disposition() == "attachment"]
    assert attached.get_content() == bytes(6_000_000)


INJECTION = "x\r\nBcc: eve@example.com"


INJECTED: list[tuple[str, object]] = [
    ("subject", INJECTION),
    ("from", f"Acme{INJECTION} <hello@acme.example.com>"),
    ("from", "hello@acme.example.com\r\nBcc: eve@example.com"),
    ("to", f"A{INJECTION} <alice@example.com>"),
    ("to", ["alice@example.com\nBcc: eve@example.com"]),
    ("cc", "alice@example.com\r\nBcc: eve@example.com"),
    ("bcc", f"A{INJECTION} <alice@example.com>"),
    ("reply_to", "a@example.com\r\nBcc: eve@example.com"),
    ("headers", {"X-A": INJECTION}),
    ("headers", {"X-A\r\nBcc": "eve@example.com"}),
    ("headers", {"Bcc": "eve@example.com"}),
    ("headers", {"X-SMTPAPI": '{"to": ["eve@example.com"]}'}),
    ("headers", {"Content-Type": "text/plain"}),
    ("headers", {"References": "no message id"}),
    ("headers", {"X-A": "1", "x-a": "2"}),
    ("tags", [INJECTION]),
    ("tags", {"a": INJECTION}),
    ("attachments", [{"filename": INJECTION, "content": "aGk="}]),
    ("attachments", [{"filename": "a", "content": "aGk=", "content_type": f"a/b{INJECTION}"}]),
    ("attachments", [{"filename": "a", "content": "aGk=", "content_id": INJECTION}]),
]


async def test_nothing_starts_a_header_of_its_own(client: Client) -> None:
    for field, value in INJECTED:
        errors = await refused(client, **{field: value})
        assert any(name.startswith(field) for name in errors), (field, value)


async def test_a_variable_cannot_break_a_header(client: Client, runtime: Runtime) -> None:
    await send(client, subject="Hi {{ name }}", variables={"name": INJECTION})
    mail = await delivered(client, runtime, "alice@example.com")
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Hi x  Bcc: eve@example.com".replace("  ", " ")


async def test_safe_headers_arrive(client: Client, runtime: Runtime) -> None:
    thread = "<a-long-id-of-an-earlier-mail-that-no-line-would-hold-together-0123456789@mail.example.com>"
    await send(
        client, headers={"X-Order": "42", "In-Reply-To": thread, "References": f"{thread} <b@example.com>"}
    )
    mail = await delivered(client, runtime, "alice@example.com")
    assert mail["X-Order"] == "42"
    assert mail["In-Reply-To"] == thread
    assert mail["References"].split() == [thread, "<b@example.com>"]


async def test_every_bad_field_is_named_at_once(client: Client) -> None:
    errors = await refused(client, to=[], subject="", html=" ", scheduled_at="2020-01-01T00:00:00Z", nope=1)
    assert {"subject", "html", "scheduled_at", "nope"} <= errors.keys()
    assert "to" in await refused(client, to=[])
    assert "to" in await refused(client, to=[f"a{number}@example.com" for number in range(51)])
    assert "html" in await refused(client, html=None)


async def test_tags_may_be_an_object(client: Client) -> None:
    sent = await send(client, tags={"type": "welcome", "beta": True})
    assert (await message(client, sent["id"]))["tags"] == ["type:welcome", "beta:true"]


async def test_the_projects_sender_stands_in(client: Client, runtime: Runtime) -> None:
    await client.data(
        "PATCH", "/project", json={"from_name": "Acme News", "reply_to": "help@acme.example.com"}
    )
    await send(client, **{"from": None})
    mail = await delivered(client, runtime, "alice@example.com")
    assert mail["From"] == "Acme News <news@acme.example.com>"
    assert mail["Reply-To"] == "help@acme.example.com"


async def test_a_live_project_sends_only_as_itself(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    live = await make_project(is_test=False)
    client = await make_client(live)
    server = {"name": "Ours", "type": "smtp", "config": {"host": "smtp.example.com"}, "is_active": True}
    await client.expect_error(
        "POST", "/send", 409, "sending_server_missing", json=MAIL | {"from": "news@acme.example.com"}
    )
    await client.data("POST", "/sending-servers", 201, json=server)
    assert "from" in await refused(client, **{"from": "ceo@bank.example.org"})
    assert (await send(client, **{"from": "NEWS@acme.example.com"}))["status"] == "queued"
    await client.data("POST", "/sending-domains", 201, json={"domain": "bank.example.org"})
    assert (await send(client, **{"from": "ceo@bank.example.org"}))["status"] == "queued"
    assert "from" in await refused(client, **{"from": "ceo@sub.bank.example.org"})


async def test_a_campaign_of_a_live_project_may_be_from_a_domain_that_a_single_mail_may_not(
    make_project: MakeProject, make_client: MakeClient
) -> None:
    client = await make_client(await make_project(is_test=False))
    server = {"name": "Ours", "type": "smtp", "config": {"host": "smtp.example.com"}, "is_active": True}
    await client.data("POST", "/sending-servers", 201, json=server)
    await client.data("PATCH", "/project", json={"postal_address": "1 Main Street, Springfield"})
    listed = await client.data("POST", "/lists", 201, json={"name": "All"})
    reader = {"list_id": listed["id"], "email": "alice@example.com"}
    await client.data("POST", "/subscribers", 201, json=reader)
    foreign = "news@elsewhere.example.org"
    assert "from" in await refused(client, **{"from": foreign})
    body = {
        "list_id": listed["id"],
        "subject": "Hi",
        "html": "<p>Hi</p>",
        "from_email": foreign,
        "send": True,
    }
    made = await client.data("POST", "/campaigns", 201, json=body)
    assert (made["status"], made["from_email"]) == ("sending", foreign)


async def test_a_key_sends_only_from_its_domains(make_client: MakeClient, project: Project) -> None:
    client = await make_client(project, from_domains=("shop.example.com",))
    await client.expect_error("POST", "/send", 403, "forbidden", json=MAIL)
    assert (await send(client, **{"from": "a@shop.example.com"}))["status"] == "queued"


async def test_the_quota_is_reserved_by_the_call(make_project: MakeProject, make_client: MakeClient) -> None:
    client = await make_client(await make_project(plan="free"))
    limit = 1_000
    items = [MAIL | {"to": f"reader{number}@example.com"} for number in range(limit - 1)]
    bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    assert bulk["accepted"] == limit - 1
    error = await client.expect_error(
        "POST", "/send", 429, "quota_exceeded", json=MAIL | {"to": ["a@example.com", "b@example.com"]}
    )
    assert error["message"]
    assert (await send(client))["status"] == "queued"
    await client.expect_error("POST", "/send", 429, "quota_exceeded", json=MAIL)
