"""Returned mail on one connection: SMTP (RFC 5321) or LMTP (RFC 2033), as far as only taking it needs them.

Nothing is relayed and nobody signs in. Of a mail, as much stays in memory as will be read of it, so
that neither its size nor the number of connections decides how much memory this takes. Lines may be
longer than RFC 5322 allows: broken senders are common among those who return mail.
"""

import asyncio
import re

import structlog

from newsletter.feedback.reports import MAX_BYTES
from newsletter.kit.db import is_outage
from newsletter.settings import SMTPDSettings
from newsletter.smtpd.conversation import Command, Conversation
from newsletter.smtpd.mailroom import Mailroom
from newsletter.smtpd.stream import Incoming

log = structlog.get_logger(__name__)

MAX_RECIPIENTS = 100
"""Of one mail (RFC 5321 §4.5.3.1.8). A returned mail has one."""
_FROM = re.compile(r"FROM:\s*<[^<>]*>(?P<parameters>.*)", re.IGNORECASE)
_TO = re.compile(r"TO:\s*<(?P<address>[^<>]*)>.*", re.IGNORECASE)
_SIZE = re.compile(r"\bSIZE=(\d{1,15})\b", re.IGNORECASE)


class Dialogue(Conversation):
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mailroom: Mailroom,
        settings: SMTPDSettings,
        name: str,
    ) -> None:
        super().__init__(Incoming(reader), writer, settings)
        self._mailroom, self._settings, self._name = mailroom, settings, name
        self._has_greeted, self._has_sender = False, False
        self._recipients: list[str] = []
        self.greeting = f"{name} takes returned mail"
        greetings: dict[str, Command] = (
            {"LHLO": self._extended} if settings.is_lmtp else {"EHLO": self._extended, "HELO": self._helo}
        )
        self.commands = greetings | {
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self.noop,
            "VRFY": self.vrfy,
        }

    async def _extended(self, argument: str) -> None:
        self._reset(has_greeted=True)
        size = f"SIZE {self._settings.max_bytes}"
        await self.extensions(self._name, "PIPELINING", size, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")

    async def _helo(self, argument: str) -> None:
        self._reset(has_greeted=True)
        await self.answer(f"250 {self._name}")

    async def _mail(self, argument: str) -> None:
        found = _FROM.fullmatch(argument)
        if not self._has_greeted or self._has_sender:
            await self.refuse("503 5.5.1 not now")
        elif found is None:
            await self.refuse("501 5.5.4 MAIL FROM:<address>")
        elif (size := _SIZE.search(found["parameters"])) and int(size[1]) > self._settings.max_bytes:
            await self.refuse("552 5.3.4 the mail is too large")
        else:
            self._has_sender = True
            await self.answer("250 2.1.0 ok")

    async def _rcpt(self, argument: str) -> None:
        found = _TO.fullmatch(argument)
        if not self._has_sender:
            await self.refuse("503 5.5.1 not now")
        elif found is None:
            await self.refuse("501 5.5.4 RCPT TO:<address>")
        elif len(self._recipients) >= MAX_RECIPIENTS:
            await self.refuse("452 4.5.3 too many recipients")
        elif not self._mailroom.takes(found["address"]):
            await self.refuse("550 5.1.1 no such address here")
        else:
            self._recipients.append(found["address"])
            await self.answer("250 2.1.5 ok")

    async def _data(self, argument: str) -> None:
        if not self._recipients or argument:
            await self.refuse("503 5.5.1 not now" if not self._recipients else "501 5.5.4 DATA")
            return
        await self.answer("354 end with a dot on a line of its own")
        async with asyncio.timeout(self._settings.data_seconds):
            body = await self.incoming.body(MAX_BYTES)
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
        await self.answer(*(answers if self._settings.is_lmtp else [max(answers)]))

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
        await self.answer("250 2.0.0 ok")

    def _reset(self, *, has_greeted: bool) -> None:
        self._has_greeted, self._has_sender, self._recipients = has_greeted, False, []
