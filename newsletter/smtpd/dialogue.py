"""One connection: SMTP (RFC 5321) or LMTP (RFC 2033), as far as a server needs it that only takes mail.

Nothing is relayed and nobody signs in. Of a mail, as much stays in memory as will be read of it, so
that neither its size nor the number of connections decides how much memory this takes. Lines may be
longer than RFC 5322 allows: broken senders are common among those who return mail.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

import structlog

from newsletter.feedback.reports import MAX_BYTES
from newsletter.kit.db import is_outage
from newsletter.settings import SMTPDSettings
from newsletter.smtpd.mailroom import Mailroom
from newsletter.smtpd.stream import Gone, Incoming, LineTooLong

log = structlog.get_logger(__name__)

MAX_RECIPIENTS = 100
"""Of one mail (RFC 5321 §4.5.3.1.8). A returned mail has one."""
MAX_ERRORS = 20
"""Refused commands and addresses, after which the connection ends: whoever sends more is guessing."""
_FROM = re.compile(r"FROM:\s*<[^<>]*>(?P<parameters>.*)", re.IGNORECASE)
_TO = re.compile(r"TO:\s*<(?P<address>[^<>]*)>.*", re.IGNORECASE)
_SIZE = re.compile(r"\bSIZE=(\d{1,15})\b", re.IGNORECASE)


class Dialogue:
    """Runs until the client leaves, asks for nonsense too often, or is too slow."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mailroom: Mailroom,
        settings: SMTPDSettings,
        name: str,
    ) -> None:
        self._incoming, self._writer = Incoming(reader), writer
        self._mailroom, self._settings, self._name = mailroom, settings, name
        self._has_greeted, self._has_sender = False, False
        self._recipients: list[str] = []
        self._errors = 0
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            **(
                {"LHLO": self._extended} if settings.is_lmtp else {"EHLO": self._extended, "HELO": self._helo}
            ),
        }

    async def run(self) -> None:
        try:
            async with asyncio.timeout(self._settings.session_seconds):
                await self._converse()
        except TimeoutError:
            await self._last_word("421 4.4.2 too slow")
        except LineTooLong:
            await self._last_word("500 5.5.2 the line is too long")
        except (Gone, ConnectionError):
            log.debug("a client left without QUIT")

    async def _converse(self) -> None:
        await self._answer(f"220 {self._name} takes returned mail")
        while self._errors < MAX_ERRORS:
            async with asyncio.timeout(self._settings.command_seconds):
                line = await self._incoming.line()
            verb, _, argument = line.partition(" ")
            if verb.upper() == "QUIT":
                await self._answer("221 2.0.0 bye")
                return
            command = self._commands.get(verb.upper())
            if command is None:
                await self._refuse("500 5.5.1 there is no such command")
            else:
                await command(argument.strip())
        await self._last_word("421 4.7.0 too many errors")

    async def _extended(self, argument: str) -> None:
        self._reset(has_greeted=True)
        words = [self._name, "PIPELINING", f"SIZE {self._settings.max_bytes}", "8BITMIME", "SMTPUTF8"]
        words.append("ENHANCEDSTATUSCODES")
        await self._answer(*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}")

    async def _helo(self, argument: str) -> None:
        self._reset(has_greeted=True)
        await self._answer(f"250 {self._name}")

    async def _mail(self, argument: str) -> None:
        found = _FROM.fullmatch(argument)
        if not self._has_greeted or self._has_sender:
            await self._refuse("503 5.5.1 not now")
        elif found is None:
            await self._refuse("501 5.5.4 MAIL FROM:<address>")
        elif (size := _SIZE.search(found["parameters"])) and int(size[1]) > self._settings.max_bytes:
            await self._refuse("552 5.3.4 the mail is too large")
        else:
            self._has_sender = True
            await self._answer("250 2.1.0 ok")

    async def _rcpt(self, argument: str) -> None:
        found = _TO.fullmatch(argument)
        if not self._has_sender:
            await self._refuse("503 5.5.1 not now")
        elif found is None:
            await self._refuse("501 5.5.4 RCPT TO:<address>")
        elif len(self._recipients) >= MAX_RECIPIENTS:
            await self._refuse("452 4.5.3 too many recipients")
        elif not self._mailroom.takes(found["address"]):
            await self._refuse("550 5.1.1 no such address here")
        else:
            self._recipients.append(found["address"])
            await self._answer("250 2.1.5 ok")

    async def _data(self, argument: str) -> None:
        if not self._recipients or argument:
            await self._refuse("503 5.5.1 not now" if not self._recipients else "501 5.5.4 DATA")
            return
        await self._answer("354 end with a dot on a line of its own")
        async with asyncio.timeout(self._settings.data_seconds):
            body = await self._incoming.body(MAX_BYTES)
        recipients = self._recipients
        self._reset(has_greeted=True)
        if body.size > self._settings.max_bytes:
            answers = ["552 5.3.4 the mail is too large"] * len(recipients)
        else:
            # Named again, an address costs nothing more.
            taken = {
                address: await self._take(address, body.content) for address in dict.fromkeys(recipients)
            }
            answers = [taken[address] for address in recipients]
        # LMTP answers for each recipient; in SMTP one that could not be taken has all of it sent again,
        # which does no harm to the others.
        await self._answer(*(answers if self._settings.is_lmtp else [max(answers)]))

    async def _take(self, address: str, raw: bytes) -> str:
        try:
            is_ours = await self._mailroom.take(address, raw)
        except Exception as error:
            if not is_outage(error):
                log.exception("a mail could not be taken in")
            return "451 4.3.0 not now, try again later"
        log.info("a mail came back", is_ours=is_ours)
        return "250 2.0.0 taken"

    async def _rset(self, argument: str) -> None:
        self._reset(has_greeted=self._has_greeted)
        await self._answer("250 2.0.0 ok")

    async def _noop(self, argument: str) -> None:
        await self._answer("250 2.0.0 ok")

    async def _vrfy(self, argument: str) -> None:
        await self._refuse("252 2.5.0 send it, then you will see")

    def _reset(self, *, has_greeted: bool) -> None:
        self._has_greeted, self._has_sender, self._recipients = has_greeted, False, []

    async def _refuse(self, text: str) -> None:
        self._errors += 1
        await self._answer(text)

    async def _answer(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode("ascii"))
        async with asyncio.timeout(self._settings.command_seconds):
            await self._writer.drain()

    async def _last_word(self, text: str) -> None:
        """For a client that may have stopped listening: it is not waited for."""
        if not self._writer.is_closing():
            self._writer.write(f"{text}\r\n".encode("ascii"))
