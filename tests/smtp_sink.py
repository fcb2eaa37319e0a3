"""A real SMTP server on a free port that keeps what it is sent, for any test that sends mail.

It runs in a thread of its own, so it serves synchronous tests and any event loop::

    def test_something(smtp_sink: Sink) -> None:
        smtp_sink.refuse("bob@example.com", "550 5.1.1 No such user")
        ...  # send through smtp_sink.url
        assert smtp_sink.recipients == ["alice@example.com"]
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Literal, cast
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

Step = Literal["mail", "rcpt", "data"]


@dataclass(frozen=True, slots=True)
class Received:
    """One message for one recipient, as it came in."""

    recipient: str
    sender: str
    """The return path of the envelope."""
    message_id: str
    """The Message-ID header, with its angle brackets."""
    raw: bytes
    secure: bool
    """Whether it came over TLS."""
    connection: int
    """Which connection it came on, counted from 1."""

    @property
    def parsed(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)


@dataclass(slots=True)
class _Refusal:
    answer: str
    at: Step
    times: int | None


class Sink:
    """Start it with `start` or as a context manager; ``port`` and ``url`` are known from then on.

    ``users`` (name to password) makes it offer and require a sign-in; ``tls`` makes it offer
    STARTTLS, or speak TLS from the start with ``implicit_tls``.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        delay: float = 0.0,
        smtputf8: bool = True,
    ) -> None:
        self.delay = delay
        """Seconds between a message and its answer; may be changed at any time."""
        self.is_held = False
        """While it is set, no message is taken: what arrives waits for its answer."""
        self.arrived = 0
        """How many messages came in whole, answered or not."""
        self.connections = 0
        self._users = users
        self._tls = tls
        self._implicit = implicit_tls
        self._smtputf8 = smtputf8
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._refusals: dict[str, _Refusal] = {}
        self._server: _Server | None = None
        self._port = 0

    # Life

    def start(self) -> "Sink":
        """Keeps its port when it is started again after `stop`."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        options = {
            "hostname": "sink.test",
            "ident": "sink",
            "tls_context": None if self._implicit else self._tls,
            "authenticator": self._authenticate if self._users else None,
            "auth_require_tls": False,
            "enable_SMTPUTF8": self._smtputf8,
        }
        self._server = _Server(_Handler(self), listener, self._tls if self._implicit else None, options)
        self._server.start()
        return self

    def stop(self) -> None:
        """Closes its port and its connections; what it received stays readable."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> "Sink":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        scheme = "smtps" if self._implicit else "smtp+starttls" if self._tls else "smtp+plain"
        login = next(
            (f"{quote(u, safe='')}:{quote(p, safe='')}@" for u, p in (self._users or {}).items()), ""
        )
        return f"{scheme}://{login}127.0.0.1:{self._port}"

    # Script

    def refuse(self, recipient: str, answer: str, *, at: Step = "rcpt", times: int | None = None) -> None:
        """Answers so whenever ``recipient`` is written to, or the next ``times`` times.

        ``"*"`` stands for every recipient. At ``mail`` the address is that of the sender.
        """
        with self._lock:
            self._refusals[recipient] = _Refusal(answer, at, times)

    def accept(self, recipient: str) -> None:
        """Takes a `refuse` back."""
        with self._lock:
            self._refusals.pop(recipient, None)

    # Outcome

    @property
    def received(self) -> list[Received]:
        with self._lock:
            return list(self._received)

    @property
    def recipients(self) -> list[str]:
        """Sorted, with repetitions: a mail that came twice is here twice."""
        return sorted(one.recipient for one in self.received)

    def to(self, recipient: str) -> list[Received]:
        return [one for one in self.received if one.recipient == recipient]

    def clear(self) -> None:
        with self._lock:
            self._received.clear()

    def wait_for(self, count: int, seconds: float = 60) -> list[Received]:
        """Blocks until so many messages are here. Raises `AssertionError` when they are not in time."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} messages in {seconds} s"
            time.sleep(0.01)
        return self.received

    # Called by the server's thread.

    def _answer(self, address: str, step: Step) -> str | None:
        with self._lock:
            for key in (address, "*"):
                refusal = self._refusals.get(key)
                if refusal is None or refusal.at != step:
                    continue
                if refusal.times is not None:
                    refusal.times -= 1
                    if refusal.times == 0:
                        del self._refusals[key]
                return refusal.answer
        return None

    def _record(self, received: Received) -> None:
        with self._lock:
            self._received.append(received)

    def _authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        known = self._users or {}
        if isinstance(data, LoginPassword) and known.get(data.login.decode()) == data.password.decode():
            return AuthResult(success=True)
        # With handled=True, its default, the server would expect the answer to come from here.
        return AuthResult(success=False, handled=False)


class _Handler:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def handle_EHLO(  # noqa: N802 - aiosmtpd finds it by this name.
        self, _server: Any, session: Any, _envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        if not hasattr(session, "number"):
            self._sink.connections += 1
            session.number = self._sink.connections
        return responses

    async def handle_MAIL(  # noqa: N802
        self, _server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self._sink._users and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if answer := self._sink._answer(address, "mail"):
            return answer
        # It is "<>" for the null return path, because aiosmtpd takes an empty one for none yet.
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender ok"

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if answer := self._sink._answer(address, "rcpt"):
            return answer
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self._sink.arrived += 1
        if self._sink.delay:
            await asyncio.sleep(self._sink.delay)
        while self._sink.is_held:
            await asyncio.sleep(0.01)
        for recipient in envelope.rcpt_tos:
            if answer := self._sink._answer(recipient, "data"):
                return answer
        raw = cast(bytes, envelope.original_content)
        is_secure = server.transport.get_extra_info("ssl_object") is not None
        message_id = str(message_from_bytes(raw, policy=policy.default).get("Message-ID", ""))
        for recipient in envelope.rcpt_tos:
            self._sink._record(
                Received(
                    recipient,
                    envelope.mail_from.replace("<>", ""),
                    message_id,
                    raw,
                    is_secure,
                    session.number,
                )
            )
        return "250 2.0.0 Queued"


class _Server:
    """aiosmtpd's protocol on a loop in a thread; ends without leaving a socket open."""

    def __init__(
        self,
        handler: _Handler,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        options: Mapping[str, Any],
    ) -> None:
        self._handler = handler
        self._listener = listener
        self._tls = tls
        self._options = options
        self._protocols: list[Any] = []
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        # The listener is bound already: whoever connects early waits in its backlog.
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _protocol(self) -> Any:
        protocol = SMTP(self._handler, loop=self._loop, **self._options)
        self._protocols.append(protocol)
        return protocol

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(self._protocol, sock=self._listener, ssl=self._tls)
        await self._stopping.wait()
        server.close()
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def smtp_sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink
