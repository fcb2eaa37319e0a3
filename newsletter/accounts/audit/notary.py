"""Signs where the chains of the audit log end, by Ed25519 (RFC 8032).

The key is derived from the installation's secret: who has only the database can sign nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit.chain import Head, canonical
from newsletter.kit.crypto import subkey

NOTARY: Final = "notary"
"""Where every session of a unit of work has what returns the `Notary`."""
_REMEMBERED: Final = 10_000


class Notary:
    """The keys of one installation, newest first, and the name of this machine."""

    def __init__(self, secrets: Sequence[str], node: str) -> None:
        self.node = node
        keys = [Ed25519PrivateKey.from_private_bytes(subkey(secret, "audit/heads")) for secret in secrets]
        self._newest = keys[0]
        self._known = {key.public_key().public_bytes_raw().hex(): key.public_key() for key in keys}
        self._seen: dict[UUID, Head] = {}

    @property
    def public_keys(self) -> tuple[str, ...]:
        """In hexadecimal, of 32 bytes each; the first is the one that signs."""
        return tuple(self._known)

    def signed(self, head: Head) -> Head:
        signature = self._newest.sign(canonical(head.content())).hex()
        return self._remembered(replace(head, signature=signature, public_key=self.public_keys[0]))

    def is_signed(self, head: Head) -> bool:
        """Whether this installation signed exactly this. To see it anew takes 0.1 ms, which a process that
        signed the head itself is spared."""
        if self._seen.get(head.chain_id) == head:
            return True
        key = self._known.get(head.public_key)
        if key is None:
            return False
        try:
            key.verify(bytes.fromhex(head.signature), canonical(head.content()))
        except (InvalidSignature, ValueError):
            return False
        self._remembered(head)
        return True

    def _remembered(self, head: Head) -> Head:
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[head.chain_id] = head
        return head


def notary_of(session: AsyncSession) -> Notary:
    notary: Callable[[], Notary] = session.info[NOTARY]
    return notary()
