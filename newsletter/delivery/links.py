"""The signed links of a mail: unsubscribe and view in browser.

A token names the message, and the subscriber by itself: an unsubscribe link must work for
as long as somebody keeps the mail, longer than the message's row does.
"""

import struct
from dataclasses import dataclass
from uuid import UUID

from newsletter.kit.tokens import Signer

PREVIEW = "preview"
"""Stands where the token would, in mails that are only shown to their author."""

_LAYOUT = struct.Struct(">16s16sI")
_NOBODY = bytes(16)


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


class Links:
    """Makes and reads them. Reading raises `newsletter.kit.tokens.BadToken`."""

    def __init__(self, signer: Signer, public_url: str) -> None:
        self._signer, self.public_url = signer, public_url

    def unsubscribe(self, ref: MessageRef) -> str:
        return f"{self.public_url}/u/{self._signer.sign('unsubscribe', ref.pack())}"

    def view(self, ref: MessageRef) -> str:
        return f"{self.public_url}/v/{self._signer.sign('view', ref.pack())}"

    def read_unsubscribe(self, token: str) -> MessageRef:
        return MessageRef.unpack(self._signer.verify("unsubscribe", token))

    def read_view(self, token: str) -> MessageRef:
        return MessageRef.unpack(self._signer.verify("view", token))
