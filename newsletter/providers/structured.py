"""A finished mail, taken apart again for APIs that take fields rather than a message.

SendGrid, Resend and Postmark write the message themselves. Parsing costs milliseconds where
the other ways cost microseconds, which a call over HTTP hides.
"""

from dataclasses import dataclass
from email import message_from_bytes
from email.headerregistry import AddressHeader
from email.message import EmailMessage
from email.policy import default as modern
from email.utils import parseaddr

from newsletter.providers.base import Envelope, Permanent
from newsletter.providers.smtp.addresses import path

# The API has a field for each of these, or writes them itself. A signature would not hold for
# a message that is written anew.
_WRITTEN_ELSEWHERE = {
    *("from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id"),
    *("mime-version", "content-type", "content-transfer-encoding", "content-disposition"),
    *("return-path", "received", "dkim-signature"),
}


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address with the name before it, which may be empty."""

    address: str
    name: str = ""

    def __str__(self) -> str:
        """As it stands in a header field, except that other letters than ASCII stay as they are."""
        if not self.name:
            return self.address
        quoted = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{self.address}>'


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside the texts; ``content_id`` is set where the HTML shows it."""

    name: str
    media_type: str
    content: bytes
    content_id: str | None


@dataclass(frozen=True, slots=True)
class Structured:
    """The fields of one mail to one recipient."""

    sender: Mailbox
    recipient: Mailbox
    reply_to: tuple[Mailbox, ...]
    subject: str
    html: str | None
    text: str | None
    message_id: str | None
    """With its angle brackets."""
    headers: tuple[tuple[str, str], ...]
    """All others, such as List-Unsubscribe, in their order."""
    attachments: tuple[Attachment, ...]


def ascii_recipient(envelope: Envelope) -> str:
    """The address to mail, its domain as A-label.

    None of the APIs promises to carry other letters before the @ (RFC 6531), so those are
    refused here as a server without SMTPUTF8 would. Raises `Permanent`.
    """
    to = path(envelope.recipient)
    if to.is_international:
        raise Permanent(
            "the sending server takes no addresses with other than ASCII letters before the @",
            enhanced="5.6.7",
        )
    return to.encoded.decode("ascii")


def take_apart(envelope: Envelope) -> Structured:
    """Raises `Permanent` for a mail that has no sender, or nothing to read."""
    message = message_from_bytes(envelope.content, _class=EmailMessage, policy=modern)
    senders = _mailboxes(message, "From")
    html, text = _body(message, "html"), _body(message, "plain")
    if not senders or (html is None and text is None):
        raise Permanent("the message has no sender or no text", enhanced="5.6.0")
    address = ascii_recipient(envelope)
    names = {box.address.lower(): box.name for box in _mailboxes(message, "To")}
    return Structured(
        sender=senders[0],
        # The envelope decides who gets it: the header of a copy names others.
        recipient=Mailbox(address, names.get(address.lower(), "")),
        reply_to=_mailboxes(message, "Reply-To"),
        subject=str(message.get("Subject", "")),
        html=html,
        text=text,
        message_id=str(message["Message-ID"]) if "Message-ID" in message else None,
        headers=tuple(
            (name, str(value)) for name, value in message.items() if name.lower() not in _WRITTEN_ELSEWHERE
        ),
        attachments=tuple(_attachment(part) for part in _files(message)),
    )


def _mailboxes(message: EmailMessage, name: str) -> tuple[Mailbox, ...]:
    header = message.get(name)
    if not isinstance(header, AddressHeader):
        return ()
    return tuple(Mailbox(box.addr_spec, box.display_name) for box in header.addresses if box.domain)


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    return str(part.get_content()) if isinstance(part, EmailMessage) else None


def _files(message: EmailMessage) -> list[EmailMessage]:
    """Every part that is neither a container nor the body in one of its forms."""
    bodies = [message.get_body((kind,)) for kind in ("html", "plain")]
    return [
        part
        for part in message.walk()
        if not part.is_multipart() and all(part is not body for body in bodies)
    ]


def _attachment(part: EmailMessage) -> Attachment:
    content = part.get_payload(decode=True)
    content_id = parseaddr(str(part.get("Content-ID", "")))[1] or None
    return Attachment(
        name=part.get_filename() or "attachment",
        media_type=part.get_content_type(),
        content=content if isinstance(content, bytes) else b"",
        content_id=content_id,
    )
