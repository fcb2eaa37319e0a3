"""The sockets that mail arrives at."""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from typing import Self

import structlog

from newsletter.settings import Settings, SMTPDSettings
from newsletter.smtpd.certificate import HANDSHAKE_SECONDS, Certificate
from newsletter.smtpd.conversation import Conversation
from newsletter.smtpd.dialogue import Dialogue
from newsletter.smtpd.mailroom import Mailroom
from newsletter.smtpd.stream import CHUNK
from newsletter.smtpd.submission import Submission
from newsletter.smtpd.submissions import Submissions

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 2.0
"""What dialogues in flight get to end; a client that got no answer sends its mail again."""


class Listener(ABC):
    """``async with Listener(…)``: takes mail for the length of the block."""

    def __init__(self, listening: socket.socket, *, connections: int) -> None:
        self.socket, self._connections = listening, connections
        self._open: dict[asyncio.Task[None], Conversation] = {}
        self._server: asyncio.Server | None = None

    @abstractmethod
    def conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Conversation:
        """What is spoken on a new connection."""

    def one_too_many(self) -> None:
        """Told of each connection that is sent away, as so many are open."""
        log.info("too many connections", connections=self._connections)

    @abstractmethod
    def opened(self, host: str, port: int) -> None:
        """Says that mail is taken there."""

    def tls(self) -> Certificate | None:
        """What connections begin with, where they begin with TLS."""
        return None

    async def __aenter__(self) -> Self:
        tls = self.tls()
        self._server = await asyncio.start_server(
            self._serve,
            sock=self.socket,
            limit=CHUNK,
            ssl=tls and tls.context(),
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        )
        self.opened(*self.socket.getsockname()[:2])
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for conversation in self._open.values():
            conversation.end()
        if self._open:
            await asyncio.wait(self._open, timeout=CLOSE_SECONDS)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._open) >= self._connections:
                writer.write(b"421 4.3.2 too many connections, try again later\r\n")
                self.one_too_many()
                return
            self._open[task] = conversation = self.conversation(reader, writer)
            await conversation.run()
        finally:
            self._open.pop(task, None)
            with contextlib.suppress(ConnectionError):
                writer.close()


class MailListener(Listener):
    """For mail that comes back."""

    def __init__(self, listening: socket.socket, mailroom: Mailroom, settings: SMTPDSettings) -> None:
        super().__init__(listening, connections=settings.connections)
        self._mailroom, self._settings = mailroom, settings
        self._name = mailroom.return_paths.domain or socket.gethostname()

    def conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Dialogue:
        return Dialogue(reader, writer, self._mailroom, self._settings, self._name)

    def opened(self, host: str, port: int) -> None:
        log.info("takes returned mail", protocol=self._settings.protocol, host=host, port=port)


class SubmissionListener(Listener):
    """For mail that customers' programs send."""

    def __init__(self, listening: socket.socket, submissions: Submissions, settings: Settings) -> None:
        """Raises `OSError` for a certificate that cannot be read."""
        own = settings.submission
        super().__init__(listening, connections=own.connections)
        self._submissions, self._settings = submissions, settings
        self.room, self.counts = submissions.room, submissions.counts
        self._name = own.hostname or socket.gethostname()
        self._certificate = Certificate(own.tls_certificate, own.tls_key) if own.tls_certificate else None
        self.counts.certificate = self._certificate

    def one_too_many(self) -> None:
        super().one_too_many()
        self.counts.too_many()

    def tls(self) -> Certificate | None:
        return self._certificate if self._settings.submission.is_implicit else None

    def conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Submission:
        if (certificate := self.tls()) is not None:
            certificate.context()  # A renewed one is read into it, for the connections after this one.
        return Submission(reader, writer, self._submissions, self._certificate, self._settings, self._name)

    def opened(self, host: str, port: int) -> None:
        log.info("takes mail to send", host=host, port=port, is_encrypted=self._certificate is not None)
