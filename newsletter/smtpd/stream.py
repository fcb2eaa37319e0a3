"""Lines and bodies of a dialogue, read from a socket within bounds of size and time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

CHUNK = 65_536
MAX_LINE = 2_000
"""Octets of a command line; RFC 5321 §4.5.3.1.4 asks for 512, more with extensions."""
_END = b"\r\n.\r\n"


class LineTooLong(Exception):
    """Nothing more is read after it."""


class BareLineEnd(Exception):
    """A command ended with a bare LF, where a mail of somebody else may have been meant to go on."""


class Gone(Exception):
    """The client closed the connection."""


@dataclass(frozen=True, slots=True)
class Body:
    content: bytes
    """As far as it was kept, without the dots of RFC 5321 §4.5.2."""
    size: int
    """Octets that the client sent."""
    is_held: bool = True
    """False where there was no room to keep it: then there is no content."""


class _Kept:
    """The beginning of a mail, as far as it may stay in memory."""

    def __init__(self, most: int, grow: Callable[[int], bool]) -> None:
        self._most, self._grow = most, grow
        self.content, self.is_held = bytearray(), True

    def add(self, window: bytearray, octets: int) -> None:
        more = min(octets, self._most - len(self.content))
        if more <= 0 or not self.is_held:
            return
        self.is_held = self._grow(more)
        if self.is_held:
            self.content += window[:more]
        else:
            self.content.clear()


class Incoming:
    """What a client sends. It may send several commands at once (RFC 2920)."""

    def __init__(self, reader: asyncio.StreamReader, *, is_strict: bool = False) -> None:
        """``is_strict``: each command must end with CRLF (RFC 5321 §2.3.8)."""
        self._reader, self._is_strict = reader, is_strict
        self._held = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether the client waits for an answer: nothing came that was not read yet."""
        # The reader has no other way to ask without waiting.
        return not self._held and not self._reader._buffer  # type: ignore[attr-defined]

    async def line(self) -> str:
        """The next command, without its end. Raises `LineTooLong`, `BareLineEnd` and `Gone`."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > MAX_LINE:
                raise LineTooLong
            await self._read()
        if end > MAX_LINE:
            raise LineTooLong
        line = bytes(self._held[:end])
        if self._is_strict and not line.endswith(b"\r"):
            raise BareLineEnd
        del self._held[: end + 1]
        return line.decode("utf-8", errors="replace").rstrip("\r")

    async def body(self, keep: int, grow: Callable[[int], bool] = lambda octets: True) -> Body:
        """A mail up to its final dot; all of it is read, and the first ``keep`` octets stay in memory.
        ``grow`` is asked before so many more stay; once it says no, nothing does.

        Only a dot between two CRLF ends it. Servers that also took a bare LF there were made to read
        one mail as two. Raises `Gone`.
        """
        window, self._held = self._held, bytearray()
        window[:0] = b"\r\n"  # The end of the DATA line may begin the final dot.
        kept, size = _Kept(keep + 2, grow), 0
        while (end := window.find(_END)) < 0:
            if (safe := len(window) - len(_END) + 1) > 0:
                kept.add(window, safe)
                size += safe
                del window[:safe]
            self._held = window
            await self._read()
        kept.add(window, end + 2)
        self._held = window[end + len(_END) :]
        return Body(bytes(kept.content.replace(b"\r\n.", b"\r\n")[2:]), size + end, kept.is_held)

    async def _read(self) -> None:
        chunk = await self._reader.read(CHUNK)
        if not chunk:
            raise Gone
        self._held += chunk
