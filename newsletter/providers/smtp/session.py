"""The SMTP dialogue: greeting, TLS, sign-in, and one transaction per message.

What a lost connection or a refusal means depends on the step it happens in:

    connect, greeting, EHLO, STARTTLS, AUTH   ServerDown: nothing was tried
    MAIL, RCPT, DATA, message                 Temporary or Permanent by the code; lost is Temporary
    after the final dot                       by the code; lost is Unknown
"""

import base64
import ipaddress
import pathlib
import socket
import ssl
from typing import Self

from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal, ServerDown, Temporary, Unknown
from newsletter.providers.smtp.addresses import Path, message_on_the_wire, path
from newsletter.providers.smtp.config import TLS, SMTPServer, Timeouts
from newsletter.providers.smtp.wire import Lost, Reply, Wire

# These answers to MAIL speak of the connection, not of the message (RFC 4954 §6, RFC 3207).
_NOT_SIGNED_IN = frozenset({530, 534, 535, 538})
_GOODBYE = 2.0


def tls_context(ca_file: pathlib.Path | None) -> ssl.SSLContext:
    """Verifies name and chain. Loads the system's authorities, which takes milliseconds:
    make it once. Raises `OSError` where ``ca_file`` cannot be read."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Session:
    """One signed-in connection. Make it with `open`; it is used by one task at a time."""

    def __init__(self, server: SMTPServer, wire: Wire, timeouts: Timeouts) -> None:
        self._server = server
        self._wire = wire
        self._timeouts = timeouts
        self._features: dict[str, str] = {}
        self._is_in_transaction = False
        self.served = 0
        """Messages it was used for, refused ones included."""
        self.went_stale = False
        """Whether it had served before and ended before it answered MAIL: the message that met
        this may be tried on a fresh connection at once."""

    @classmethod
    async def open(
        cls,
        server: SMTPServer,
        address: str,
        timeouts: Timeouts,
        context: ssl.SSLContext | None,
        local_hostname: str | None,
    ) -> Self:
        """Connects to ``address``, the server's name or one of its addresses, and signs in. Raises
        `ServerDown`."""
        try:
            wire = await Wire.open(address, server.port, timeouts.connect)
        except (OSError, UnicodeError, Lost) as error:
            raise ServerDown(f"cannot connect to {server.host}:{server.port}: {error}") from error
        session = cls(server, wire, timeouts)
        try:
            await session._begin(context, local_hostname or _own_name(wire))
        except (OSError, Lost) as error:
            session.abort()
            raise ServerDown(f"{server.host}:{server.port}: {error}") from error
        except BaseException:
            session.abort()
            raise
        return session

    @property
    def is_ready(self) -> bool:
        """Whether another message may be sent on it."""
        return self._wire.is_quiet and not self._is_in_transaction

    @property
    def description(self) -> str:
        tls = f"over {self._wire.tls_version}" if self._wire.tls_version else "without TLS"
        who = f"signed in as {self._server.username}" if self._server.username else "without signing in"
        return f"Connected to {self._server.host}:{self._server.port} {tls}, {who}."

    async def deliver(self, envelope: Envelope) -> Receipt:
        """One transaction. Raises a `Refusal`; never more than one message is at stake."""
        sender = path(envelope.return_path, is_sender=True)
        recipient = path(envelope.recipient)
        content = message_on_the_wire(envelope.content)
        mail = self._mail_command(sender, recipient, len(envelope.content))
        has_served, self.served = self.served > 0, self.served + 1
        try:
            reply = await self._wire.ask(mail, self._timeouts.command)
        except Lost as lost:
            self.went_stale = has_served
            raise self._lost_before_the_dot("MAIL", lost) from lost
        if reply.code == 421:
            self.went_stale = has_served
        if reply.code in _NOT_SIGNED_IN:
            self.abort()
            raise ServerDown(reply.text, code=reply.code, enhanced=reply.enhanced)
        self._expect(reply, "MAIL")
        self._is_in_transaction = True
        await self._step("RCPT", b"RCPT TO:<" + recipient.encoded + b">")
        await self._step("DATA", b"DATA")
        try:
            await self._wire.send_message(content, self._timeouts.data)
        except Lost as lost:
            raise self._lost_before_the_dot("the message", lost) from lost
        return await self._final_reply()

    async def reset(self) -> None:
        """Ends a transaction that was refused midway, so that the next message can use the connection."""
        if not self._is_in_transaction or not self._wire.is_quiet:
            return
        try:
            reply = await self._wire.ask(b"RSET", self._timeouts.command)
        except Lost:
            # Nobody's message is at stake: `is_ready` stays false and the pool drops it.
            self.abort()
            return
        self._is_in_transaction = reply.code // 100 != 2

    def quit(self) -> None:
        self._wire.quit()

    def abort(self) -> None:
        self._wire.abort()

    async def wait_closed(self) -> None:
        await self._wire.wait_closed(_GOODBYE)

    # Beginning

    async def _begin(self, context: ssl.SSLContext | None, local_name: str) -> None:
        mode = self._server.tls
        if mode is TLS.IMPLICIT:
            await self._encrypt(context)
        self._must(await self._wire.reply(self._timeouts.command), "greeting")
        await self._ehlo(local_name)
        if mode is TLS.REQUIRED or (mode is TLS.OFFERED and "STARTTLS" in self._features):
            if "STARTTLS" not in self._features:
                raise ServerDown(f"{self._server.host} does not offer STARTTLS")
            self._must(await self._wire.ask(b"STARTTLS", self._timeouts.command), "STARTTLS")
            await self._encrypt(context)
            await self._ehlo(local_name)
        if self._server.username is not None and self._server.password is not None:
            await self._sign_in(self._server.username, self._server.password)

    async def _encrypt(self, context: ssl.SSLContext | None) -> None:
        if context is None:
            raise ServerDown("this server was configured without TLS")
        try:
            await self._wire.start_tls(context, self._server.host, self._timeouts.connect)
        except ssl.SSLCertVerificationError as error:
            raise ServerDown(
                f"the certificate of {self._server.host} is not trusted: {error.verify_message}"
            ) from error

    async def _ehlo(self, local_name: str) -> None:
        reply = await self._wire.ask(f"EHLO {local_name}".encode("ascii"), self._timeouts.command)
        if reply.code in (500, 502, 504):
            # A server that knows no extensions (RFC 5321 §3.2).
            reply = await self._wire.ask(f"HELO {local_name}".encode("ascii"), self._timeouts.command)
            self._must(reply, "HELO")
            self._features = {}
            return
        self._must(reply, "EHLO")
        # "AUTH=LOGIN" is how some servers repeated the line for clients older than RFC 2554.
        words = [line.upper().replace("AUTH=", "AUTH ").partition(" ") for line in reply.lines[1:]]
        self._features = {}
        for word, _, rest in words:
            self._features[word] = f"{self._features.get(word, '')} {rest}".strip()

    async def _sign_in(self, username: str, password: str) -> None:
        if self._wire.tls_version is None and self._server.tls is not TLS.NONE and not self._is_local():
            raise ServerDown(
                f"{self._server.host} offers no TLS, so the password was not sent; "
                "smtp+plain:// would send it in the clear"
            )
        offered = self._features.get("AUTH", "").split()
        user, secret = username.encode(), password.encode()
        if "PLAIN" in offered:
            token = base64.b64encode(b"\0" + user + b"\0" + secret)
            reply = await self._wire.ask(b"AUTH PLAIN " + token, self._timeouts.command)
        elif "LOGIN" in offered:
            reply = await self._wire.ask(b"AUTH LOGIN", self._timeouts.command)
            for answer in (user, secret):
                if reply.code == 334:
                    reply = await self._wire.ask(base64.b64encode(answer), self._timeouts.command)
        else:
            raise ServerDown(f"{self._server.host} offers no sign-in by password (AUTH PLAIN or LOGIN)")
        self._must(reply, "sign-in")

    def _is_local(self) -> bool:
        return ipaddress.ip_address(self._wire.peer_address.partition("%")[0]).is_loopback

    def _must(self, reply: Reply, step: str) -> None:
        if reply.code // 100 != 2:
            raise ServerDown(
                f"{self._server.host} refused the {step}: {reply.text}",
                code=reply.code,
                enhanced=reply.enhanced,
            )

    # Transaction

    def _mail_command(self, sender: Path, recipient: Path, size: int) -> bytes:
        command = b"MAIL FROM:<" + sender.encoded + b">"
        if "SIZE" in self._features:
            command += b" SIZE=%d" % size
        if sender.is_international or recipient.is_international:
            if "SMTPUTF8" not in self._features:
                raise Permanent(
                    "the sending server takes no addresses with other than ASCII letters before the @",
                    enhanced="5.6.7",
                )
            command += b" SMTPUTF8"
        return command

    async def _step(self, verb: str, command: bytes) -> None:
        timeout = self._timeouts.data if verb == "DATA" else self._timeouts.command
        try:
            reply = await self._wire.ask(command, timeout)
        except Lost as lost:
            raise self._lost_before_the_dot(verb, lost) from lost
        self._expect(reply, verb)

    def _expect(self, reply: Reply, verb: str) -> None:
        kind = reply.code // 100
        if reply.code == 354 if verb == "DATA" else kind == 2:
            return
        if reply.code == 421 or kind not in (4, 5):
            # Either it is closing, or the two sides no longer agree on where they are.
            self.abort()
        # RFC 5321 §4.5.3.1.10: a 552 to RCPT is to be read as 452.
        is_final = kind == 5 and not (reply.code == 552 and verb == "RCPT")
        refusal: type[Refusal] = Permanent if is_final else Temporary
        raise refusal(reply.text, code=reply.code, enhanced=reply.enhanced)

    async def _final_reply(self) -> Receipt:
        try:
            reply = await self._wire.reply(self._timeouts.final)
        except Lost as lost:
            if not self._wire.has_sent_all:
                raise self._lost_before_the_dot("the message", lost) from lost
            self.abort()
            raise Unknown(f"after the message was sent: {lost}") from lost
        self._is_in_transaction = False
        kind = reply.code // 100
        if kind == 2 and self._wire.has_sent_all:
            return Receipt(reply.text[:500])
        if reply.code == 421 or kind not in (4, 5) or not self._wire.has_sent_all:
            self.abort()
        refusal: type[Refusal] = {4: Temporary, 5: Permanent}.get(kind, Unknown)
        raise refusal(reply.text, code=reply.code, enhanced=reply.enhanced)

    def _lost_before_the_dot(self, step: str, lost: Lost) -> Temporary:
        self.abort()
        return Temporary(f"at {step}: {lost}")


def _own_name(wire: Wire) -> str:
    """This machine's name where it is a full one, else its address (RFC 5321 §4.1.3)."""
    name = socket.gethostname()
    if "." in name.strip(".") and name.isascii():
        return name
    address = ipaddress.ip_address(wire.local_address.partition("%")[0])
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"
