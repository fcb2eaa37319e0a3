"""Mail that a customer's program hands over on one connection (RFC 6409): sign in, then send.

A password crosses the wire only inside of TLS, or on this machine. What came before TLS began is
forgotten, and whatever a client sent ahead of it ends the connection: it would be read as if it had
come inside.
"""

import asyncio
import base64
import binascii
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from newsletter.kit import address
from newsletter.kit.db import is_outage
from newsletter.settings import Settings
from newsletter.smtpd.certificate import HANDSHAKE_SECONDS, Certificate
from newsletter.smtpd.conversation import Conversation, Ended
from newsletter.smtpd.counts import NO_ROOM, TOO_LARGE, UNAVAILABLE
from newsletter.smtpd.stream import Body, Incoming
from newsletter.smtpd.submissions import Submissions

log = structlog.get_logger(__name__)

_FROM = re.compile(r"FROM:\s?<(?P<address>[^<>]*)>(?P<parameters>(?: +\S+)*)", re.IGNORECASE)
_TO = re.compile(r"TO:\s?<(?P<address>[^<>]+)>(?P<parameters>(?: +\S+)*)", re.IGNORECASE)
_PARAMETER = re.compile(
    r"SIZE=\d{1,15}|BODY=(?:7BIT|8BITMIME)|SMTPUTF8|AUTH=\S+|RET=\S+|ENVID=\S+", re.IGNORECASE
)
"""Those of MAIL: where reports go is ours to say, so what is asked of them (RFC 3461) is passed over."""
_SIZE = re.compile(r"\bSIZE=(\d{1,15})\b", re.IGNORECASE)
_TOO_LARGE = "552 5.3.4 the mail is too large"
_NO_ROOM = "452 4.3.1 too many mails arrive at this moment, try again later"


@dataclass(frozen=True, slots=True)
class SignedIn:
    username: str
    password: str


class Submission(Conversation):
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        submissions: Submissions,
        certificate: Certificate | None,
        settings: Settings,
        name: str,
    ) -> None:
        super().__init__(Incoming(reader, is_strict=True), writer, settings.submission)
        self._submissions, self._certificate, self._name = submissions, certificate, name
        self._settings = settings
        # One that has left already has no address any more.
        self._client = str((writer.get_extra_info("peername") or ("::", 0))[0])
        self._is_encrypted = writer.get_extra_info("ssl_object") is not None
        self._has_greeted, self._has_sender = False, False
        self._signed_in: SignedIn | None = None
        self._recipients: list[str] = []
        self.greeting = f"{name} ESMTP takes mail to send"
        self.commands = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self.noop,
            "VRFY": self.vrfy,
        }

    async def run(self) -> None:
        with self._submissions.counts.connection():
            await super().run()

    @property
    def _is_local(self) -> bool:
        return ipaddress.ip_address(self._client.partition("%")[0]).is_loopback

    @property
    def _may_sign_in(self) -> bool:
        return self._is_encrypted or self._is_local

    async def _ehlo(self, argument: str) -> None:
        self._reset(has_greeted=True)
        words = [self._name, "PIPELINING", f"SIZE {self._settings.submission.max_bytes}", "8BITMIME"]
        words += ["SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self._certificate is not None and not self._is_encrypted:
            words.append("STARTTLS")
        if self._may_sign_in:
            words.append("AUTH PLAIN LOGIN")
        await self.extensions(*words)

    async def _helo(self, argument: str) -> None:
        self._reset(has_greeted=True)
        await self.answer(f"250 {self._name}")

    async def _starttls(self, argument: str) -> None:
        if self._certificate is None or self._is_encrypted:
            await self.refuse("503 5.5.1 not now")
        elif argument:
            await self.refuse("501 5.5.4 STARTTLS")
        else:
            await self._encrypt(self._certificate)
            self._signed_in = None
            self._reset(has_greeted=False)

    async def _encrypt(self, certificate: Certificate) -> None:
        # Nothing is read from here on, so that the client's first octets of TLS stay for TLS.
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]
        if not self.incoming.is_empty:
            await self.last_word("421 4.7.0 nothing may follow STARTTLS before its answer")
            raise Ended
        await self.answer("220 2.0.0 go ahead")
        try:
            await self.writer.start_tls(certificate.context(), ssl_handshake_timeout=HANDSHAKE_SECONDS)
        except OSError as error:  # Those of TLS among them.
            raise Ended from error
        self._is_encrypted = True

    async def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if not self._has_greeted or self._signed_in is not None or self._has_sender:
            await self.refuse("503 5.5.1 not now")
        elif not self._may_sign_in:
            await self.refuse("538 5.7.11 begin TLS first")
        elif mechanism.upper() == "PLAIN":
            await self._plain(initial.strip())
        elif mechanism.upper() == "LOGIN":
            await self._login(initial.strip())
        else:
            await self.refuse("504 5.5.4 PLAIN or LOGIN")

    async def _plain(self, initial: str) -> None:
        given = _decoded(initial or await self._asked(""))
        parts = [] if given is None else given.split("\0")
        if len(parts) != 3:
            await self.refuse("501 5.5.2 that is no AUTH PLAIN (RFC 4616)")
            return
        acting_for, username, password = parts
        await self._sign_in(username if acting_for in ("", username) else "", password)

    async def _login(self, initial: str) -> None:
        username = _decoded(initial or await self._asked("Username:"))
        password = None if username is None else _decoded(await self._asked("Password:"))
        if username is None or password is None:
            await self.refuse("501 5.5.2 that is no AUTH LOGIN")
            return
        await self._sign_in(username, password)

    async def _asked(self, challenge: str) -> str:
        await self.answer(f"334 {base64.b64encode(challenge.encode()).decode()}")
        return await self.line()

    async def _sign_in(self, username: str, password: str) -> None:
        try:
            principal = await self._submissions.sign_in(username, password)
        except Exception as error:
            self._submissions.counts.sign_in(UNAVAILABLE)
            if not is_outage(error):
                log.exception("a sign-in could not be looked at")
            await self.refuse("454 4.7.0 not now, try again later")
            return
        self._submissions.counts.sign_in("refused" if principal is None else "ok")
        if principal is not None:
            self._signed_in = SignedIn(username, password)
            await self.answer("235 2.7.0 welcome")
        elif await self._submissions.may_fail_again(self._client):
            await self.refuse("535 5.7.8 user name or password is wrong")
        else:
            await self.last_word("421 4.7.0 too many failed sign-ins, try again in a minute")
            raise Ended

    async def _mail(self, argument: str) -> None:
        found = _FROM.fullmatch(argument)
        if self._signed_in is None:
            must = "sign in first" if self._may_sign_in else "begin TLS, then sign in"
            await self.refuse(f"530 5.7.0 {must}")
        elif not self._has_greeted or self._has_sender:
            await self.refuse("503 5.5.1 not now")
        elif found is None:
            await self.refuse("501 5.5.4 MAIL FROM:<address>")
        elif not all(map(_PARAMETER.fullmatch, found["parameters"].split())):
            await self.refuse("555 5.5.4 a parameter is not known")
        elif (size := _octets_of(found["parameters"])) > self._max_bytes:
            self._submissions.counts.mail(TOO_LARGE)
            await self.refuse(_TOO_LARGE)
        elif not self._submissions.room.fits(size):
            # Not an error of the client, which may wait for room on this connection (RFC 1870 §6.1).
            self._submissions.counts.mail(NO_ROOM)
            await self.answer(_NO_ROOM)
        else:
            self._has_sender = True
            await self.answer("250 2.1.0 ok")

    async def _rcpt(self, argument: str) -> None:
        found = _TO.fullmatch(argument)
        if not self._has_sender:
            await self.refuse("503 5.5.1 not now")
        elif found is None:
            await self.refuse("501 5.5.4 RCPT TO:<address>")
        elif len(self._recipients) >= self._settings.limits.recipients:
            await self.refuse("452 4.5.3 too many recipients")
        else:
            try:
                address.parse(found["address"])
            except ValueError as error:
                await self.refuse(f"553 5.1.3 {' '.join(str(error).split())[:300]}")
                return
            self._recipients.append(found["address"])
            await self.answer("250 2.1.5 ok")

    async def _data(self, argument: str) -> None:
        if not self._recipients or argument or self._signed_in is None:
            await self.refuse("503 5.5.1 not now" if not self._recipients else "501 5.5.4 DATA")
            return
        await self.answer("354 end with a dot on a line of its own")
        with self._submissions.room.share() as share:
            async with asyncio.timeout(self.patience.data_seconds):
                body = await self.incoming.body(self._max_bytes, share.grow)
            await self.answer(await self._taken(body, self._recipients, self._signed_in))
        self._reset(has_greeted=True)

    async def _taken(self, body: Body, recipients: Sequence[str], signed_in: SignedIn) -> str:
        if body.size > self._max_bytes:
            self._submissions.counts.mail(TOO_LARGE)
            return _TOO_LARGE
        if not body.is_held:
            self._submissions.counts.mail(NO_ROOM)
            return _NO_ROOM
        return await self._submissions.take(
            signed_in.username, signed_in.password, recipients, body.content, self._client
        )

    @property
    def _max_bytes(self) -> int:
        return self._settings.submission.max_bytes

    async def _rset(self, argument: str) -> None:
        self._reset(has_greeted=self._has_greeted)
        await self.answer("250 2.0.0 ok")

    def _reset(self, *, has_greeted: bool) -> None:
        self._has_greeted, self._has_sender, self._recipients = has_greeted, False, []


def _octets_of(parameters: str) -> int:
    """What a client says that its mail has (RFC 1870); 0 where it says nothing."""
    found = _SIZE.search(parameters)
    return int(found[1]) if found else 0


def _decoded(text: str) -> str | None:
    """None for what is no base64 of UTF-8; a lone ``*`` takes the question back (RFC 4954 §4)."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
