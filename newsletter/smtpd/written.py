"""A mail that somebody's program wrote, as the body of a `POST /send` that says the same.

What is read is refused where it is broken, rather than mended: its sender waits for the answer, and the
mail that leaves is written anew. Header fields that another server would act on are ours to write.
"""

import codecs
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email import policy
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.policy import Policy
from email.utils import getaddresses
from functools import cache
from typing import Any

from pydantic import ValidationError

from newsletter.kit import address
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.schema import bad_fields
from newsletter.settings import SubmissionSettings
from newsletter.transactional.schemas import MAX_TAGS, Mailbox, Send, is_settable

TAGS, PURPOSE = "x-newsletter-tags", "x-newsletter-purpose"
"""Fields by which a mail says what `tags` and `routing.purpose` are; they do not leave with it."""
_NO_CHARSETS = frozenset({"idna", "punycode"})
"""What Python decodes in a time that grows with the square, and no mail is written in."""
_HOLDERS = re.compile(rb"^content-type:\s*(?:multipart|message)/", re.IGNORECASE | re.MULTILINE)
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_SINGLE = frozenset({"from", "reply-to", "to", "cc", "subject", "message-id", TAGS, PURPOSE})
"""RFC 5322 §3.6: each at most once."""


class MailInvalid(ValidationFailed):
    """The octets are no mail that can be read; the message says why."""


@cache
def _bounded(most: int) -> policy.Compat32:
    """Refuses fields of more characters."""

    class Bounded(policy.Compat32):
        def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
            if sum(map(len, sourcelines)) > most:
                raise MailInvalid(f"a header field has more than {most:,} characters")
            return super().header_source_parse(sourcelines)

    return Bounded()


@contextmanager
def _readable_at_all() -> Iterator[None]:
    """The library reads parameters and addresses with errors of its own: of a charset, of a number with
    thousands of digits, of comments inside of comments. None goes away when the mail is sent again."""
    try:
        yield
    except MailInvalid:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise MailInvalid(f"a header field cannot be read ({type(error).__name__})") from error


def parse(raw: bytes, limits: SubmissionSettings) -> Message:
    """Raises `MailInvalid`. Takes up to seconds for the largest mails: call it in a thread."""
    # Programs that end lines with LF alone are common, and harm nobody: only a dot between two CRLF ended the
    # mail (`Incoming.body`), and what leaves is written anew. A CR alone is nobody's end of a line.
    if raw.count(b"\r") != raw.count(b"\r\n"):
        raise MailInvalid("it has a CR without LF (RFC 5321 2.3.8)")
    if raw.count(b"\n") > limits.max_lines or len(_HOLDERS.findall(raw)) > limits.max_nested_parts:
        raise MailInvalid("it has more lines or more parts inside of parts than are read")
    if b"\0" in raw:
        raise MailInvalid("it contains the NUL character")
    made = 0

    def part(policy: "Policy[Message]") -> Message:
        nonlocal made
        made += 1
        if made > limits.max_parts:
            raise MailInvalid(f"it has more than {limits.max_parts} parts")
        return Message(policy)

    with _readable_at_all():
        bounded = _bounded(limits.max_field_characters).clone(message_factory=part)
        message = BytesParser(policy=bounded).parsebytes(raw)
    if len(message) > limits.max_fields:
        raise MailInvalid(f"it has more than {limits.max_fields} header fields")
    return message


def message_id(message: Message) -> str | None:
    """As its program wrote it; None where it has none."""
    return _fields(message).get("message-id") or None


def read(message: Message, recipients: Sequence[str]) -> Send:
    """``recipients`` are the envelope's: whom of them To and Cc name is named, the others are blind copies.
    A mail for one recipient is addressed to them. Raises `ValidationFailed`."""
    fields = _fields(message)
    roles = _roles(fields, recipients)
    tags = [tag.strip() for tag in fields.get(TAGS, "").split(",") if tag.strip()]
    body: dict[str, Any] = {
        **roles,
        **_content(message),
        "subject": _readable(fields.get("subject", "")),
        "tags": tags[: MAX_TAGS + 1],
        "headers": _kept(message),
    }
    body["from"] = _one_mailbox(fields, "from")
    if body["from"] is None:
        raise MailInvalid("it has no From header that names an address")
    if reply_to := _one_mailbox(fields, "reply-to"):
        body["reply_to"] = reply_to.address.spelling
    if purpose := fields.get(PURPOSE, "").strip().lower():
        body["routing"] = {"purpose": purpose}
    try:
        return Send.model_validate(body)
    except ValidationError as error:
        raise ValidationFailed(errors=bad_fields(error)) from None


def _fields(message: Message) -> dict[str, str]:
    """By lower-case name, the first value of each, unfolded, with its encoded words as they are."""
    found: dict[str, str] = {}
    for name, value in message.raw_items():
        kind = name.lower()
        if kind in found and kind in _SINGLE:
            raise MailInvalid(f"it has more than one {name} header")
        found.setdefault(kind, _unfolded(str(value)))
    return found


def _unfolded(value: str) -> str:
    # Letters that nobody encoded come as surrogates: they are UTF-8 (RFC 6532).
    octets = value.encode("utf-8", errors="surrogateescape")
    return _FOLD.sub("", octets.decode("utf-8", errors="replace")).strip()


def _readable(value: str) -> str:
    """With its encoded words decoded (RFC 2047)."""
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value)
    except (ValueError, AssertionError, HeaderParseError):
        return value
    return "".join(_text(piece, charset) if isinstance(piece, bytes) else piece for piece, charset in pieces)


def _text(octets: bytes, charset: str | None) -> str:
    """Raises `MailInvalid` for a charset that is none."""
    name = "utf-8" if charset is None or charset.lower() in ("us-ascii", "ascii") else charset
    try:
        if codecs.lookup(name).name in _NO_CHARSETS:
            raise LookupError
        return octets.decode(name, errors="replace")
    except (LookupError, ValueError):
        raise MailInvalid(f"the charset '{name[:40]}' is not known") from None


def _mailbox(display: str, spelling: str) -> Mailbox:
    """Checked as in the API: a name that was encoded may hold anything. Raises `ValueError`."""
    return Mailbox.parse(f"{_readable(display)} <{address.parse(spelling).spelling}>")


def _pairs(fields: Mapping[str, str], name: str) -> list[tuple[str, str]]:
    """Name and address of each that the field names."""
    with _readable_at_all():
        return getaddresses([fields.get(name, "")])


def _mailboxes(fields: Mapping[str, str], name: str) -> list[Mailbox]:
    found = []
    for display, spelling in _pairs(fields, name):
        if not spelling and not display:
            continue
        try:
            found.append(_mailbox(display, spelling))
        except ValueError as error:
            raise MailInvalid(f"the {name} header {error}") from None
    return found


def _one_mailbox(fields: Mapping[str, str], name: str) -> Mailbox | None:
    found = _mailboxes(fields, name)
    if len(found) > 1:
        raise MailInvalid(f"the {name} header must name one address")
    return found[0] if found else None


def _roles(fields: Mapping[str, str], recipients: Sequence[str]) -> dict[str, list[Mailbox]]:
    envelope = {address.parse(each).key: Mailbox(address.parse(each)) for each in recipients}
    roles: dict[str, list[Mailbox]] = {}
    for role in ("to", "cc"):
        named = [each for each in _named(fields, role) if each.address.key in envelope]
        roles[role] = [each for each in named if envelope.pop(each.address.key, None)]
    hidden = list(envelope.values())
    if not roles["to"] and roles["cc"]:
        roles["to"], roles["cc"] = roles["cc"], []
    elif not roles["to"] and len(hidden) == 1:
        roles["to"], hidden = hidden, []
    return roles | {"bcc": hidden}


def _named(fields: Mapping[str, str], role: str) -> list[Mailbox]:
    """Whom a field names, those whose address can be read: the envelope alone says who gets the mail."""
    found = []
    for display, spelling in _pairs(fields, role):
        try:
            found.append(_mailbox(display, spelling))
        except ValueError:
            continue
    return found


def _kept(message: Message) -> dict[str, str]:
    """The fields that `headers` of `POST /send` takes. The others are about the way of a mail, which begins
    anew here. Those that steer other services stay in, so that they are refused and not passed over."""
    return {
        name: _readable(_unfolded(str(value)))
        for name, value in message.raw_items()
        if is_settable(name) and name.lower() not in (TAGS, PURPOSE)
    }


def _content(message: Message) -> dict[str, Any]:
    """``html``, ``text`` and ``attachments``."""
    found: dict[str, Any] = {"attachments": []}
    for number, part in enumerate(_leaves(message), start=1):
        with _readable_at_all():
            kind, name, charset = part.get_content_type(), part.get_filename(), part.get_content_charset()
        slot = {"text/html": "html", "text/plain": "text"}.get(kind)
        is_shown = name is None and part.get_content_disposition() != "attachment"
        if slot is not None and is_shown and slot not in found:
            text = _text(_octets(part), charset).replace("\r\n", "\n")
            # An empty one says nothing, and often stands beside the other.
            found[slot] = text if text.strip() else None
        else:
            found["attachments"].append(_attachment(part, kind, name, number))
    return found


def _leaves(message: Message) -> Iterator[Message]:
    """Every part that holds no others; a message that is carried along is one."""
    if message.get_content_maintype() == "multipart":
        payload = message.get_payload()
        if not isinstance(payload, list):
            raise MailInvalid("a part that should hold others has no boundary")
        for part in payload:
            assert isinstance(part, Message)
            yield from _leaves(part)
    else:
        yield message


def _octets(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _whole(message: Message) -> bytes:
    try:
        return message.as_bytes(policy=policy.compat32.clone(linesep="\r\n"))
    except (MessageError, ValueError):
        raise MailInvalid("a message that is attached cannot be written again; attach it as a file") from None


def _attachment(part: Message, kind: str, name: str | None, number: int) -> dict[str, Any]:
    if part.get_content_maintype() == "message":
        inner = part.get_payload()
        first = inner[0] if isinstance(inner, list) and inner else None
        content = _whole(first) if isinstance(first, Message) else _octets(part)
        kind, ending = "application/octet-stream", ".eml"
    else:
        content, ending = _octets(part), mimetypes.guess_extension(kind) or ".bin"
    shown = re.split(r"[/\\]", _readable(name).strip())[-1] if name else ""
    found: dict[str, Any] = {
        "filename": shown or f"part-{number}{ending}",
        "content": content,
        "content_type": kind,
    }
    if content_id := str(part.get("Content-ID", "")).strip().strip("<>"):
        found["content_id"] = content_id
    return found
