"""What every dialogue of SMTP has: commands in, answers out, and ends to patience with both."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from newsletter.smtpd.stream import BareLineEnd, Gone, Incoming, LineTooLong

log = structlog.get_logger(__name__)

MAX_ERRORS = 20
"""Refused commands and addresses, after which the connection ends: whoever sends more is guessing."""

Command = Callable[[str], Awaitable[None]]


class Patience(Protocol):
    """Seconds for the next command, a whole mail, and the whole connection."""

    @property
    def command_seconds(self) -> float: ...
    @property
    def data_seconds(self) -> float: ...
    @property
    def session_seconds(self) -> float: ...


class Ended(Exception):
    """The connection is over; the last word was said."""


class Conversation:
    """Runs until the client leaves, asks for nonsense too often, or is too slow."""

    greeting: str
    """What is said first, without its code."""
    commands: dict[str, Command]
    """By their verbs, in capitals."""

    def __init__(self, incoming: Incoming, writer: asyncio.StreamWriter, patience: Patience) -> None:
        self.incoming, self.writer, self.patience = incoming, writer, patience
        self._errors = 0
        self._idle: asyncio.Timeout | None = None
        """The end of patience with a client that is to say something; None while we are at work for it."""
        self._is_ending = False

    async def run(self) -> None:
        try:
            async with asyncio.timeout(self.patience.session_seconds):
                await self.converse()
        except TimeoutError:
            await self.last_word("421 4.3.2 going away" if self._is_ending else "421 4.4.2 too slow")
        except LineTooLong:
            await self.last_word("500 5.5.2 the line is too long")
        except BareLineEnd:
            await self.last_word("500 5.5.2 end each line with CRLF")
        except (Gone, ConnectionError, Ended):
            log.debug("a client left without QUIT")

    async def converse(self) -> None:
        await self.answer(f"220 {self.greeting}")
        while self._errors < MAX_ERRORS:
            if self._is_ending:
                await self.last_word("421 4.3.2 going away")
                return
            verb, _, argument = (await self.line()).partition(" ")
            if verb.upper() == "QUIT":
                await self.answer("221 2.0.0 bye")
                return
            command = self.commands.get(verb.upper())
            if command is None:
                await self.refuse("500 5.5.1 there is no such command")
            else:
                await command(argument.strip())
        await self.last_word("421 4.7.0 too many errors")

    def end(self) -> None:
        """Has the conversation end as soon as nobody waits for an answer: at once where the client has its
        turn, else after what it asked for, such as a mail that is half here (RFC 5321 §3.8)."""
        self._is_ending = True
        if self._idle is not None and not self._idle.expired():
            self._idle.reschedule(asyncio.get_running_loop().time())

    async def line(self) -> str:
        async with asyncio.timeout(self.patience.command_seconds) as self._idle:
            try:
                return await self.incoming.line()
            finally:
                self._idle = None

    async def noop(self, argument: str) -> None:
        await self.answer("250 2.0.0 ok")

    async def vrfy(self, argument: str) -> None:
        await self.refuse("252 2.5.0 send it, then you will see")

    async def refuse(self, text: str) -> None:
        self._errors += 1
        await self.answer(text)

    async def answer(self, *lines: str) -> None:
        """What ASCII cannot say is said with question marks: reasons may quote the client."""
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode("ascii", errors="replace"))
        async with asyncio.timeout(self.patience.command_seconds):
            await self.writer.drain()

    async def extensions(self, *words: str) -> None:
        """The answer to EHLO or LHLO."""
        await self.answer(*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}")

    async def last_word(self, text: str) -> None:
        """For a client that may have stopped listening: it is not waited for."""
        if not self.writer.is_closing():
            self.writer.write(f"{text}\r\n".encode("ascii"))
