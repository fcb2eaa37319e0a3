"""The listener on a real socket: what it takes, what it refuses, and how it bears bad clients."""

import asyncio
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import pytest

from newsletter.delivery.queries import public_id
from newsletter.delivery.return_path import ReturnPaths
from newsletter.feedback.reports import MAX_BYTES
from newsletter.kit.tokens import Signer
from newsletter.serving import listen
from newsletter.settings import ReturnPathSettings, SMTPDSettings
from newsletter.smtpd.listener import MailListener
from newsletter.smtpd.mailroom import Mailroom

T = TypeVar("T")
DOMAIN = "bounces.example.com"
PATHS = ReturnPaths(Signer(["k" * 32]), DOMAIN)
OURS = PATHS.of("news@example.com")(public_id(UUID(int=7), 7)).return_path
FBL = "fbl@example.com"


class Room(Mailroom):
    """A mailroom that keeps what it takes in memory."""

    def __init__(self, trouble: Exception | None = None) -> None:
        no_database: Any = None
        super().__init__(no_database, PATHS, ReturnPathSettings(addresses=(FBL,)))
        self.taken: list[tuple[str, bytes]] = []
        self.trouble = trouble

    async def take(self, address: str, raw: bytes) -> bool:
        if self.trouble is not None:
            raise self.trouble
        self.taken.append((address, raw))
        return True


@asynccontextmanager
async def listening(mailroom: Room, scheme: str = "smtp", **limits: Any) -> AsyncIterator[int]:
    """The port of a listener."""
    settings = SMTPDSettings(listen=f"{scheme}://127.0.0.1:1", **limits)
    with listen("127.0.0.1", 0) as socket:
        async with MailListener(socket, mailroom, settings):
            yield int(socket.getsockname()[1])


async def by_client(port: int, talk: Callable[[Any], T], kind: type[smtplib.SMTP] = smtplib.SMTP) -> T:
    """Runs the standard library's client in a thread."""

    def run() -> T:
        with kind("127.0.0.1", port, local_hostname="mx.example.net", timeout=20) as client:
            return talk(client)

    return await asyncio.to_thread(run)


async def by_hand(port: int, *sent: bytes) -> bytes:
    """Everything the server says to these octets, until it ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for each in sent:
            writer.write(each)
            await writer.drain()
        return await reader.read()
    finally:
        writer.close()


HELLO = b"EHLO mx.example.net\r\nMAIL FROM:<>\r\nRCPT TO:<" + OURS.encode() + b">\r\nDATA\r\n"


async def test_a_mail_for_our_return_path_is_taken_as_it_is() -> None:
    mailroom = Room()
    raw = b"Subject: failed\r\n\r\n.a line with a dot\r\n..and two\r\n" + "ü".encode() + b"\r\n"
    async with listening(mailroom) as port:
        refused = await by_client(port, lambda client: client.sendmail("", [OURS, FBL.upper()], raw))
    assert refused == {}
    assert mailroom.taken == [(OURS, raw), (FBL.upper(), raw)]


async def test_an_address_that_is_named_many_times_is_served_once() -> None:
    mailroom = Room()
    async with listening(mailroom) as port:
        refused = await by_client(
            port, lambda client: client.sendmail("", [FBL] * 20, b"Subject: x\r\n\r\nx\r\n")
        )
    assert refused == {}
    assert len(mailroom.taken) == 1


@pytest.mark.parametrize(
    "address",
    [
        f"postmaster@{DOMAIN}",
        "reader@elsewhere.example.org",
        OURS.replace("@", "0@"),
        ("0" if OURS[40] != "0" else "1").join((OURS[:40], OURS[41:])),
        OURS.replace(DOMAIN, "elsewhere.example.org"),
        f"{OURS}.example.org",
        f"x{OURS}",
        "",
    ],
)
async def test_no_other_address_is_taken(address: str) -> None:
    mailroom = Room()
    async with listening(mailroom, data_seconds=2) as port:
        told = await by_hand(port, HELLO.replace(OURS.encode(), address.encode()) + b"QUIT\r\n")
    assert b"\r\n550 5.1.1" in told
    assert b"\r\n503 5.5.1" in told  # DATA without a recipient.
    assert mailroom.taken == []


async def test_lmtp_answers_for_each_recipient() -> None:
    mailroom = Room()
    async with listening(mailroom, "lmtp") as port:
        sent = HELLO.replace(b"EHLO", b"LHLO").replace(b"DATA", f"RCPT TO:<{FBL}>\r\nDATA".encode())
        told = await by_hand(port, sent + b"Subject: x\r\n\r\nx\r\n.\r\nEHLO x\r\nQUIT\r\n")
    assert told.split(b"354 ")[1].count(b"\r\n250 2.0.0 taken") == 2
    assert b"500 5.5.1" in told
    assert [address for address, _ in mailroom.taken] == [OURS, FBL]


async def test_a_mail_ends_where_smtp_says_and_nowhere_else() -> None:
    """What some servers took for an end of mail let strangers put a second mail into one."""
    mailroom = Room()
    body = b"one\n.\nMAIL FROM:<a@example.org>\r\n.\nRCPT TO:<b@example.org>\n.\r\nDATA\r.\r\r\n"
    async with listening(mailroom) as port:
        told = await by_hand(port, HELLO + body + b".\r\nQUIT\r\n")
    assert told.count(b"250 2.0.0 taken") == 1
    assert told.endswith(b"221 2.0.0 bye\r\n")
    assert [raw for _, raw in mailroom.taken] == [body.replace(b"\r\n.\n", b"\r\n\n")]


async def test_a_mail_in_the_smallest_pieces_is_the_same() -> None:
    mailroom = Room()
    sent = HELLO + b"..\r\n.\r\r\n\r\n.x\r\n.\r\nQUIT\r\n"
    async with listening(mailroom) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for octet in sent:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).endswith(b"221 2.0.0 bye\r\n")
        writer.close()
    assert [raw for _, raw in mailroom.taken] == [b".\r\n\r\r\n\r\nx\r\n"]


async def test_of_twenty_megabytes_the_first_is_kept_and_the_rest_passed_over() -> None:
    mailroom = Room()
    async with listening(mailroom) as port:
        raw = b"Subject: large\r\n\r\n" + b"x" * 20_000_000 + b"\r\n"
        assert await by_client(port, lambda client: client.sendmail("", [OURS], raw)) == {}
    assert [taken for _, taken in mailroom.taken] == [raw[:MAX_BYTES]]


async def test_a_mail_above_the_limit_is_refused_before_and_after_it_is_sent() -> None:
    mailroom = Room()
    async with listening(mailroom, max_bytes=10_000) as port:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            await by_client(port, lambda client: client.sendmail("", [OURS], b"x" * 20_000))
        assert refused.value.smtp_code == 552
        told = await by_hand(port, HELLO + b"x" * 20_000 + b"\r\n.\r\nQUIT\r\n")
    assert b"\r\n552 5.3.4" in told
    assert mailroom.taken == []


async def test_who_hangs_is_let_go() -> None:
    mailroom = Room()
    async with listening(mailroom, command_seconds=0.1, data_seconds=0.2) as port:
        for sent in (b"", b"EHLO x", HELLO, HELLO + b"half a mail\r\n"):
            assert (await by_hand(port, sent)).endswith(b"421 4.4.2 too slow\r\n")
    async with listening(mailroom, session_seconds=0.2) as port:
        assert (await by_hand(port, b"NOOP\r\n" * 5)).endswith(b"421 4.4.2 too slow\r\n")
    assert mailroom.taken == []


async def test_who_guesses_or_talks_nonsense_is_let_go() -> None:
    mailroom = Room()
    async with listening(mailroom) as port:
        told = await by_hand(port, b"GET / HTTP/1.1\r\n" * 30)
        assert told.endswith(b"421 4.7.0 too many errors\r\n")
        assert told.count(b"500 5.5.1") == 20
        assert (await by_hand(port, b"\xff" * 100_000)).endswith(b"500 5.5.2 the line is too long\r\n")
        out_of_turn = await by_hand(
            port, b"DATA\r\nRCPT TO:<x>\r\nMAIL FROM:<>\r\nEHLO x\r\nMAIL x\r\nQUIT\r\n"
        )
    assert out_of_turn.count(b"503 5.5.1") == 3
    assert b"501 5.5.4" in out_of_turn


async def test_a_client_that_leaves_in_the_middle_leaves_nothing() -> None:
    mailroom = Room()
    async with listening(mailroom, connections=1) as port:
        for sent in (b"", b"EHLO x\r\n", HELLO, HELLO + b"half a mail\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readline()
            writer.write(sent)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            # The only place is free again for the next one, as soon as the server has seen it.
            while b"421" in await by_hand(port, b"QUIT\r\n"):
                await asyncio.sleep(0.01)
    assert mailroom.taken == []


async def test_connections_beyond_the_limit_are_asked_to_come_again() -> None:
    async with listening(Room(), connections=2) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, _ in held:
            assert (await reader.readline()).startswith(b"220")
        assert (await by_hand(port)).startswith(b"421 4.3.2")
        for _, writer in held:
            writer.close()


async def test_while_the_database_is_away_the_sender_keeps_the_mail() -> None:
    mailroom = Room(trouble=ConnectionRefusedError("no database"))
    async with listening(mailroom) as port:
        told = await by_hand(port, HELLO + b"x\r\n.\r\nQUIT\r\n")
    assert b"\r\n451 4.3.0" in told
