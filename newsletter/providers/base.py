"""What every sending server has in common: an envelope goes in, a receipt or a refusal comes out.

A refusal answers the only question its caller asks: may it be tried again?

    Refusal
    ├── Temporary    4yz, or a cut connection before the final dot: try again later
    ├── Permanent    5yz: this message will never be taken
    ├── Unknown      the connection was lost after the final dot: taken or not, nobody knows
    ├── Throttled    not taken: a limit, ours or the server's, says "not now"; others may go on
    └── ServerDown   nothing was tried: no connection, no sign-in, no greeting
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID


class Purpose(StrEnum):
    """What mail is for; the two want different servers, and different laws hold for them."""

    marketing = "marketing"
    transactional = "transactional"


@dataclass(frozen=True, slots=True)
class MailStream:
    """Mail that takes one way out: all that decides which sending server it goes to, but for the
    recipient."""

    project_id: UUID
    is_test: bool
    """Mail of test projects never leaves the house."""
    purpose: Purpose
    list_id: UUID | None
    sender_domain: str
    """In lower case."""


class Envelope(NamedTuple):
    """One message for one recipient, ready for the wire."""

    message_id: str
    """Our public id of the message, ``msg_…``; also the idempotency key where a provider has one."""
    return_path: str
    recipient: str
    content: bytes
    """RFC 5322 with CRLF line ends, not dot-stuffed, ending in CRLF."""
    attempt: int = 1
    """1 for the first try of this message."""
    is_wire_ready: bool = False
    """Its maker vouches that every line of the content ends in CRLF, with no other CR or LF, and
    that none begins with a dot. Then nobody need read all of it again before it is sent."""


@dataclass(slots=True)
class Receipt:
    """The server took responsibility for the message.

    Made for one mail and held by nobody else: who routes writes the server's id into it.
    """

    response: str
    """What it said, one line, at most 500 characters."""
    server_id: UUID | None = None
    """Which sending server it was, where there are several."""


class Refusal(Exception):
    """Why a message was not taken.

    ``code`` is the SMTP reply code or None, ``enhanced`` the enhanced status code
    (RFC 3463) such as ``5.1.1`` or None, ``text`` what the server said, one line, at most
    500 characters. ``server_id`` is the sending server that said so, where there are several.
    """

    def __init__(
        self,
        text: str,
        *,
        code: int | None = None,
        enhanced: str | None = None,
        server_id: UUID | None = None,
    ) -> None:
        self.code = code
        self.enhanced = enhanced
        self.server_id = server_id
        # No database keeps a NUL in a text.
        self.text = " ".join(text.replace("\0", "").split())[:500]
        super().__init__(self.text)

    @property
    def is_bad_address(self) -> bool:
        """The recipient's address itself is refused (RFC 3463 §3.2): never mail it again.

        5.1.7 and 5.1.8 are of that class too, but speak of the sender's address.
        """
        status = self.enhanced or ""
        return isinstance(self, Permanent) and status.startswith("5.1.") and status not in ("5.1.7", "5.1.8")


class Temporary(Refusal):
    pass


class Permanent(Refusal):
    pass


class Unknown(Refusal):
    pass


class Throttled(Refusal):
    """``retry_after``: seconds until it is worth another look."""

    def __init__(self, text: str, *, retry_after: float, server_id: UUID | None = None) -> None:
        super().__init__(text, server_id=server_id)
        self.retry_after = retry_after


class ServerDown(Refusal):
    pass


Result = Receipt | Refusal


def never() -> bool:
    return False


class Provider(Protocol):
    """A sending server. One object serves one event loop and may be used concurrently."""

    name: str

    def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncIterator[tuple[int, Result]]:
        """Sends each envelope once and yields its index and result as each one ends.

        Every index is yielded exactly once, in any order. Refusals are yielded, never
        raised. Once ``should_stop`` says so, no further envelope is begun and those left are
        yielded as `ServerDown`. After a cancellation, envelopes whose result was not yielded
        are unknown.
        """

    async def check(self) -> str:
        """Connects and signs in without sending; says what it found. Raises `Refusal`."""

    async def aclose(self) -> None: ...
