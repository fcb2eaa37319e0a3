"""Writes one mail: RFC 5322 with a plain text and an HTML part, in ASCII with CRLF line ends.

Written by hand, because `email.message.EmailMessage` takes milliseconds for what a campaign
does a hundred thousand times. Fields are folded and spelled the way a DKIM signer's
"relaxed" form has them, as far as that exists.
"""

from binascii import b2a_qp
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import blake2b

from newsletter.delivery import headers
from newsletter.delivery.headers import HeaderInvalid

__all__ = ["HeaderInvalid", "Mail", "build"]

# Written by `build`; a custom header must not say it again.
_OWN = {
    *("from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post", "feedback-id"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("return-path", "received", "dkim-signature"),
}


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
    # "=_" occurs in no quoted-printable text, so no body can contain its boundary.
    boundary = "=_" + blake2b(mail.message_id.encode(errors="replace"), digest_size=12).hexdigest()
    fields = _fields(mail)
    fields += ("MIME-Version: 1.0", f'Content-Type: multipart/alternative; boundary="{boundary}"')
    delimiter = f"--{boundary}"
    return b"".join(
        (
            "\r\n".join(fields).encode("ascii"),
            b"\r\n\r\n",
            f"{delimiter}\r\n{_part('plain')}".encode("ascii"),
            quoted_printable(mail.text),
            f"{delimiter}\r\n{_part('html')}".encode("ascii"),
            quoted_printable(mail.html),
            f"{delimiter}--\r\n".encode("ascii"),
        )
    )


def quoted_printable(text: str) -> bytes:
    """RFC 2045 §6.7, with CRLF line ends and one at the end, in lines of 76 at most."""
    lines = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    # The last CRLF belongs to the delimiter; b2a_qp also learns from it how to break lines.
    return b2a_qp(lines.encode(errors="replace") + b"\r\n")


def _fields(mail: Mail) -> list[str]:
    if mail.date.tzinfo is None:
        raise ValueError("the date of a mail needs a zone")
    fields = [
        headers.mailbox("From", mail.from_email, mail.from_name),
        headers.recipient("To", mail.to_email, mail.to_name),
    ]
    if mail.reply_to is not None:
        fields.append(headers.mailbox("Reply-To", mail.reply_to))
    fields += (
        headers.unstructured("Subject", mail.subject),
        f"Date: {format_datetime(mail.date.astimezone(UTC))}",
        headers.message_id("Message-ID", mail.message_id),
    )
    if mail.list_id is not None:
        fields.append(headers.list_id("List-Id", mail.list_id, mail.list_name))
    if mail.unsubscribe_url is not None:
        fields.append(headers.url("List-Unsubscribe", mail.unsubscribe_url))
        fields.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    if mail.feedback_id is not None:
        fields.append(headers.token("Feedback-ID", mail.feedback_id))
    for name, text in mail.headers:
        if name.lower() in _OWN:
            raise HeaderInvalid(f"{name} cannot be set")
        fields.append(headers.custom(name, text))
    return fields


def _part(subtype: str) -> str:
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
