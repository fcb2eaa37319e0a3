"""A kept mail, read back into what a person or a test wants to see of it."""

import re
import zlib
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from email.utils import parseaddr

_URL = re.compile(r"<(https?://[^>\s]+)>")


@dataclass(frozen=True, slots=True)
class Opened:
    """The parts of one mail; ``html`` or ``text`` is None where the mail has no such part."""

    headers: tuple[tuple[str, str], ...]
    """Decoded, in their order; a name may come more than once."""
    from_name: str | None
    html: str | None
    text: str | None
    list_unsubscribe: str | None
    """The link of the header List-Unsubscribe; a POST to it unsubscribes (RFC 8058)."""
    size: int
    """Bytes of the mail as it would go over the wire."""


def inflate(raw: bytes) -> bytes:
    """The mail (RFC 5322) behind `SandboxMessage.raw`."""
    return zlib.decompress(raw)


def read(content: bytes) -> Opened:
    """Never fails: what a broken mail does not have is None."""
    message = message_from_bytes(content, _class=EmailMessage, policy=modern)
    link = _URL.search(str(message.get("List-Unsubscribe", "")))
    return Opened(
        headers=tuple((name, str(value)) for name, value in message.items()),
        from_name=parseaddr(str(message.get("From", "")))[0] or None,
        html=_part(message, "html"),
        text=_part(message, "plain"),
        list_unsubscribe=link.group(1) if link else None,
        size=len(content),
    )


def _part(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    return str(part.get_content()) if isinstance(part, EmailMessage) else None
