"""An SMTP server that takes mail by the thousand and misbehaves when it is told to.

It keeps who got which Message-ID and nothing else, in a thread and an event loop of its
own. For a server with extensions, TLS and sign-in there is `tests.smtp_sink`.
"""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, cast

import uvloop

Chosen = Callable[[str], bool]
"""Whether a fault happens to this recipient."""


def nobody(recipient: str) -> bool:
    return False


def everybody(recipient: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Mail:
    recipient: str
    message_id: str
    client: str
    """The name that the sending process gave with EHLO."""
    at: float
    """On the monotonic clock."""


@dataclass(slots=True)
class Faults:
    """What goes wrong from now on; a test changes it while mail arrives."""

    delay: float = 0.0
    """Seconds between a message and its answer."""
    refuse: Chosen = nobody
    """``550 5.1.1`` to RCPT."""
    busy: Chosen = nobody
    """``421`` to RCPT, and the connection is closed."""
    greylist: Chosen = nobody
    """``451 4.7.1`` to RCPT."""
    full: Chosen = nobody
    """``452 4.2.2`` in place of the 250 after the final dot: the message is not kept."""
    is_silent: bool = False
    """Connections are taken and never greeted."""
    cut_before_the_dot: Chosen = nobody
    """The connection is lost when the message should begin."""
    cut_after_the_dot: Chosen = nobody
    """The message is kept, and the connection lost before the answer."""
    hang: Chosen = nobody
    """The message is kept; the answer never comes."""


@dataclass(slots=True)
class Sink:
    """Start and stop it as a context manager; ``port`` stays the same when it is started again."""

    port: int = 0
    faults: Faults = field(default_factory=Faults)
    mails: list[Mail] = field(default_factory=list)
    """Everything that was taken, answered or not, in order."""
    dropped: list[str] = field(default_factory=list)
    """Recipients whose message was cut, or refused for now."""
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _connections: "set[_Connection]" = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"smtp+plain://127.0.0.1:{self.port}"

    def copies(self) -> Counter[str]:
        """How often each recipient got a mail."""
        return Counter(mail.recipient for mail in list(self.mails))

    def longest_silence(self, since: float) -> float:
        """The most seconds between two mails from then on."""
        times = [since, *(mail.at for mail in list(self.mails) if mail.at >= since)]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def start(self) -> Self:
        started = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop, started), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the sink did not start")
        return self

    def stop(self) -> None:
        """Closes the port and every connection; what was taken stays."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self, loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
        listening = loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=512)
        server = loop.run_until_complete(listening)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        loop.run_forever()
        server.close()
        for connection in list(self._connections):
            connection.abort()
        loop.run_until_complete(server.wait_closed())
        loop.close()


class _Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._is_data = False
        self._is_muted = False
        self._recipient = self._client = ""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sink._connections.add(self)
        if not self._sink.faults.is_silent:
            self._say(b"220 sink.test ESMTP")

    def connection_lost(self, error: Exception | None) -> None:
        self._sink._connections.discard(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_message() if self._is_data else self._take_line():
            pass

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0 or self._is_muted:
            return False
        line = self._buffer[:end].decode()
        del self._buffer[: end + 2]
        self._obey(line)
        return True

    def _obey(self, line: str) -> None:
        verb = line[:4].upper()
        if verb == "EHLO":
            self._client = line[5:]
            self._say(b"250-sink.test\r\n250-8BITMIME\r\n250 SMTPUTF8")
        elif verb == "RCPT":
            self._recipient = line.partition("<")[2].partition(">")[0]
            self._meet_recipient()
        elif verb == "DATA":
            self._meet_message()
        elif verb == "QUIT":
            self._say(b"221 bye")
            self._close()
        else:
            self._say(b"250 OK")

    def _meet_recipient(self) -> None:
        faults = self._sink.faults
        if faults.busy(self._recipient):
            self._sink.dropped.append(self._recipient)
            self._say(b"421 4.3.2 too busy, closing")
            self._close()
        elif faults.greylist(self._recipient):
            self._sink.dropped.append(self._recipient)
            self._say(b"451 4.7.1 greylisted, come back later")
        elif faults.refuse(self._recipient):
            self._say(b"550 5.1.1 no such user")
        else:
            self._say(b"250 OK")

    def _meet_message(self) -> None:
        if self._sink.faults.cut_before_the_dot(self._recipient):
            self._sink.dropped.append(self._recipient)
            self.abort()
        else:
            self._is_data = True
            self._say(b"354 go on")

    def _take_message(self) -> bool:
        faults = self._sink.faults
        end = self._buffer.find(b"\r\n.\r\n")
        if end < 0:
            return False
        content = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 5]
        self._is_data = False
        if faults.full(self._recipient):
            self._sink.dropped.append(self._recipient)
            self._say(b"452 4.2.2 mailbox full")
            return True
        mail = Mail(self._recipient, _message_id(content), self._client, time.monotonic())
        self._sink.mails.append(mail)
        if faults.cut_after_the_dot(self._recipient):
            self._sink.dropped.append(self._recipient)
            self.abort()
            return False
        if faults.hang(self._recipient):
            self._is_muted = True
        elif faults.delay:
            # The next command waits as well, as with a server that is slow.
            self._is_muted = True
            asyncio.get_running_loop().call_later(faults.delay, self._accept_late)
        else:
            self._say(b"250 2.0.0 taken")
        return True

    def _accept_late(self) -> None:
        self._is_muted = False
        self._say(b"250 2.0.0 taken")
        self.data_received(b"")

    def _say(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer + b"\r\n")

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _message_id(content: bytes) -> str:
    head = content.partition(b"\r\n\r\n")[0]
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"message-id:"):
            return line.partition(b":")[2].strip().decode()
    raise ValueError("a message without a Message-ID")
