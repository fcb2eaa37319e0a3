"""The socket that returned mail arrives at."""

import asyncio
import contextlib
import socket

import structlog

from newsletter.settings import SMTPDSettings
from newsletter.smtpd.dialogue import Dialogue
from newsletter.smtpd.mailroom import Mailroom
from newsletter.smtpd.stream import CHUNK

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 2.0
"""What dialogues in flight get to end; a client that got no answer sends its mail again."""


class MailListener:
    """``async with MailListener(…)``: takes mail for the length of the block."""

    def __init__(self, listening: socket.socket, mailroom: Mailroom, settings: SMTPDSettings) -> None:
        self._socket, self._mailroom, self._settings = listening, mailroom, settings
        self._name = mailroom.return_paths.domain or socket.gethostname()
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "MailListener":
        self._server = await asyncio.start_server(self._serve, sock=self._socket, limit=CHUNK)
        host, port = self._socket.getsockname()[:2]
        log.info("takes returned mail", protocol=self._settings.protocol, host=host, port=port)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        if self._open:
            await asyncio.wait(self._open, timeout=CLOSE_SECONDS)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._open) >= self._settings.connections:
                writer.write(b"421 4.3.2 too many connections, try again later\r\n")
                return
            self._open.add(task)
            await Dialogue(reader, writer, self._mailroom, self._settings, self._name).run()
        finally:
            self._open.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()
