"""The signed name of a message inside its own mail: what a report must show to be believed.

    Return-Path   b-{id}{seal}@{RETURN_PATH_DOMAIN}              where there is such a domain
    Message-ID    <msg_{id}.{seal}@{domain of the sender}>
    Feedback-ID   {campaign}:{project}:msg_{id}.{seal}:newsletter

The id alone can be guessed from a neighbour's; the seal cannot. Who holds one mail can speak about that
mail and about no other. All letters are lower-case base32 and hexadecimal, since many systems fold
the case of an address, and the local part has 60 octets (RFC 5321 §4.5.3.1.1 allows 64).
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from newsletter.kit.tokens import SEAL, Signer

_PURPOSE = "return-path"
_ID = "[0-9a-hjkmnp-tv-z]{32}"
_SEAL = f"[0-9a-f]{{{SEAL}}}"
_NAMED = re.compile(
    rf"(?:\bb-(?P<path>{_ID})(?P<path_seal>{_SEAL})@|\bmsg_(?P<id>{_ID})\.(?P<seal>{_SEAL})\b)", re.IGNORECASE
)
MAX_NAMES = 50
"""Names in one text that are looked at; a report about a mail of ours has a handful."""


class Names(NamedTuple):
    """How one mail calls its message."""

    sealed: str
    """``msg_….…``, for Message-ID and Feedback-ID."""
    return_path: str


class ReturnPaths:
    """Writes and reads them; ``domain`` is None where reports go to the sender's own address."""

    def __init__(self, signer: Signer, domain: str | None) -> None:
        self._signer, self.domain = signer, domain
        self._seal = signer.seals(_PURPOSE)

    def of(self, sender: str) -> Callable[[str], Names]:
        """Names the messages of one sender; pure, about 2 µs for each."""
        seal, domain = self._seal, self.domain

        def names(message_id: str) -> Names:
            mine = seal(message_id)
            path = sender if domain is None else f"b-{message_id[4:]}{mine}@{domain}"
            return Names(f"{message_id}.{mine}", path)

        return names

    def is_ours(self, address: str) -> bool:
        """Whether the address is a return path of this installation; the domain's case says nothing."""
        domain = address.rpartition("@")[2].lower()
        return domain == self.domain and self.message_in(address) is not None

    def message_in(self, text: str) -> str | None:
        """The id of the first message that ``text`` names *and proves*; None for anything forged."""
        for number, found in enumerate(_NAMED.finditer(text)):
            if number >= MAX_NAMES:
                return None
            letters, seal = found["path"] or found["id"], found["path_seal"] or found["seal"]
            message_id = f"msg_{letters.lower()}"
            if self._signer.is_sealed(_PURPOSE, message_id, seal.lower()):
                return message_id
        return None

    def message_of(self, texts: Iterable[str | None]) -> str | None:
        """`message_in` of the first text that has one."""
        return next((found for text in texts if text and (found := self.message_in(text))), None)
