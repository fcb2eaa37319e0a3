"""Who may send by SMTP: TLS, user names and passwords, and credentials that come and go."""

import asyncio
import base64
import os
import smtplib
import ssl
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from newsletter.accounts import keys
from newsletter.accounts.project import Project
from newsletter.kit import clock, ratelimit
from newsletter.runtime import Runtime
from newsletter.serving import submissions_of
from newsletter.settings import SubmissionSettings
from newsletter.smtpd import submission
from newsletter.smtpd.certificate import Certificate
from tests.client import Client
from tests.conftest import MakeProject
from tests.smtpd.submitting import END, MAIL, SENDER, by_client, by_hand, listening, opening, plain, subjects
from tests.tls import server_context


async def test_starttls_protects_the_password(
    runtime: Runtime, client: Client, login: tuple[str, str], tmp_path: Path
) -> None:
    async with listening(runtime, folder=tmp_path) as port:
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")

        def talk(smtp: smtplib.SMTP) -> None:
            smtp.ehlo()
            assert smtp.has_extn("starttls")
            smtp.starttls(context=trusting)
            smtp.login(*login)
            assert not smtp.has_extn("starttls")
            smtp.sendmail(SENDER, ["ada@example.com"], MAIL)

        await by_client(port, talk)
    assert await subjects(client, runtime) == ["Hi"]


async def test_what_was_said_before_tls_is_forgotten(
    runtime: Runtime, tmp_path: Path, login: tuple[str, str]
) -> None:
    async with listening(runtime, folder=tmp_path) as port:
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")

        def talk(smtp: smtplib.SMTP) -> list[int]:
            smtp.login(*login)
            smtp.starttls(context=trusting)
            said = [
                smtp.docmd("MAIL", "FROM:<x@example.com>"),
                smtp.docmd("AUTH", plain(login).decode().strip()[5:]),
            ]
            return [code for code, _ in said]

        assert await by_client(port, talk) == [530, 503]


async def test_tls_from_the_first_octet(
    runtime: Runtime, client: Client, login: tuple[str, str], tmp_path: Path
) -> None:
    async with listening(runtime, scheme="smtps", folder=tmp_path) as port:
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")

        def talk() -> None:
            with smtplib.SMTP_SSL("127.0.0.1", port, context=trusting, timeout=20) as smtp:
                smtp.login(*login)
                smtp.sendmail(SENDER, ["ada@example.com"], MAIL)

        await asyncio.to_thread(talk)
    assert await subjects(client, runtime) == ["Hi"]


async def test_a_renewed_certificate_serves_the_next_connection(
    runtime: Runtime, tmp_path: Path, login: tuple[str, str]
) -> None:
    async with listening(runtime, folder=tmp_path) as port:

        async def talk() -> None:
            trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
            await by_client(port, partial(smtplib.SMTP.starttls, context=trusting))

        await talk()
        server_context(tmp_path, "127.0.0.1")
        await talk()
        whole = (tmp_path / "key.pem").read_bytes()
        (tmp_path / "key.pem").write_text("no key")
        await talk()
        (tmp_path / "key.pem").write_bytes(whole)
        await talk()


def test_a_certificate_whose_end_cannot_be_read_is_refused_and_leaves_the_former_one(tmp_path: Path) -> None:
    server_context(tmp_path, "127.0.0.1")
    path, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    certificate = Certificate(path, key)
    ends = certificate.ends
    # OpenSSL would serve it.
    path.write_text(path.read_text().replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-"))
    os.utime(path, (1, 1))
    certificate.context()
    assert certificate.ends == ends
    with pytest.raises(OSError, match="it holds no certificate"):
        Certificate(path, key)


async def test_what_is_sent_ahead_of_tls_is_not_read_as_if_inside(
    runtime: Runtime, tmp_path: Path, login: tuple[str, str]
) -> None:
    async with listening(runtime, folder=tmp_path) as port:
        said = await by_hand(port, b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@example.com>\r\n")
    assert said.endswith(b"\r\n421 4.7.0 nothing may follow STARTTLS before its answer\r\n")
    assert b"220 2.0.0" not in said


async def test_away_from_this_machine_nobody_signs_in_without_tls(
    runtime: Runtime, tmp_path: Path, login: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission.Submission, "_is_local", property(lambda self: False))
    async with listening(runtime, folder=tmp_path, data_seconds=2) as port:
        said = await by_hand(port, opening(login) + b"QUIT\r\n")
    assert b"AUTH" not in said
    assert b"\r\n538 5.7.11 begin TLS first" in said
    assert b"\r\n530 5.7.0 begin TLS, then sign in" in said


async def test_who_did_not_sign_in_sends_nothing(runtime: Runtime, client: Client) -> None:
    async with listening(runtime) as port:
        said = await by_hand(
            port, b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nQUIT\r\n"
        )
    assert b"\r\n530 5.7.0 sign in first\r\n503 5.5.1 not now\r\n503 5.5.1 not now\r\n221" in said


async def test_every_way_to_sign_in(runtime: Runtime, login: tuple[str, str]) -> None:
    name, password = (base64.b64encode(each.encode()) for each in login)
    ways = [
        plain(login),
        b"AUTH PLAIN\r\n" + plain(login).split()[-1] + b"\r\n",
        b"AUTH LOGIN\r\n" + name + b"\r\n" + password + b"\r\n",
        b"auth login " + name + b"\r\n" + password + b"\r\n",
    ]
    async with listening(runtime) as port:
        for way in ways:
            said = await by_hand(port, b"EHLO x\r\n" + way + way + b"QUIT\r\n")
            assert b"235 2.7.0" in said, way
            assert b"503 5.5.1" in said  # Nobody signs in twice.


@pytest.mark.parametrize(
    "way",
    [
        b"AUTH PLAIN !\r\n",
        b"AUTH PLAIN " + base64.b64encode(b"only one") + b"\r\n",
        b"AUTH PLAIN\r\n*\r\n",
        b"AUTH LOGIN\r\n*\r\n",
        b"AUTH LOGIN eA==\r\n" + b"\xff\r\n",
    ],
)
async def test_a_sign_in_that_is_none(runtime: Runtime, way: bytes) -> None:
    async with listening(runtime) as port:
        said = await by_hand(port, b"EHLO x\r\n" + way + b"QUIT\r\n")
    assert b"501 5.5.2" in said
    assert b"235" not in said


async def test_keys_that_sign_in_and_keys_that_do_not(
    runtime: Runtime, client: Client, project: Project, login: tuple[str, str], make_project: MakeProject
) -> None:
    """An API key that may send may do it here, too; another scope or another project's name does not help."""
    other = await make_project()
    async with runtime.db.unit_of_work() as session:
        sends = await keys.create(session, runtime.vault, project, name="a", scopes=("send",))
        reads = await keys.create(session, runtime.vault, project, name="b", scopes=("messages:read",))
        foreign = await keys.create(session, runtime.vault, other, name="c")
    name, password = login
    good = [login, (name, sends.secret)]
    bad = [
        (name, reads.secret),
        (name, foreign.secret),
        ("apikey", password),
        (name, password[:-1] + "0"),
        ("", ""),
    ]
    async with listening(runtime) as port:
        for each in good:
            assert b"235 2.7.0" in await by_hand(port, b"EHLO x\r\n" + plain(each) + b"QUIT\r\n")
        for each in bad:
            assert b"535 5.7.8" in await by_hand(port, b"EHLO x\r\n" + plain(each) + b"QUIT\r\n"), each
    # And a password of SMTP is good for nothing else.
    headers = {"Authorization": f"Bearer {password}"}
    await client.expect_error("GET", "/messages", 403, "forbidden", headers=headers)


async def test_guessing_ends_the_connections_of_an_address(
    runtime: Runtime, login: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "WINDOW_SECONDS", 3600.0)
    wrong = plain((login[0], "guess"))
    async with listening(runtime, auth_failures=3) as port:
        said = await by_hand(port, b"EHLO x\r\n" + wrong * 5 + b"QUIT\r\n")
        again = await by_hand(port, b"EHLO x\r\n" + wrong + b"QUIT\r\n")
    assert said.count(b"535 5.7.8") == 3
    assert said.endswith(b"421 4.7.0 too many failed sign-ins, try again in a minute\r\n")
    assert b"535" not in again


async def test_guesses_from_all_addresses_of_one_network_count_together(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "WINDOW_SECONDS", 3600.0)
    own = runtime.settings.model_copy(update={"submission": SubmissionSettings(auth_failures=3)})
    submissions = submissions_of(Runtime(own, runtime.bell))
    guesses = [await submissions.may_fail_again(f"2001:db8:1:2::{number}") for number in range(4)]
    assert guesses == [True, True, True, False]
    assert await submissions.may_fail_again("2001:db8:1:3::1")
    await submissions.limiter.aclose()


async def test_a_revoked_credential_takes_no_mail_on_an_open_connection(
    runtime: Runtime, client: Client
) -> None:
    made = await client.data("POST", "/smtp-credentials", 201, json={"name": "shop"})
    async with listening(runtime) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(opening((made["username"], made["password"])))
        while b"354" not in await reader.readline():
            pass
        response = await client.delete(f"/smtp-credentials/{made['id']}")
        assert response.status_code == 204
        writer.write(MAIL + END)
        assert b"535 5.7.8" in await reader.read()
        writer.close()


async def test_rotation_needs_no_body(client: Client, login: tuple[str, str]) -> None:
    [old] = await client.data("GET", "/smtp-credentials")
    new = await client.data("POST", f"/smtp-credentials/{old['id']}/rotate", 201)
    listed = {each["id"]: each["expires_at"] for each in await client.data("GET", "/smtp-credentials")}
    assert listed.pop(new["id"]) is None
    assert list(listed) == [old["id"]]
    assert listed[old["id"]] > new["created_at"]


async def test_rotation_takes_both_passwords_for_a_time(
    runtime: Runtime, client: Client, login: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [old] = await client.data("GET", "/smtp-credentials")
    new = await client.data("POST", f"/smtp-credentials/{old['id']}/rotate", 201, json={"overlap_hours": 2})
    listed = await client.data("GET", "/smtp-credentials")
    assert [(each["id"], each["expires_at"] is None) for each in listed] == [
        (old["id"], False),
        (new["id"], True),
    ]
    assert new["password"] != login[1]
    assert "password" not in listed[0]

    async def sign_in(port: int, password: str) -> bytes:
        said = await by_hand(port, b"EHLO x\r\n" + plain((login[0], password)) + b"QUIT\r\n")
        return said.split(b"\r\n")[-3][:3]

    async with listening(runtime) as port:
        assert [await sign_in(port, each) for each in (login[1], new["password"])] == [b"235", b"235"]
        later = clock.now() + timedelta(hours=2, minutes=1)
        monkeypatch.setattr(clock, "now", lambda: later)
        assert [await sign_in(port, each) for each in (login[1], new["password"])] == [b"535", b"235"]
    assert [each["id"] for each in await client.data("GET", "/smtp-credentials")] == [new["id"]]
