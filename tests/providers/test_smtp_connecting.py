"""Connecting, TLS and signing in: whatever fails here fails no message."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from newsletter.providers.base import Envelope, Receipt, ServerDown
from newsletter.providers.smtp import SMTPProvider, SMTPServer, Timeouts
from tests.providers.scripted_server import CUT, DEFAULTS, HANG, RESET, scripted
from tests.smtp_sink import Sink
from tests.tls import server_context

MESSAGES = [
    Envelope(
        f"msg_{number}", "news@example.com", f"reader{number}@example.com", b"Subject: hi\r\n\r\nHello\r\n"
    )
    for number in range(3)
]
OFFERS_TLS = {"EHLO": ["250-scripted\r\n250 STARTTLS", "250-scripted\r\n250 AUTH PLAIN LOGIN"]}


@asynccontextmanager
async def provider(url: str) -> AsyncIterator[SMTPProvider]:
    smtp = SMTPProvider(SMTPServer.from_url(url), timeouts=Timeouts(connect=2, command=1, data=2, final=2))
    try:
        yield smtp
    finally:
        await smtp.aclose()


async def down(url: str) -> str:
    """The reason, where the check and each message of a call say the same."""
    async with provider(url) as smtp:
        with pytest.raises(ServerDown) as checked:
            await smtp.check()
        results = [item async for item in smtp.send_many(MESSAGES)]
    assert sorted(index for index, _ in results) == [0, 1, 2]
    assert {type(result) for _, result in results} == {ServerDown}
    assert {str(result) for _, result in results} == {checked.value.text}
    return checked.value.text


async def sent(url: str) -> None:
    async with provider(url) as smtp:
        results = [result async for _, result in smtp.send_many(MESSAGES)]
    assert [type(result) for result in results] == [Receipt] * 3, results


async def test_a_closed_port_and_an_unknown_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "cannot connect" in await down(f"smtp://127.0.0.1:{port}")
    assert "cannot connect" in await down("smtp://no-such-host.invalid:25")
    assert "cannot connect" in await down("smtp://" + "a" * 70 + ".invalid:25")


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        ("421 4.3.2 busy", "421 4.3.2 busy"),
        ("554 no service", "554 no service"),
        (CUT, "closed"),
        (RESET, "closed"),
        (HANG, "no answer"),
        ("SSH-2.0-server", "does not speak SMTP"),
    ],
)
async def test_a_greeting_that_is_none(greeting: str, says: str) -> None:
    async with scripted({"GREETING": greeting}) as server:
        assert says in await down(f"smtp://127.0.0.1:{server.port}")


@pytest.mark.parametrize("answer", ["421 4.3.2 bye", "550 not you", CUT, HANG])
async def test_an_ehlo_that_is_refused(answer: str) -> None:
    async with scripted({"EHLO": answer}) as server:
        await down(f"smtp+plain://127.0.0.1:{server.port}")


async def test_a_server_from_before_the_extensions_is_greeted_with_helo() -> None:
    async with scripted({"EHLO": "502 5.5.1 not implemented"}) as server:
        await sent(f"smtp://127.0.0.1:{server.port}")
    assert "HELO" in server.verbs()
    assert "MAIL FROM:<news@example.com>" in server.commands


async def test_the_name_given_with_ehlo() -> None:
    async with scripted() as server:
        smtp = SMTPProvider(
            SMTPServer.from_url(f"smtp://127.0.0.1:{server.port}"), local_hostname="mail.example.com"
        )
        await smtp.check()
        await smtp.aclose()
        assert server.commands == ["EHLO mail.example.com", "QUIT"]
        async with provider(f"smtp://127.0.0.1:{server.port}") as unnamed:
            await unnamed.check()
        name = server.commands[2].removeprefix("EHLO ")
        assert name == "[127.0.0.1]" or "." in name
    for bad in ("mail.example.com\r\nMAIL FROM:<>", "bücher.example", "a b"):
        with pytest.raises(ValueError, match="host name"):
            SMTPProvider(SMTPServer.from_url("smtp://example.com"), local_hostname=bad)


@pytest.mark.parametrize("mode", ["starttls", "implicit", "offered"])
async def test_tls_in_each_mode_with_a_private_authority(mode: str, tmp_path: Path) -> None:
    context = server_context(tmp_path, "127.0.0.1")
    with Sink(
        tls=context, implicit_tls=mode == "implicit", users={"news@example.com": "p@ss:w/rd %"}
    ) as sink:
        url = sink.url.replace("smtp+starttls", "smtp") if mode == "offered" else sink.url
        async with provider(f"{url}?ca={tmp_path / 'ca.pem'}") as smtp:
            said = await smtp.check()
            assert "over TLSv1.3" in said
            assert "signed in as news@example.com" in said
            assert "p@ss" not in said
        await sent(f"{url}?ca={tmp_path / 'ca.pem'}")
        assert [one.secure for one in sink.received] == [True] * 3


@pytest.mark.parametrize("implicit", [True, False])
async def test_a_certificate_of_nobody_or_of_another_is_refused(implicit: bool, tmp_path: Path) -> None:
    with Sink(tls=server_context(tmp_path, "127.0.0.1"), implicit_tls=implicit) as sink:
        assert "not trusted" in await down(sink.url)
        assert "not trusted" in await down(f"smtp{'s' if implicit else ''}://127.0.0.1:{sink.port}")
    with Sink(tls=server_context(tmp_path, "mail.example.com"), implicit_tls=implicit) as sink:
        assert "not trusted" in await down(f"{sink.url}?ca={tmp_path / 'ca.pem'}")
        assert sink.received == []


async def test_a_missing_authority_file_is_named(tmp_path: Path) -> None:
    with Sink() as sink:
        url = f"smtp+starttls://127.0.0.1:{sink.port}?ca={tmp_path / 'none.pem'}"
        assert "none.pem" in await down(url)


async def test_tls_spoken_to_a_plain_server_and_plain_to_a_tls_server(tmp_path: Path) -> None:
    with Sink() as sink:
        await down(f"smtps://127.0.0.1:{sink.port}")
        assert "does not offer STARTTLS" in await down(f"smtp+starttls://127.0.0.1:{sink.port}")
    with Sink(tls=server_context(tmp_path, "127.0.0.1"), implicit_tls=True) as sink:
        assert "no answer" in await down(f"smtp://127.0.0.1:{sink.port}")


@pytest.mark.parametrize("answer", ["454 4.7.0 TLS not available", CUT, HANG])
async def test_a_refused_starttls_is_not_passed_over(answer: str) -> None:
    async with scripted({**OFFERS_TLS, "STARTTLS": answer}) as server:
        await down(f"smtp://127.0.0.1:{server.port}")
    assert "MAIL" not in server.verbs()


async def test_a_handshake_that_never_ends_is_left() -> None:
    async with scripted(OFFERS_TLS) as server:
        # Without a context of its own it says "go on" and then reads the handshake as a command.
        smtp = SMTPProvider(
            SMTPServer.from_url(f"smtp://127.0.0.1:{server.port}"), timeouts=Timeouts(connect=0.3)
        )
        with pytest.raises(ServerDown):
            await smtp.check()
        await smtp.aclose()


async def test_what_is_smuggled_in_before_tls_is_not_believed(tmp_path: Path) -> None:
    context = server_context(tmp_path, "127.0.0.1")
    script = {**OFFERS_TLS, "STARTTLS": "220 go on\r\n250-scripted\r\n250 AUTH PLAIN"}
    async with scripted(script, tls=context) as server:
        reason = await down(f"smtp://127.0.0.1:{server.port}?ca={tmp_path / 'ca.pem'}")
    assert "before TLS" in reason


async def test_a_wrong_password_is_a_server_that_is_down() -> None:
    with Sink(users={"news": "right"}) as sink:
        reason = await down(f"smtp+plain://news:wrong@127.0.0.1:{sink.port}")
        assert "535" in reason
        assert "wrong" not in reason
        assert sink.received == []


async def test_a_server_without_a_sign_in_is_told_no_password() -> None:
    async with scripted({}) as server:
        assert "no sign-in" in await down(f"smtp+plain://news:secret@127.0.0.1:{server.port}")
        assert "no sign-in" in await down(f"smtp://news:secret@127.0.0.1:{server.port}")
    assert set(server.verbs()) == {"EHLO"}


async def test_a_password_is_not_sent_in_the_clear_but_to_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sink(users={"news": "secret"}) as sink:
        await sent(f"smtp://news:secret@127.0.0.1:{sink.port}")
        monkeypatch.setattr("newsletter.providers.smtp.wire.Wire.peer_address", "203.0.113.9")
        assert "was not sent" in await down(f"smtp://news:secret@127.0.0.1:{sink.port}")
        await sent(f"smtp+plain://news:secret@127.0.0.1:{sink.port}")


@pytest.mark.parametrize(
    ("offer", "dialogue"),
    [
        (
            "250-x\r\n250 AUTH LOGIN PLAIN",
            ["AUTH PLAIN AG5ld3MAc2VjcmV0"],
        ),
        ("250-x\r\n250-AUTH=LOGIN\r\n250 AUTH LOGIN", ["AUTH LOGIN", "bmV3cw==", "c2VjcmV0"]),
    ],
)
async def test_each_way_of_signing_in(offer: str, dialogue: list[str]) -> None:
    plain = len(dialogue) == 1
    script = {
        "EHLO": offer,
        "AUTH": "235 2.7.0 welcome" if plain else "334 VXNlcm5hbWU6",
        "BMV3CW==": "334 UGFzc3dvcmQ6",
        "C2VJCMV0": "235 2.7.0 welcome",
    }
    async with (
        scripted(script) as server,
        provider(f"smtp+plain://news:secret@127.0.0.1:{server.port}") as smtp,
    ):
        await smtp.check()
    assert server.commands[1:-1] == dialogue


@pytest.mark.parametrize("answer", ["535 5.7.8 no", "454 4.7.0 later", "334 ", CUT, HANG])
async def test_a_sign_in_that_does_not_end_well(answer: str) -> None:
    async with scripted({"EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": answer}) as server:
        await down(f"smtp+plain://news:secret@127.0.0.1:{server.port}")
    assert "MAIL" not in server.verbs()


async def test_no_connection_stays_open_after_a_failure() -> None:
    async with scripted({"GREETING": [DEFAULTS["GREETING"]], "EHLO": "550 not you"}) as server:
        await down(f"smtp+plain://127.0.0.1:{server.port}")
        async with asyncio.timeout(60):
            while server.open:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 25, "offered", None, None)),
        ("smtp://u:p@mail.example.com", ("mail.example.com", 587, "offered", "u", "p")),
        ("smtp+starttls://mail.example.com", ("mail.example.com", 587, "required", None, None)),
        (
            "smtps://u%40example.com:p%3A%2F%20@mail.example.com/",
            ("mail.example.com", 465, "implicit", "u@example.com", "p:/ "),
        ),
        ("smtp+plain://[::1]:2525", ("::1", 2525, "none", None, None)),
    ],
)
def test_urls_of_servers(url: str, server: tuple[str, int, str, str | None, str | None]) -> None:
    parsed = SMTPServer.from_url(url)
    assert (parsed.host, parsed.port, parsed.tls.value, parsed.username, parsed.password) == server
    assert "password" not in repr(parsed)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com:25",
        "http://mail.example.com",
        "smtp://",
        "smtp://mail.example.com:hunter2",
        "smtp://hunter2@mail.example.com",
        "smtp://:hunter2@mail.example.com",
        "smtp://u:hunter2@mail.example.com/path",
        "smtp://u:hunter2@mail.example.com?verify=no",
        "smtp://u:hunter2@mail.example.com:99999",
    ],
)
def test_malformed_urls_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|needs|may") as error:
        SMTPServer.from_url(url)
    assert "hunter2" not in str(error.value)
