"""One SMTP connection as bytes and replies, without a notion of mail.

Written on `asyncio.Protocol` rather than on aiosmtplib, whose ``data()`` is one step: an
error there does not tell whether the final dot had left, and that alone decides between
"try again" and "nobody knows". Here the kernel's acceptance of the last byte is observed.
Every wait can be cancelled; `Wire.abort` then drops the connection at once.
"""

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import Self, cast

_MAX_REPLY = 64 * 1024
_ENHANCED = re.compile(r"#?([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), " ")


class Lost(Exception):
    """The connection ended, timed out or spoke no SMTP; it is of no further use."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered, with the code taken off each line."""

    code: int
    lines: tuple[str, ...]

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 2034), where it agrees with the reply code."""
        for line in self.lines:
            if (found := _ENHANCED.match(line)) and found[1][0] == str(self.code)[0]:
                return found[1]
        return None

    @property
    def text(self) -> str:
        """The whole reply on one line, without control characters."""
        return " ".join(" ".join((str(self.code), *self.lines)).split())


class Wire(asyncio.Protocol):
    """Commands out, replies in, one at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._raw: asyncio.Transport
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._is_paused = False
        self._lost: str | None = None
        self._closed = self._loop.create_future()
        self._waiter: asyncio.Future[None] | None = None
        self.tls_version: str | None = None

    @classmethod
    async def open(cls, host: str, port: int, within: float) -> Self:
        """Raises `OSError` or `Lost`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within):
                _, wire = await loop.create_connection(cls, host, port)
        except TimeoutError:
            raise Lost(f"no connection within {within:g} s") from None
        return wire

    async def start_tls(self, context: ssl.SSLContext, host: str, within: float) -> None:
        """Raises `OSError` (of which `ssl.SSLError` is one) or `Lost`."""
        if self._buffer:
            # What came in the clear behind the answer to STARTTLS is not from the server that
            # the certificate names (CVE-2011-0411).
            raise Lost("the server spoke before TLS began")
        try:
            async with asyncio.timeout(within):
                upgraded = await self._loop.start_tls(self._raw, self, context, server_hostname=host)
        except TimeoutError:
            raise Lost(f"no TLS within {within:g} s") from None
        if upgraded is None or self._lost is not None:
            raise Lost(self._lost or "the connection ended during the TLS handshake")
        self._transport = upgraded
        # asyncio's TLS transport pauses at its limit rather than above it.
        upgraded.set_write_buffer_limits(high=1)
        self.tls_version = upgraded.get_extra_info("ssl_object").version()

    @property
    def is_quiet(self) -> bool:
        """Whether the connection stands and the server has said nothing unasked."""
        return self._lost is None and not self._buffer and not self._transport.is_closing()

    @property
    def has_sent_all(self) -> bool:
        """Whether the kernel has taken all that was written."""
        return not self._is_paused

    @property
    def local_address(self) -> str:
        return cast(str, self._raw.get_extra_info("sockname")[0])

    @property
    def peer_address(self) -> str:
        return cast(str, self._raw.get_extra_info("peername")[0])

    async def ask(self, command: bytes, within: float) -> Reply:
        """Sends one line and reads its reply. Raises `Lost`."""
        if self._buffer and (early := self._take()) is not None:
            if early.code == 421:
                return early
            raise Lost(f"the server spoke out of turn: {early.text}")
        self._write(command + b"\r\n")
        return await self.reply(within)

    async def reply(self, within: float) -> Reply:
        """The next reply. Raises `Lost`."""
        if (reply := self._take()) is not None:
            return reply
        try:
            async with asyncio.timeout(within):
                while True:
                    if self._lost is not None:
                        raise Lost(self._lost)
                    await self._event()
                    if (reply := self._take()) is not None:
                        return reply
        except TimeoutError:
            raise Lost(f"no answer within {within:g} s") from None

    async def send_message(self, content: bytes, within: float) -> None:
        """Writes a dot-stuffed message and its final dot.

        Returns once the dot was given to the kernel, the server answered early, or the
        connection ended; `reply` tells the latter two, `has_sent_all` whether the server can
        have the message at all. Raises `Lost` when it cannot. ``within`` is for each stretch
        without progress.
        """
        if self._transport is self._raw:
            self._write(content + b".\r\n")
        else:
            # A TLS transport knows of unsent bytes below it only when it is written to again.
            self._write(content)
            self._write(b".\r\n")
        if self._transport.is_closing():
            raise Lost(self._lost or "the connection ended while the message was sent")
        while self._is_paused and self._lost is None and not self._buffer:
            unsent = self._unsent()
            try:
                async with asyncio.timeout(within):
                    await self._event()
            except TimeoutError:
                if self._unsent() >= unsent:
                    raise Lost(f"the server took nothing of the message for {within:g} s") from None

    def quit(self) -> None:
        """Takes leave without waiting for the answer."""
        if self._lost is None:
            self._transport.write(b"QUIT\r\n")
        self._transport.close()

    def abort(self) -> None:
        self._lost = self._lost or "the connection was dropped"
        # The raw transport has no goodbyes to wait for; TLS above it learns of the end.
        self._raw.abort()

    async def wait_closed(self, within: float) -> None:
        """Waits for the end that `quit` or `abort` began, and forces it after ``within``."""
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self.abort()
            await asyncio.shield(self._closed)

    def _write(self, data: bytes) -> None:
        if self._lost is not None or self._transport.is_closing():
            raise Lost(self._lost or "the connection has ended")
        self._transport.write(data)

    def _unsent(self) -> int:
        sizes = {
            id(transport): transport.get_write_buffer_size() for transport in (self._raw, self._transport)
        }
        return sum(sizes.values())

    def _take(self) -> Reply | None:
        """The first complete reply in the buffer (RFC 5321 §4.2), or None. Raises `Lost`."""
        lines: list[str] = []
        start = 0
        while (end := self._buffer.find(b"\n", start)) >= 0:
            line = bytes(self._buffer[start:end]).rstrip(b"\r")
            start = end + 1
            code, mark = line[:3], line[3:4]
            if not (code.isdigit() and len(code) == 3 and mark in (b" ", b"-", b"")):
                self.abort()
                raise Lost("the server does not speak SMTP")
            lines.append(line[4:].decode("utf-8", "replace").translate(_CONTROL))
            if mark != b"-":
                del self._buffer[:start]
                return Reply(int(code), tuple(lines))
        if len(self._buffer) > _MAX_REPLY:
            self.abort()
            raise Lost("the server's answer is endless")
        return None

    async def _event(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What follows is called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = self._transport = cast(asyncio.Transport, transport)
        # With no slack in user space, "not paused" means that the kernel has every byte.
        self._raw.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > 2 * _MAX_REPLY:
            self.abort()
        self._wake()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    def eof_received(self) -> None:
        self._lost = self._lost or "the server closed the connection"
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        reason = f"the connection was lost: {error}" if error else "the server closed the connection"
        self._lost = self._lost or reason
        if not self._closed.done():
            self._closed.set_result(None)
        self._wake()
