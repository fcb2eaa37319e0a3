"""Writes one mail: RFC 5322 with a plain text and an HTML part, in ASCII with CRLF line ends.

Written by hand, because `email.message.EmailMessage` takes milliseconds for it. `build` is the
plain form, from whole texts; `newsletter.delivery.letter` puts the same together from parts that
were encoded once per mailing. Fields are folded and spelled the way a DKIM signer's
"relaxed" form has them, as far as that exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import blake2b

from newsletter.delivery import headers
from newsletter.delivery.headers import HeaderInvalid
from newsletter.delivery.segments import whole

__all__ = ["END_OF_HEADER", "Frame", "HeaderInvalid", "Mail", "build", "date", "fields"]

# Written by `build`; a custom header must not say it again.
_OWN = {
    *("from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post", "feedback-id"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("return-path", "received", "dkim-signature"),
}
END_OF_HEADER = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What one mail says. Values come as they are; `build` encodes and checks them."""

    message_id: str
    """With its angle brackets, the same in each attempt."""
    date: datetime
    from_email: str
    to_email: str
    subject: str
    html: str
    text: str
    from_name: str | None = None
    to_name: str | None = None
    reply_to: str | None = None
    unsubscribe_url: str | None = None
    """Takes the one-click POST of RFC 8058."""
    list_id: str | None = None
    """Such as ``lst-1.example.com`` (RFC 2919)."""
    list_name: str | None = None
    feedback_id: str | None = None
    """Up to four fields with colons between them, the last one names the sender."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further ones, names and texts; none that `build` writes itself."""


def build(mail: Mail) -> bytes:
    """The mail, ready for `providers.base.Envelope.content`; equal mails give equal bytes.

    Raises `HeaderInvalid` for an address, id or URL that may not stand in a header; subjects
    and names are cleaned instead. `ValueError` for a date without a zone.
    """
    frame = Frame(mail.message_id)
    head = "\r\n".join([*fields(mail), *frame.fields])
    return b"".join(
        (head.encode("ascii"), END_OF_HEADER, *frame.around([whole(mail.text)], [whole(mail.html)]))
    )


class Frame:
    """The lines around the two parts of a body."""

    def __init__(self, seed: str) -> None:
        """The same ``seed``, the same boundary."""
        # "=_" occurs in no quoted-printable text, so no body can contain its boundary.
        boundary = "=_" + blake2b(seed.encode(errors="replace"), digest_size=12).hexdigest()
        self.fields = ("MIME-Version: 1.0", f'Content-Type: multipart/alternative; boundary="{boundary}"')
        self._before, self._between, self._after = (
            f"--{boundary}\r\n{_part('plain')}".encode("ascii"),
            f"--{boundary}\r\n{_part('html')}".encode("ascii"),
            f"--{boundary}--\r\n".encode("ascii"),
        )

    def around(self, text: Sequence[bytes], html: Sequence[bytes]) -> list[bytes]:
        """The body, to be joined; both parts are quoted-printable, in pieces, and end with a line end."""
        return [self._before, *text, self._between, *html, self._after]


def fields(mail: Mail) -> list[str]:
    """The header, one field with its folds each, without those of a `Frame`."""
    found = [
        headers.mailbox("From", mail.from_email, mail.from_name),
        headers.recipient("To", mail.to_email, mail.to_name),
    ]
    if mail.reply_to is not None:
        found.append(headers.mailbox("Reply-To", mail.reply_to))
    found += (
        headers.unstructured("Subject", mail.subject),
        f"Date: {date(mail.date)}",
        headers.message_id("Message-ID", mail.message_id),
    )
    if mail.list_id is not None:
        found.append(headers.list_id("List-Id", mail.list_id, mail.list_name))
    if mail.unsubscribe_url is not None:
        found.append(headers.url("List-Unsubscribe", mail.unsubscribe_url))
        found.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    if mail.feedback_id is not None:
        found.append(headers.token("Feedback-ID", mail.feedback_id))
    for name, text in mail.headers:
        if name.lower() in _OWN:
            raise HeaderInvalid(f"{name} cannot be set")
        found.append(headers.custom(name, text))
    return found


def date(at: datetime) -> str:
    """RFC 5322 §3.3, in UTC. Raises `ValueError` for a date without a zone."""
    if at.tzinfo is None:
        raise ValueError("the date of a mail needs a zone")
    return _date(int(at.timestamp()))


@lru_cache(maxsize=16)
def _date(second: int) -> str:
    # Kept, because it takes 5 µs and is the same for all mails of a second.
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _part(subtype: str) -> str:
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
