"""The signed links of a mail: unsubscribe, view in browser, tracked links and the open pixel.

A token names the message, and the subscriber by itself: an unsubscribe link must work for
as long as somebody keeps the mail, longer than the message's row does.

A tracked link is ``/c/{recipient}/{link}``. The first part is one token per recipient; the
second holds the address itself and is the same for all recipients of a mailing, so it is
signed once per mailing. There is no row per link, nothing to look up for a redirect, and no
redirect to an address that no mail of ours held: the second part is bound to the mailing
that the first one names.
"""

import re
import struct
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from newsletter.kit.tokens import Signer

PREVIEW = "preview"
"""Stands where the token would, in mails that are only shown to their author."""
MAX_TRACKED = 1_400
"""Characters of the longest address that is tracked. Base64 makes 1,867 of them, and some mail
programs and proxies cut what is longer than 2,083."""

_LAYOUT = struct.Struct(">16s16sI")
_NOBODY = bytes(16)
_WEB = re.compile(r"https?://[^\s\x00-\x1f\x7f-\x9f]+", re.IGNORECASE)
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class MessageRef:
    """``subscriber_id`` is None for a test send, whose reader is on no list."""

    mailing_id: UUID
    seq: int
    subscriber_id: UUID | None

    def pack(self) -> bytes:
        subscriber = self.subscriber_id.bytes if self.subscriber_id else _NOBODY
        return _LAYOUT.pack(subscriber, self.mailing_id.bytes, self.seq)

    @classmethod
    def unpack(cls, payload: bytes) -> "MessageRef":
        subscriber, mailing, seq = _LAYOUT.unpack(payload)
        return cls(UUID(bytes=mailing), seq, None if subscriber == _NOBODY else UUID(bytes=subscriber))


@dataclass(frozen=True, slots=True)
class Click:
    """Who followed which link."""

    message: MessageRef
    url: str
    """As the mail had it, in ASCII: ready for a ``Location`` header."""


class Links:
    """Makes and reads them. Reading raises `newsletter.kit.tokens.BadToken`."""

    def __init__(self, signer: Signer, public_url: str, tracking_url: str) -> None:
        self._signer, self.public_url, self.tracking_url = signer, public_url, tracking_url
        self._own = (f"{public_url}/u/", f"{public_url}/v/")

    def unsubscribe(self, ref: MessageRef) -> str:
        return f"{self.public_url}/u/{self._signer.sign('unsubscribe', ref.pack())}"

    def view(self, ref: MessageRef) -> str:
        return f"{self.public_url}/v/{self._signer.sign('view', ref.pack())}"

    def opened(self, ref: MessageRef) -> str:
        """The address of the pixel that tells of an opened mail."""
        return f"{self.tracking_url}/o/{self._signer.sign('open', ref.pack())}"

    def tracked(self, ref: MessageRef, url: str) -> str:
        """``url`` as one recipient gets it; unchanged where `may_track` says no."""
        return self.click_base(ref) + self.click_end(ref.mailing_id, url) if self.may_track(url) else url

    def may_track(self, url: str) -> bool:
        """Links to the web alone, and never our own: who wants to leave is not watched leaving."""
        is_web = len(url) <= MAX_TRACKED and _WEB.fullmatch(url) is not None
        return is_web and not url.startswith(self._own)

    def click_base(self, ref: MessageRef) -> str:
        """What all tracked links of one recipient begin with."""
        return f"{self.tracking_url}/c/{self._signer.sign('click', ref.pack())}/"

    def click_end(self, mailing_id: UUID, url: str) -> str:
        """How a tracked link to ``url`` ends, the same for all recipients of the mailing."""
        location = quote(url, safe=_ASCII).encode("ascii")
        return self._signer.sign("link", location, bound_to=mailing_id.bytes)

    def read_unsubscribe(self, token: str) -> MessageRef:
        return MessageRef.unpack(self._signer.verify("unsubscribe", token))

    def read_view(self, token: str) -> MessageRef:
        return MessageRef.unpack(self._signer.verify("view", token))

    def read_opened(self, token: str) -> MessageRef:
        """The message whose pixel ``/o/{token}`` is."""
        return MessageRef.unpack(self._signer.verify("open", token))

    def read_click(self, recipient: str, link: str) -> Click:
        """What ``/c/{recipient}/{link}`` stands for."""
        message = MessageRef.unpack(self._signer.verify("click", recipient))
        location = self._signer.verify("link", link, bound_to=message.mailing_id.bytes)
        return Click(message, location.decode("ascii"))
