"""A listener for mail to send, and clients of it that behave and that do not."""

import asyncio
import base64
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from newsletter.runtime import Runtime
from newsletter.serving import listen, submissions_of
from newsletter.settings import Settings, SubmissionSettings
from newsletter.smtpd.listener import SubmissionListener
from tests.client import Client
from tests.jobs import run_due
from tests.tls import server_context

T = TypeVar("T")
SENDER = "news@acme.example.com"


@asynccontextmanager
async def listening(
    runtime: Runtime, *, scheme: str = "smtp", folder: Path | None = None, **own: Any
) -> AsyncIterator[int]:
    """The port of a listener; with the certificate in ``folder``, where there is one."""
    async with listener(runtime, scheme=scheme, folder=folder, **own) as made:
        yield port_of(made)


def port_of(made: SubmissionListener) -> int:
    return int(made.socket.getsockname()[1])


@asynccontextmanager
async def listener(
    runtime: Runtime, *, scheme: str = "smtp", folder: Path | None = None, **own: Any
) -> AsyncIterator[SubmissionListener]:
    if folder is not None:
        server_context(folder, "127.0.0.1")
        own |= {"tls_certificate": folder / "ca.pem", "tls_key": folder / "key.pem"}
    made = SubmissionSettings(listen=f"{scheme}://127.0.0.1:1", hostname="smtp.example.com", **own)
    settings: Settings = runtime.settings.model_copy(update={"submission": made})
    submissions = submissions_of(Runtime(settings, runtime.bell))
    try:
        with listen("127.0.0.1", 0) as socket:
            async with SubmissionListener(socket, submissions, settings) as opened:
                yield opened
    finally:
        await submissions.calls.aclose()
        await submissions.db.close()
        await submissions.limiter.aclose()


async def by_client(port: int, talk: Callable[[smtplib.SMTP], T]) -> T:
    """Runs the standard library's client in a thread."""

    def run() -> T:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="app.example.net", timeout=20) as client:
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


def plain(login: tuple[str, str]) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode("\0".join(("", *login)).encode()) + b"\r\n"


def opening(login: tuple[str, str], *recipients: str) -> bytes:
    """All that stands before a mail, sent ahead."""
    people = b"".join(f"RCPT TO:<{each}>\r\n".encode() for each in recipients or ("ada@example.com",))
    return (
        b"EHLO app.example.net\r\n" + plain(login) + b"MAIL FROM:<x@example.com>\r\n" + people + b"DATA\r\n"
    )


MAIL = f"From: {SENDER}\r\nTo: ada@example.com\r\nSubject: Hi\r\n\r\nHello\r\n".encode()
END = b".\r\nQUIT\r\n"


async def subjects(client: Client, runtime: Runtime) -> list[str]:
    await run_due(runtime)
    return [mail["subject"] for mail in await client.data("GET", "/sandbox/messages")]
