"""Writes one mail: RFC 5322 with a plain text and an HTML part and files, in ASCII with CRLF line ends.

Written by hand, because `email.message.EmailMessage` takes milliseconds for it. `build` is the
plain form, from whole texts; `newsletter.delivery.letter` puts the same together from parts that
were encoded once per mailing. Fields are folded and spelled the way a DKIM signer's
"relaxed" form has them, as far as that exists.
"""

from base64 import encodebytes
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

from newsletter.delivery import headers
from newsletter.delivery.headers import HeaderInvalid
from newsletter.delivery.segments import whole

__all__ = ["END_OF_HEADER", "File", "Frame", "HeaderInvalid", "Mail", "build", "date", "fields"]

# Written by `build`; a custom header must not say it again.
_OWN = {
    *("from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post", "feedback-id"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("return-path", "received", "dkim-signature"),
}
END_OF_HEADER = b"\r\n\r\n"
Piece = TypeVar("Piece")


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
    shown_to: tuple[tuple[str, str | None], ...] = ()
    """Addresses and names for ``To``, where it shows others than ``to_email``."""
    shown_cc: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file of a mail; its type is no ``multipart`` or ``message``, which may not be base64."""

    filename: str
    content_type: str
    data: bytes
    content_id: str | None = None
    """Without brackets. It makes the file a part of the HTML, which shows it as ``cid:…`` (RFC 2392)."""


def build(mail: Mail, frame: "Frame | None" = None) -> bytes:
    """The mail, ready for `providers.base.Envelope.content`; equal mails give equal bytes.

    ``frame`` is that of a mail with files, or without HTML.

    Raises `HeaderInvalid` for an address, id or URL that may not stand in a header; subjects
    and names are cleaned instead. `ValueError` for a date without a zone.
    """
    frame = frame or Frame(mail.message_id)
    head = "\r\n".join([*fields(mail), *frame.fields])
    return b"".join(
        (head.encode("ascii"), END_OF_HEADER, *frame.around([whole(mail.text)], [whole(mail.html)]))
    )


class Frame:
    """The lines around the two parts of a body, and the files behind them."""

    def __init__(self, seed: str, files: Sequence[File] = (), *, is_text_only: bool = False) -> None:
        """The same ``seed``, the same boundaries."""
        # "=_" occurs in no quoted-printable and in no base64 text, so no body can contain its boundary.
        self._digest = blake2b(seed.encode(errors="replace"), digest_size=12).hexdigest()
        boundary = f"=_{self._digest}"
        self._is_text_only = is_text_only
        head: tuple[str, ...] = (f'Content-Type: multipart/alternative; boundary="{boundary}"',)
        before = f"--{boundary}\r\n{_part('plain')}".encode("ascii")
        self._between = f"--{boundary}\r\n{_part('html')}".encode("ascii")
        after = f"--{boundary}--\r\n".encode("ascii")
        if is_text_only:
            head, before, after = tuple(_part("plain").split("\r\n")[:2]), b"", b""
        inline = [file for file in files if file.content_id is not None]
        for kind, some in (("related", inline), ("mixed", [file for file in files if file not in inline])):
            if some:
                head, before, after = self._with_files(kind, some, head, before, after)
        self.fields = ("MIME-Version: 1.0", *head)
        self._before, self._after = before, after

    def _with_files(
        self, kind: str, files: Sequence[File], head: Sequence[str], before: bytes, after: bytes
    ) -> tuple[tuple[str, ...], bytes, bytes]:
        """A body part inside of another one, together with files."""
        boundary = f"=_{kind}_{self._digest}"
        line = f"--{boundary}\r\n"
        parts = [part for file in files for part in (line.encode("ascii"), _as_part(file))]
        return (
            (f'Content-Type: multipart/{kind}; boundary="{boundary}"',),
            "\r\n".join([f"--{boundary}", *head, "", ""]).encode("ascii") + before,
            b"".join([after, *parts, f"--{boundary}--\r\n".encode("ascii")]),
        )

    def around(self, text: Sequence[Piece], html: Sequence[Piece]) -> list[bytes | Piece]:
        """The body, to be joined; both parts are quoted-printable, in pieces, and end with a line end."""
        if self._is_text_only:
            return [self._before, *text, self._after]
        return [self._before, *text, self._between, *html, self._after]


def fields(mail: Mail) -> list[str]:
    """The header, one field with its folds each, without those of a `Frame`."""
    found = [
        headers.mailbox("From", mail.from_email, mail.from_name),
        headers.recipients("To", mail.shown_to or [(mail.to_email, mail.to_name)]),
    ]
    if mail.shown_cc:
        found.append(headers.recipients("Cc", mail.shown_cc))
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
def _date(timestamp: int) -> str:
    # Kept, because it takes 5 µs and is the same for all mails of a second.
    return format_datetime(datetime.fromtimestamp(timestamp, UTC))


def _part(subtype: str) -> str:
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    )


def _as_part(file: File) -> bytes:
    """The file with its header, in base64 with lines of 76 letters (RFC 2045 §6.8)."""
    named = headers.parameter("filename", file.filename)
    head = [f"Content-Type: {file.content_type}", "Content-Transfer-Encoding: base64"]
    if file.content_id is None:
        head.append(f"Content-Disposition: attachment{named}")
    else:
        head.append(f"Content-Disposition: inline{named}")
        head.append(headers.token("Content-ID", f"<{file.content_id}>"))
    return "\r\n".join([*head, "", ""]).encode("ascii") + encodebytes(file.data).replace(b"\n", b"\r\n")
