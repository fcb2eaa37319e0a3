"""Mail that programs send by SMTP, on a real socket: what becomes of it, and what is refused."""

import asyncio
import re
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from newsletter.kit import ratelimit
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.smtpd.submitting import END, MAIL, SENDER, by_client, by_hand, listening, opening, plain, subjects

DOCS = Path(__file__).parents[2] / "docs" / "smtp-submission.md"


async def test_a_mail_of_the_standard_library_arrives_whole(
    client: Client, runtime: Runtime, login: tuple[str, str]
) -> None:
    mail = EmailMessage()
    mail["From"] = f"Acmé News <{SENDER}>"
    mail["To"] = "Ada Lovelace <ada@example.com>, elsewhere@example.com"
    mail["Cc"] = "grace@example.com"
    mail["Reply-To"] = "Help <help@acme.example.com>"
    mail["Subject"] = "Grüße ☕"
    mail["X-Order"] = "42"
    mail["List-Unsubscribe"] = "<https://elsewhere.example.com>"
    mail["X-Newsletter-Tags"] = "receipt, shop:blue"
    mail["Message-ID"] = "<one@app.example.net>"
    mail.set_content("Danke für alles\n")
    mail.add_alternative('<p>Danke <img src="cid:logo"></p>', subtype="html")
    _, html = mail.iter_parts()
    assert isinstance(html, EmailMessage)
    html.add_related(b"\x89PNG", "image", "png", cid="<logo>", filename="logo.png")
    mail.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="Rechnung ä.pdf")
    people = ["ada@example.com", "grace@example.com", "hidden@example.com"]

    def talk(smtp: smtplib.SMTP) -> str:
        smtp.login(*login)
        smtp.mail("bounces@elsewhere.example.com")
        for each in people:
            smtp.rcpt(each)
        code, said = smtp.data(mail.as_bytes())
        assert code == 250, said
        return said.decode().split()[1]

    async with listening(runtime) as port:
        message_id = await by_client(port, talk)
    await run_due(runtime)
    found = await client.data("GET", f"/messages/{message_id}")
    assert (found["status"], found["to"], found["role"]) == ("sent", "ada@example.com", "to")
    assert found["tags"] == ["receipt", "shop:blue"]
    arrived = await client.data("GET", "/sandbox/messages")
    assert {each["to_email"] for each in arrived} == set(people)
    [noted] = await client.data("GET", "/audit-log", params={"method": "SMTP"})
    assert (noted["route"], noted["status"], noted["subject"]) == ("DATA", 250, message_id)
    assert (noted["ip"], noted["action"]) == ("127.0.0.1", "call")
    one = await client.data("GET", f"/sandbox/messages/{arrived[0]['id']}")
    headers = {each["name"].lower(): each["value"] for each in one["headers"]}
    assert one["subject"] == "Grüße ☕"
    assert "Danke für alles" in one["text"]
    assert "cid:logo" in one["html"]
    assert headers["x-order"] == "42"
    assert "hidden@example.com" not in headers["to"] + headers["cc"]
    assert "elsewhere@example.com" not in headers["to"]
    assert headers["reply-to"] == "help@acme.example.com"
    assert not {"list-unsubscribe", "x-newsletter-tags"} & headers.keys()


async def test_a_client_that_lost_the_answer_sends_once(
    client: Client, runtime: Runtime, login: tuple[str, str]
) -> None:
    named = MAIL.replace(b"Subject", b"Message-ID: <a@example.net>\r\nDate: %d\r\nSubject")
    async with listening(runtime) as port:
        first = await by_hand(port, opening(login) + named % 1 + END)
        again = await by_hand(port, opening(login) + named % 2 + END)
        other = await by_hand(port, opening(login) + (named % 1).replace(b"Hello", b"Goodbye") + END)
        bob = await by_hand(port, opening(login, "bob@example.com") + named % 1 + END)
    ids = [said.split(b"250 2.0.0 msg_")[1][:32] for said in (first, again, bob)]
    assert ids[0] == ids[1] != ids[2]
    assert b"\r\n550 5.6.0 This Idempotency-Key was used" in other
    assert len(await subjects(client, runtime)) == 2


@pytest.mark.parametrize(
    ("mail", "refused"),
    [
        (MAIL.replace(SENDER.encode(), b"ceo@other.example.com"), None),
        (MAIL.replace(b"Subject: Hi\r\n", b""), b"550 5.6.0 subject: "),
        (MAIL.replace(b"From: ", b"X-From: "), b"550 5.6.0 it has no From header"),
        (
            MAIL.replace(b"To: ", b"From: a@example.com\r\nTo: "),
            b"550 5.6.0 it has more than one From header",
        ),
        (MAIL.replace(b"acme.example.com", b"acme.example.com, b@example.com"), b"must name one address"),
        (MAIL.replace(b"Hi", b"Hi {{ name }}"), b"550 5.6.0 subject: "),
        (MAIL.replace(b"\r\n\r\nHello", b"\r\nX-SMTPAPI: {}\r\n\r\nHello"), b"'X-SMTPAPI' cannot be set"),
        (MAIL.replace(b"Hi", b"=?utf-8?q?a=0D=0ABcc:_x=40example.com?="), b"one line"),
        (MAIL.replace(b"Hello", b"a\r.\r\r\n"), b"550 5.6.0 it has a CR without LF"),
        (MAIL.replace(b"Hello", b"\0"), b"the NUL character"),
        (MAIL.replace(b"Hello", b""), b"550 5.6.0 html: is missing"),
        (MAIL.replace(b"Hi", b"x" * 25_000), b"more than 20,000 characters"),
        (MAIL.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n"), b"'nonsense'"),
        (MAIL.replace(b"\r\n\r\n", b"\r\nContent-Type: multipart/mixed\r\n\r\n"), b"no boundary"),
        # Nobody is named, or cannot be read: the library's own words, which change with Python's patches.
        (MAIL.replace(b"From: ", b"From: " + b"(" * 9_000), b"550 5.6.0 "),
        (
            MAIL.replace(b"\r\n\r\n", b"\r\nContent-Disposition: attachment; filename*=idna''a\r\n\r\n"),
            b"550 5.6.0 a header field cannot be read",
        ),
        (
            MAIL.replace(b"\r\n\r\n", b"\r\nContent-Disposition: x; filename*0*=a; filename*=a\r\n\r\n"),
            b"550 5.6.0 a header field cannot be read",
        ),
    ],
)
async def test_a_mail_that_is_refused_and_why(
    runtime: Runtime, client: Client, login: tuple[str, str], mail: bytes, refused: bytes | None
) -> None:
    async with listening(runtime) as port:
        said = await by_hand(port, opening(login) + mail + END)
    answer = said.split(b"354 ")[1].split(b"\r\n")[1]
    if refused is None:  # Nothing leaves a sandbox, so there any sender may be tried.
        assert answer.startswith(b"250 2.0.0 msg_")
    else:
        assert refused in answer
        assert answer.startswith(b"550 5.6.0")
    assert said.endswith(b"221 2.0.0 bye\r\n"), said
    assert len(await subjects(client, runtime)) == (refused is None)


async def test_who_a_mail_is_to_is_said_by_its_envelope_where_the_header_cannot_be_read(
    runtime: Runtime, client: Client, login: tuple[str, str]
) -> None:
    """Some patches of Python take 9,000 comments inside of each other for nobody, others raise."""
    deep = MAIL.replace(b"To: ", b"To: " + b"(" * 9_000)
    async with listening(runtime) as port:
        said = await by_hand(port, opening(login) + deep + END)
    answer = said.split(b"354 ")[1].split(b"\r\n")[1]
    assert answer.startswith((b"250 2.0.0 msg_", b"550 5.6.0 a header field cannot be read"))


async def test_a_mail_ends_where_smtp_says_and_nowhere_else(
    runtime: Runtime, client: Client, login: tuple[str, str]
) -> None:
    """What some servers took for an end of mail let strangers put a second mail into one."""
    smuggled = (
        b"\n.\nMAIL FROM:<x@example.com>\nRCPT TO:<bob@example.com>\nDATA\nSubject: Two\n\nx\n.\r\nHello"
    )
    async with listening(runtime) as port:
        said = await by_hand(port, opening(login) + MAIL.replace(b"Hello", smuggled) + END)
    assert said.count(b"250 2.0.0 msg_") == 1
    assert said.endswith(b"221 2.0.0 bye\r\n")
    assert await subjects(client, runtime) == ["Hi"]


async def test_a_sender_that_is_not_the_projects_is_refused(
    runtime: Runtime, make_client: MakeClient, make_project: MakeProject
) -> None:
    live = await make_client(await make_project(is_test=False))
    made = await live.data("POST", "/smtp-credentials", 201, json={"name": "shop"})
    narrow = {"name": "shop", "from_domains": ["shop.example.com"]}
    bound = await live.data("POST", "/smtp-credentials", 201, json=narrow)
    foreign = MAIL.replace(SENDER.encode(), b"ceo@other.example.com")
    async with listening(runtime) as port:
        for each, mail in ((made, foreign), (bound, MAIL)):
            said = await by_hand(port, opening((each["username"], each["password"])) + mail + END)
            assert b"\r\n550 5.7.1 " in said


async def test_more_mails_than_the_plan_has_calls_are_for_later(
    runtime: Runtime, make_client: MakeClient, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "WINDOW_SECONDS", 3600.0)
    free = await make_client(await make_project(plan="free"))
    made = await free.data("POST", "/smtp-credentials", 201, json={"name": "shop"})
    login = made["username"], made["password"]
    async with listening(runtime) as port:
        calls = await asyncio.gather(*(by_hand(port, opening(login) + MAIL + END) for _ in range(61)))
    assert sum(b"250 2.0.0 msg_" in said for said in calls) == 60
    assert sum(b"\r\n450 4.7.0 Too many calls" in said for said in calls) == 1


async def test_blind_copies_alone_do_not_show_to_each_other(
    runtime: Runtime, client: Client, login: tuple[str, str]
) -> None:
    hidden = MAIL.replace(b"To: ada@example.com", b"To: undisclosed-recipients:;")
    people = ["ada@example.com", "bob@example.com", "cy@example.com"]
    async with listening(runtime) as port:
        assert b"250 2.0.0 msg_" in await by_hand(port, opening(login, *people) + hidden + END)
    await run_due(runtime)
    arrived = await client.data("GET", "/sandbox/messages")
    assert sorted(each["to_email"] for each in arrived) == people
    for each in arrived:
        one = await client.data("GET", f"/sandbox/messages/{each['id']}")
        headers = {header["name"].lower(): header["value"] for header in one["headers"]}
        assert (headers["to"], headers.get("cc")) == (each["to_email"], None)


async def test_lines_sizes_and_recipients_have_limits(runtime: Runtime, login: tuple[str, str]) -> None:
    people = [f"p{number}@example.com" for number in range(51)]
    signed_in = b"EHLO x\r\n" + plain(login)
    async with listening(runtime, max_bytes=10_000) as port:
        early = await by_hand(port, signed_in + b"MAIL FROM:<> SIZE=20000\r\nQUIT\r\n")
        late = await by_hand(port, opening(login) + MAIL + b"x" * 20_000 + b"\r\n" + END)
        many = await by_hand(port, opening(login, *people)[:-6] + b"QUIT\r\n")
        strange = await by_hand(
            port,
            signed_in
            + b"MAIL FROM:<> XUNKNOWN=1\r\nMAIL FROM:<> BODY=8BITMIME SIZE=9\r\nRCPT TO:<no>\r\nQUIT\r\n",
        )
        bare = await by_hand(port, b"EHLO x\nNOOP\r\n")
        long = await by_hand(port, b"x" * 100_000)
    assert b"\r\n552 5.3.4" in early
    assert b"\r\n552 5.3.4" in late
    assert many.count(b"250 2.1.5") == 50
    assert b"\r\n452 4.5.3" in many
    assert b"\r\n555 5.5.4" in strange
    assert b"\r\n553 5.1.3" in strange
    assert bare.endswith(b"500 5.5.2 end each line with CRLF\r\n")
    assert long.endswith(b"500 5.5.2 the line is too long\r\n")


@pytest.mark.parametrize(
    ("limit", "refused"),
    [
        ({"max_lines": 1_000}, b"more lines"),
        ({"max_parts": 1}, b"more than 1 parts"),
        ({"max_nested_parts": 1}, b"more parts inside of parts"),
        ({"max_fields": 10}, b"more than 10 header fields"),
        ({"max_field_characters": 1_000}, b"more than 1,000 characters"),
    ],
)
async def test_how_much_is_read_of_a_mail_is_the_operators_choice(
    runtime: Runtime, login: tuple[str, str], limit: dict[str, Any], refused: bytes
) -> None:
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nHello\r\n--c--\r\n--b--\r\n"
    head = b"X-Long: " + b"x" * 800 + b"\r\n " + b"y" * 300 + b"\r\n" + b"Received: by x\r\n" * 10
    head += b"Content-Type: multipart/mixed; boundary=b\r\n"
    mail = MAIL.replace(b"\r\n\r\nHello\r\n", b"\r\n" + head + b"\r\n" + inner + b"\r\n" * 1_000)
    async with listening(runtime, **limit) as port:
        said = await by_hand(port, opening(login) + mail + END)
    assert b"\r\n550 5.6.0 " in said
    assert refused in said.split(b"354 ")[1]


async def test_a_hundred_megabytes_are_passed_over(runtime: Runtime, login: tuple[str, str]) -> None:
    async with listening(runtime, max_bytes=1_000_000) as port:
        chunk = b"x" * 998 + b"\r\n"
        said = await by_hand(port, opening(login) + MAIL, *([chunk * 1000] * 100), END)
    assert b"\r\n552 5.3.4 the mail is too large\r\n221" in said


async def test_who_is_slow_is_let_go(runtime: Runtime, login: tuple[str, str]) -> None:
    async with listening(runtime, command_seconds=0.2, data_seconds=0.2) as port:
        for sent in (b"", b"EHLO x\r\nAUTH LOGIN\r\n", opening(login) + b"half a mail\r\n"):
            assert (await by_hand(port, sent)).endswith(b"421 4.4.2 too slow\r\n")


async def test_while_the_database_is_away_the_client_keeps_the_mail(
    runtime: Runtime, login: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise ConnectionRefusedError

    async with listening(runtime) as port:
        monkeypatch.setattr("newsletter.transactional.postbox.Postbox.send", away)
        said = await by_hand(port, opening(login) + MAIL + END)
        monkeypatch.setattr("newsletter.accounts.keys.KeyRing.principal", away)
        early = await by_hand(port, b"EHLO x\r\n" + plain(login) + b"QUIT\r\n")
    assert b"\r\n451 4.3.0 not now" in said
    assert b"\r\n454 4.7.0 not now" in early


async def test_the_example_of_the_documentation(
    runtime: Runtime, client: Client, login: tuple[str, str], tmp_path: Path
) -> None:
    """As it stands there, but for the place, the credential, and the authority that made the certificate."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    code = (
        code.replace("smtp.example.com", "127.0.0.1")
        .replace("prj_…", login[0])
        .replace("nl_live_…", login[1])
    )
    code = code.replace("news@example.com", SENDER)
    async with listening(runtime, folder=tmp_path) as port:
        environment = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        command = [sys.executable, "-c", code.replace("587", str(port))]
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert await subjects(client, runtime) == ["Your receipt"]
