"""What an operator sees of the listener of mail to send: its numbers, its memory, how it ends, its doctor."""

import asyncio
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from newsletter.doctor import submitting
from newsletter.doctor.examine import examine
from newsletter.doctor.finding import Level
from newsletter.runtime import Runtime
from newsletter.serving import told
from newsletter.settings import Settings, SubmissionSettings
from newsletter.smtpd.counts import Counts
from newsletter.smtpd.listener import SubmissionListener
from newsletter.smtpd.room import Room
from tests.client import Client
from tests.smtpd.submitting import (
    END,
    MAIL,
    by_hand,
    listener,
    listening,
    opening,
    plain,
    port_of,
    subjects,
)
from tests.tls import server_context

LARGE = b"x" * 998 + b"\r\n"


def numbers(made: SubmissionListener) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(made.counts)
    lines = generate_latest(registry).decode().splitlines()
    found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("newsletter_submission_"): float(value) for name, _, value in found}


async def test_what_came_and_what_became_of_it_is_counted(
    runtime: Runtime, login: tuple[str, str], tmp_path: Path
) -> None:
    async with listener(runtime, folder=tmp_path, connections=1, max_bytes=10_000) as made:
        port = port_of(made)
        await by_hand(port, opening(login) + MAIL + END)
        await by_hand(port, opening(login) + MAIL.replace(b"Subject: Hi\r\n", b"") + END)
        await by_hand(port, opening(login) + MAIL + LARGE * 20 + END)
        await by_hand(port, b"EHLO x\r\n" + plain((login[0], "guess")) + b"QUIT\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        assert (await by_hand(port)).startswith(b"421 4.3.2")
        found = numbers(made)
        assert found.pop("certificate_expires_seconds") > 1_700_000_000
        assert found == {
            "open_connections": 1,
            "held_bytes": 0,
            'connections_total{result="served"}': 5,
            'connections_total{result="too_many"}': 1,
            'sign_ins_total{result="ok"}': 3,
            'sign_ins_total{result="refused"}': 1,
            'mails_total{result="taken"}': 1,
            'mails_total{result="validation_failed"}': 1,
            'mails_total{result="too_large"}': 1,
        }
        writer.close()


async def test_the_api_tells_what_the_listener_beside_it_counts(runtime: Runtime, client: Client) -> None:
    counts = Counts(lambda: 7)
    counts.mail("taken")
    runtime.meters.register(counts)
    text = (await client.get("http://news.test/metrics")).text
    assert 'newsletter_submission_mails_total{result="taken"} 1.0\n' in text
    assert "newsletter_submission_held_bytes 7.0\n" in text


async def test_a_process_without_an_api_tells_its_numbers_on_a_place_of_its_own(
    settings: Settings, unused_tcp_port: int
) -> None:
    chosen = settings.model_copy(update={"metrics_listen": f"http://127.0.0.1:{unused_tcp_port}"})
    registry = CollectorRegistry()
    registry.register(Counts(lambda: 7))

    def scraped() -> str:
        with urllib.request.urlopen(f"{chosen.metrics_listen}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    with told(chosen.metrics_place, registry):
        text = await asyncio.to_thread(scraped)
    assert "newsletter_submission_held_bytes 7.0" in text
    assert "process_resident_memory_bytes" in text
    with told(None, registry):
        pass


def test_a_room_gives_back_what_mails_took() -> None:
    room = Room(10)
    with room.share() as one, room.share() as other:
        assert [one.grow(6), other.grow(4), other.grow(1)] == [True, True, False]
        assert (room.held, room.fits(0), room.fits(1)) == (10, True, False)
    assert room.held == 0


async def test_mails_beyond_the_memory_for_them_are_for_later(
    runtime: Runtime, client: Client, login: tuple[str, str]
) -> None:
    """One is half here and takes nearly all of it: the next is refused, whether it says its size or not."""
    signed_in = b"EHLO x\r\n" + plain(login)
    async with listener(runtime, max_bytes=300_000, held_bytes=300_000) as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(made))
        writer.write(opening(login) + MAIL + LARGE * 250)
        while made.room.held < 220_000:
            await asyncio.sleep(0.01)
        said = await by_hand(port_of(made), signed_in + b"MAIL FROM:<> SIZE=100000\r\nNOOP\r\nQUIT\r\n")
        assert b"\r\n452 4.3.1 too many mails arrive at this moment, try again later\r\n250 2.0.0 ok" in said
        said = await by_hand(port_of(made), opening(login) + MAIL + LARGE * 100 + END)
        assert b"\r\n452 4.3.1 too many mails" in said
        assert said.endswith(b"221 2.0.0 bye\r\n")
        writer.write(END)
        assert b"\r\n250 2.0.0 msg_" in await reader.read()
        writer.close()
        assert made.room.held == 0
        assert b"250 2.0.0 msg_" in await by_hand(port_of(made), opening(login) + MAIL + LARGE * 100 + END)
        assert numbers(made)['mails_total{result="no_room"}'] == 2
    assert await subjects(client, runtime) == ["Hi", "Hi"]


async def test_a_client_that_leaves_in_the_middle_leaves_its_room(
    runtime: Runtime, login: tuple[str, str]
) -> None:
    async with listener(runtime, max_bytes=300_000, held_bytes=300_000) as made:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(made))
        writer.write(opening(login) + MAIL + LARGE * 200)
        while not made.room.held:
            await asyncio.sleep(0.01)
        writer.close()
        while made.room.held:
            await asyncio.sleep(0.01)


async def test_a_process_that_ends_says_so_and_takes_the_mail_that_is_half_here(
    runtime: Runtime, client: Client, login: tuple[str, str]
) -> None:
    stack = listener(runtime)
    made = await stack.__aenter__()
    idle, idle_writer = await asyncio.open_connection("127.0.0.1", port_of(made))
    busy, busy_writer = await asyncio.open_connection("127.0.0.1", port_of(made))
    await idle.readline()
    busy_writer.write(opening(login) + MAIL)
    while b"354" not in await busy.readline():
        pass
    ending = asyncio.create_task(stack.__aexit__(None, None, None))
    assert await idle.read() == b"421 4.3.2 going away\r\n"
    busy_writer.write(b".\r\nMAIL FROM:<next@example.com>\r\n")
    said = await busy.read()
    await ending
    assert said.startswith(b"250 2.0.0 msg_")
    assert said.endswith(b"\r\n421 4.3.2 going away\r\n")
    for writer in (idle_writer, busy_writer):
        with suppress(ConnectionError):
            writer.close()
    assert await subjects(client, runtime) == ["Hi"]


def installed(settings: Settings, **own: Any) -> Settings:
    return settings.model_copy(update={"submission": SubmissionSettings(**own)})


async def test_the_doctor_says_whether_the_listener_answers(
    runtime: Runtime, settings: Settings, tmp_path: Path, unused_tcp_port: int
) -> None:
    [nothing] = [found for found in await examine(settings) if found.name == submitting.NAME]
    assert nothing.level is Level.off
    server_context(tmp_path, "127.0.0.1", days=90)
    files = {"tls_certificate": tmp_path / "ca.pem", "tls_key": tmp_path / "key.pem"}
    for scheme in ("smtp", "smtps"):
        async with listening(runtime, scheme=scheme, **files) as port:
            own = installed(settings, listen=f"{scheme}://127.0.0.1:{port}", **files)
            reached, certificate = await submitting.submission(own)
            assert (reached.level, reached.text) == (Level.ok, f"{scheme}://127.0.0.1:{port} answers")
            assert certificate.level is Level.ok
    async with listening(runtime) as port:
        reached, certificate = await submitting.submission(
            installed(settings, listen=f"smtp://127.0.0.1:{port}")
        )
    assert reached.level is Level.ok
    assert (certificate.level, certificate.text[:5]) == (Level.warning, "none:")
    own = installed(settings, listen=f"smtp://127.0.0.1:{unused_tcp_port}", **files)
    away, _ = await submitting.submission(own)
    assert away.level is Level.warning
    assert away.text.startswith(f"nobody answers at smtp://127.0.0.1:{unused_tcp_port}: ")
    assert "newsletter s" in away.mend


@pytest.mark.parametrize(("days", "level"), [(13, Level.warning), (15, Level.ok), (-1, Level.broken)])
async def test_the_doctor_warns_before_a_certificate_ends(
    settings: Settings, tmp_path: Path, unused_tcp_port: int, days: int, level: Level
) -> None:
    server_context(tmp_path, "127.0.0.1", days=days + 0.5)
    own = installed(
        settings,
        listen=f"smtp://127.0.0.1:{unused_tcp_port}",
        tls_certificate=tmp_path / "ca.pem",
        tls_key=tmp_path / "key.pem",
    )
    _, certificate = await submitting.submission(own)
    assert certificate.level is level
    (tmp_path / "key.pem").write_text("no key")
    _, certificate = await submitting.submission(own)
    assert certificate.level is Level.broken


async def test_the_doctor_notices_a_listener_that_shows_another_certificate(
    runtime: Runtime, settings: Settings, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, days in ((old, 20), (new, 90)):
        folder.mkdir()
        server_context(folder, "127.0.0.1", days=days)
    served: dict[str, Any] = {"tls_certificate": old / "ca.pem", "tls_key": old / "key.pem"}
    async with listening(runtime, **served) as port:
        own = {"tls_certificate": new / "ca.pem", "tls_key": new / "key.pem"}
        reached, _ = await submitting.submission(
            installed(settings, listen=f"smtp://127.0.0.1:{port}", **own)
        )
    assert reached.level is Level.warning
    assert "another certificate than the file's" in reached.text
