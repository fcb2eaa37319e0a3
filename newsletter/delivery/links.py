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
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit
from uuid import UUID

from newsletter.kit.address import with_ascii_host
from newsletter.kit.tokens import Signer

PREVIEW = "preview"
"""Stands where the token would, in mails that are only shown to their author."""
MAX_TRACKED = 1_400
"""Characters of the longest address that is tracked. Base64 makes 1,867 of them, and some mail
programs and proxies cut what is longer than 2,083."""

_LAYOUT = struct.Struct(">16s16sI")
_MAILING = slice(16, 32)
"""Where `MessageRef.pack` puts it."""
_NOBODY = bytes(16)
_WEB = re.compile(r"https?://[^\s\x00-\x1f\x7f-\x9f]+", re.IGNORECASE)
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class Purpose(StrEnum):
    """What a recipient's token is good for; it serves no other. One more, or another order, would make
    tokens invalid that were sent."""

    unsubscribe = "unsubscribe"
    view = "view"
    click = "click"
    open = "open"


class MessageRef(NamedTuple):
    """``subscriber_id`` is None for a test send, whose reader is on no list."""

    mailing_id: UUID
    seq: int
    subscriber_id: UUID | None

    def pack(self) -> bytes:
        subscriber = self.subscriber_id.bytes if self.subscriber_id else _NOBODY
        return subscriber + self.mailing_id.bytes + self.seq.to_bytes(4)

    @classmethod
    def unpack(cls, payload: bytes) -> "MessageRef":
        subscriber, mailing, seq = _LAYOUT.unpack(payload)
        return cls(UUID(bytes=mailing), seq, None if subscriber == _NOBODY else UUID(bytes=subscriber))


class Click(NamedTuple):
    """Who followed which link."""

    packed: bytes
    """The message, as `MessageRef.pack` writes it: to unpack it takes as long as to prove the token, and who
    follows a link waits for the one alone."""
    url: str
    """As the mail had it, in ASCII: ready for a ``Location`` header."""


class Links:
    """Makes and reads them. Reading raises `newsletter.kit.tokens.BadToken`."""

    def __init__(self, signer: Signer, public_url: str, tracking_url: str) -> None:
        self._signer, self.public_url, self._tracking_url = signer, public_url, tracking_url
        self._family = signer.family(list(Purpose))
        self._bases = {
            Purpose.unsubscribe: f"{public_url}/u/",
            Purpose.view: f"{public_url}/v/",
            Purpose.click: f"{tracking_url}/c/",
            Purpose.open: f"{tracking_url}/o/",
        }
        # All recipients of a mailing have the same ends of links, and follow them at the same time.
        self._location = lru_cache(maxsize=2_000)(self._read_location)
        self._own = (self._bases[Purpose.unsubscribe], self._bases[Purpose.view])
        # Asked for each batch, which single mails have for each call: 16 µs, most of it for keys of tokens.
        self._elsewhere = lru_cache(maxsize=1_000)(self._made_at)

    def at(self, tracking_host: str | None) -> "Links":
        """The same with tracked links and pixels at another host, where there is one: their tokens are good
        at any. Unsubscribe and view-in-browser links stay, as they must work when that host is gone."""
        return self if tracking_host is None else self._elsewhere(tracking_host)

    def _made_at(self, tracking_host: str) -> "Links":
        parts = urlsplit(self._tracking_url)
        netloc = f"{tracking_host}:{parts.port}" if parts.port else tracking_host
        return Links(self._signer, self.public_url, parts._replace(netloc=netloc).geturl())

    def base(self, purpose: Purpose) -> str:
        """What stands before the token."""
        return self._bases[purpose]

    def tokens(self, ref: MessageRef) -> list[bytes]:
        """A recipient's tokens in ASCII, in the order of `Purpose`."""
        return self._family.sign_all(ref.pack())

    def unsubscribe(self, ref: MessageRef) -> str:
        return self._bases[Purpose.unsubscribe] + self._family.sign(Purpose.unsubscribe, ref.pack())

    def view(self, ref: MessageRef) -> str:
        return self._bases[Purpose.view] + self._family.sign(Purpose.view, ref.pack())

    def opened(self, ref: MessageRef) -> str:
        """The address of the pixel that tells of an opened mail."""
        return self._bases[Purpose.open] + self._family.sign(Purpose.open, ref.pack())

    def tracked(self, ref: MessageRef, url: str) -> str:
        """``url`` as one recipient gets it; unchanged where `may_track` says no."""
        if not self.may_track(url):
            return url
        recipient = self._family.sign(Purpose.click, ref.pack())
        return f"{self._bases[Purpose.click]}{recipient}/{self.click_end(ref.mailing_id, url)}"

    def may_track(self, url: str) -> bool:
        """Links to the web alone, and never our own: who wants to leave is not watched leaving."""
        is_web = len(url) <= MAX_TRACKED and _WEB.fullmatch(url) is not None
        return is_web and not self.is_own(url)

    def is_own(self, url: str) -> bool:
        """Whether it begins as an unsubscribe or view-in-browser link does."""
        return url.startswith(self._own)

    def click_end(self, mailing_id: UUID, url: str) -> str:
        """How a tracked link to ``url`` ends, the same for all recipients of the mailing."""
        location = quote(with_ascii_host(url), safe=_ASCII).encode("ascii")
        return self._signer.sign("link", location, bound_to=mailing_id.bytes)

    def read_unsubscribe(self, token: str) -> MessageRef:
        return MessageRef.unpack(self._family.verify(Purpose.unsubscribe, token))

    def read_view(self, token: str) -> MessageRef:
        return MessageRef.unpack(self._family.verify(Purpose.view, token))

    def read_opened(self, token: str) -> bytes:
        """The message whose pixel ``/o/{token}`` is, as `MessageRef.pack` writes it."""
        return self._family.verify(Purpose.open, token)

    def read_click(self, recipient: str, link: str) -> Click:
        """What ``/c/{recipient}/{link}`` stands for."""
        packed = self._family.verify(Purpose.click, recipient)
        return Click(packed, self._location(link, packed[_MAILING]))

    def _read_location(self, link: str, mailing_id: bytes) -> str:
        return self._signer.verify("link", link, bound_to=mailing_id).decode("ascii")
