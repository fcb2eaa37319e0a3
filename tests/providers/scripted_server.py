"""A raw-socket SMTP server that does at each step exactly what a test tells it to.

aiosmtpd behaves; this one need not. A script maps a verb (``MAIL``; ``GREETING``, ``BODY`` for
the first bytes of a message, ``DOT`` for its end, be it sent with DATA or with BDAT, ``IDLE`` for
the time after it) to what happens then: a reply, one of the faults below, or a list of them for the
first time, the second, and so on, of which the last stays.

Like any server it refuses what comes out of turn, such as RCPT after a refused MAIL; a verb with a
mark, ``DATA!``, says what happens there instead.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CUT = "CUT"
"""Ends the connection without a reply."""
HANG = "HANG"
"""Never replies."""
RESET = "RESET"
"""Ends the connection with a TCP reset."""
GOES_ON = " (and goes on)"
"""The end of a 421 after which the server does not close the connection."""

DEFAULTS = {
    "GREETING": "220 scripted ESMTP",
    "EHLO": "250-scripted\r\n250-PIPELINING\r\n250 SIZE 10000000",
    "HELO": "250 scripted",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "DOT": "250 2.0.0 queued",
    "RSET": "250 2.0.0 reset",
    "QUIT": "221 2.0.0 bye",
    "STARTTLS": "220 go on",
}
OUT_OF_TURN = "503 5.5.1 out of turn"
OFFERS = {
    "lock-step": "250-scripted\r\n250 SIZE 10000000",
    "pipeline": DEFAULTS["EHLO"],
    "chunks": "250-scripted\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n250 CHUNKING",
}
"""What the server announces for each mode of sending."""
Script = Mapping[str, str | Sequence[str]]


@dataclass(slots=True)
class ScriptedServer:
    """``script_for`` is asked with the number of each connection, from 1."""

    script_for: Callable[[int], Script]
    tls: ssl.SSLContext | None = None
    port: int = 0
    delay: float = 0
    """Seconds before each reply."""
    connections: int = 0
    open: int = 0
    commands: list[str] = field(default_factory=list)
    """What was said on all connections, in order."""
    messages: list[bytes] = field(default_factory=list)
    """Messages that were taken, dot-stuffed as they came."""

    def verbs(self) -> list[str]:
        return [command.split()[0] for command in self.commands]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        script = _Play({**DEFAULTS, **self.script_for(self.connections)})
        try:
            await self._act(script.next("GREETING"), reader, writer)
            while line := (await reader.readline()).decode("utf-8", "replace").rstrip("\r\n"):
                self.commands.append(line)
                verb = line.split()[0].upper() if line.split() else ""
                if verb == "DATA":
                    await self._data(script, reader, writer)
                    continue
                if verb == "BDAT":
                    await self._chunk(script, int(line.split()[1]), reader, writer)
                    continue
                answer = script.next_in_turn(verb) or "500 5.5.2 what?"
                await self._act(answer, reader, writer)
                script.note(verb, answer)
                if verb == "STARTTLS" and self.tls is not None:
                    await writer.start_tls(self.tls)
                if verb == "QUIT":
                    break
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _data(
        self, script: "_Play", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answer = script.next_in_turn("DATA")
        await self._act(answer, reader, writer)
        if not answer.startswith("354"):
            return
        await self._during(script, reader, writer)
        content = bytearray()
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise ConnectionAbortedError
            content += line
        await self._end(script, bytes(content), False, reader, writer)

    async def _chunk(
        self, script: "_Play", size: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if script.is_in_turn("BDAT"):
            await self._during(script, reader, writer)
        content = await reader.readexactly(size)
        await self._end(script, content, True, reader, writer)

    async def _during(
        self, script: "_Play", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if during := script.next("BODY"):
            await reader.readexactly(1)
            if during != HANG:
                await self._act(during, reader, writer)
            # It answered before the end, and reads no further.
            await asyncio.sleep(3600)

    async def _end(
        self,
        script: "_Play",
        content: bytes,
        is_chunk: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        answer = script.next_in_turn("DOT")
        await self._act(answer, reader, writer)
        script.note("BDAT" if is_chunk else "DOT", answer)
        if answer.startswith("250") and content:
            self.messages.append(content)
        if after := script.next("IDLE"):
            await self._act(after, reader, writer)

    async def _act(self, what: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if what == HANG:
            while await reader.read(65536):
                pass
            raise ConnectionAbortedError
        if what in (CUT, RESET):
            if what == RESET:
                writer.transport.abort()
            raise ConnectionAbortedError
        await asyncio.sleep(self.delay)
        writer.write(what.encode() + b"\r\n")
        await writer.drain()
        if what.startswith("421") and not what.endswith(GOES_ON):
            raise ConnectionAbortedError


class _Play:
    """A script on one connection, and where its transaction is."""

    def __init__(self, script: Script) -> None:
        self._script = {
            verb: [what] if isinstance(what, str) else list(what) for verb, what in script.items()
        }
        self._has_sender = self._has_recipient = False

    def next(self, verb: str) -> str:
        acts = self._script.get(verb, [""])
        return acts.pop(0) if len(acts) > 1 else acts[0]

    def next_in_turn(self, verb: str) -> str:
        return self.next(verb) if self.is_in_turn(verb) else self.next(f"{verb}!") or OUT_OF_TURN

    def is_in_turn(self, verb: str) -> bool:
        if verb == "MAIL":
            return not self._has_sender
        if verb == "RCPT":
            return self._has_sender
        return self._has_recipient if verb in ("DATA", "BDAT", "DOT") else True

    def note(self, verb: str, answer: str) -> None:
        if (verb in ("RSET", "EHLO", "HELO") and answer.startswith("2")) or verb == "DOT":
            self._has_sender = self._has_recipient = False
        elif verb == "BDAT":
            # Where nobody was to get it, a refused chunk leaves the sender standing (RFC 3030 §2).
            self._has_sender = self._has_sender and not self._has_recipient
            self._has_recipient = False
        elif verb == "MAIL":
            self._has_sender = self._has_sender or answer.startswith("2")
        elif verb == "RCPT":
            self._has_recipient = self._has_recipient or answer.startswith("2")


@asynccontextmanager
async def scripted(
    script: Script | Callable[[int], Script] = DEFAULTS,
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    receive_buffer: int | None = None,
) -> AsyncIterator[ScriptedServer]:
    """A `ScriptedServer` on a free loopback port, gone with its connections at the end."""
    server = ScriptedServer(script if callable(script) else lambda _: script, tls)
    running: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A reply that waits for the acknowledgement of the last one would be lost with a reset.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writers.append(writer)
        running.add(asyncio.create_task(server.serve(reader, writer)))

    bound = socket.create_server(("127.0.0.1", 0))
    if receive_buffer is not None:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    limit = receive_buffer or 2**20
    listener = await asyncio.start_server(accept, sock=bound, limit=limit, ssl=tls if implicit else None)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for writer in writers:
            # What its peer never read would keep a closing transport open.
            writer.transport.abort()
        await asyncio.sleep(0)
        await listener.wait_closed()
