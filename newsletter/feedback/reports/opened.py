"""A mail taken apart: its headers, its own words, its reports, and the mail that it returns.

Everything here bends rather than breaks: broken charsets, wrong boundaries and missing parts give
less text, never an error. What the mail returns is kept apart from what it says, so that the words
of a newsletter are never taken for those of a server.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import policy
from email.errors import HeaderParseError, MissingHeaderBodySeparatorDefect
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import Policy
from email.utils import parseaddr

import lxml.html
from lxml.etree import LxmlError, strip_elements

Fields = dict[str, str]
"""Header-like fields: lower-case name to the first value, unfolded."""

MAX_TEXT = 20_000
"""Characters of a mail's own words that are looked at; a report says what it has to say early."""
MAX_PARTS = 200
"""Parts of a mail that are taken apart, whatever holds them: a report's groups of fields are parts too."""
MAX_FIELDS = 500
"""Fields of one header that are kept, the first ones."""
MAX_FIELD = 2_000
"""Characters of one field that are kept. The time that the library takes for the parameters and the encoded
words of a field grows with its square: one field of 1 MB took 19 s."""
_ENCODED = frozenset({"base64", "quoted-printable"})
_NO_CHARSETS = frozenset({"idna", "punycode"})
"""What Python decodes and no mail is written in: 0.4 MB of the second took 4 s, as its time grows with the
square."""

# Where a report ends and the mail that it returns begins.
_RETURNED = re.compile(
    r"^[-> *=_\t]{0,40}(?:"
    r"(?:below|here|the following|this|what follows) (?:this line )?(?:is|are)? ?(?:a )?copy"
    r"|(?:below|here|the following|this|what follows) (?:is|are) the (?:original|returned)"
    r" (?:message|header)"
    r"|(?:the )?(?:header of the )?(?:original|returned|unsent|undelivered|rejected|failed)"
    r" (?:e-?mail |mail )?(?:message|text|mail|header)s?"
    r"(?: (?:headers?|follows?|is following|is attached|text|body|as follows))*"
    r"|message headers? follow|original mail as follows|(?:start of )?returned message"
    r")(?: of (?:the|your) message)?(?:[-.:=* \t]|, including.*){0,40}$",
    re.IGNORECASE | re.MULTILINE,
)
# In some 20 languages.
_ANSWERED = re.compile(
    # A list or a gateway puts its tag in front.
    r"(?:\[[^\]]{1,40}\] ?)?\W?"
    r"(?:re|aw|sv|antw|odp|ynt|vá|rif|r|fwd?|wg|tr|rv|enc|vb|vs|pd|i|doorst|továbbítás|转发|回复|轉寄|回覆)\W{0,2}[:\uff1a]",
    re.IGNORECASE,
)
# How a delivery status begins (RFC 3464 §2.2): with a field of the message, and nothing in front.
_STATUS = re.compile(r"\s{0,20}(?:Original-Envelope-Id|Reporting-MTA|Arrival-Date):", re.IGNORECASE)
_FEEDBACK = re.compile(r"\s{0,20}Feedback-Type:", re.IGNORECASE)
# Two header fields in a row that only a mail begins with.
_HEADERS = re.compile(
    # Not a server's answer in the transcript of a dialogue: "RECEIVED: 550 …".
    r"^(?:[> ]*)(?:Received|Return-Path|DKIM-Signature|X-Received):[ \t]*(?![245]\d\d\b)\S",
    re.MULTILINE | re.IGNORECASE,
)
# The subject of the returned mail and its number, which a report repeats among its own words.
_REPEATED = re.compile(
    r"^[ \t>*-]{0,20}(?:(?:the|your|original|e?-?mail|message)\W){0,3}"
    r"(?:subject|betreff|objet|asunto|oggetto|assunto|onderwerp|тема|件名|主[题題]|제목|message-?id)"
    r"(?: of (?:the|your) message)?(?: is| was)?[ \t]*[:\uff1a](?!.*\b[45]\d\d[ -]).*$",
    re.IGNORECASE | re.MULTILINE,
)

_DAEMONS = frozenset({"mailer-daemon", "mailerdaemon", "mail-daemon", "mdaemon"})


@dataclass(slots=True)
class Opened:
    headers: Fields
    content_type: str
    text: str = ""
    """What the mail says itself, in plain text."""
    status_groups: list[Fields] = field(default_factory=list)
    """The groups of each message/delivery-status (RFC 3464 §2.1): the first of each is of the message."""
    feedback: Fields | None = None
    """The fields of a message/feedback-report (RFC 5965)."""
    is_receipt: bool = False
    """There is a message/disposition-notification (RFC 8098): the mail was shown, or thrown away."""
    returned: Fields = field(default_factory=dict)
    """Headers of the mail that it returns."""


class _Short(policy.Compat32):
    """Keeps the beginning of each field."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name[:MAX_FIELD], value[:MAX_FIELD]


_SHORT = _Short()


class _Few(Message):
    """Keeps the first of its fields."""

    def set_raw(self, name: str, value: str) -> None:
        if len(self) < MAX_FIELDS:
            super().set_raw(name, value)


class _Enough(Exception):
    """The mail has more parts than are taken apart."""


def _parsed(raw: bytes) -> Message:
    """The mail up to its `MAX_PARTS`-th part, all of which know what came before."""
    made: list[Message] = []

    def part(policy: "Policy[Message]") -> Message:
        if len(made) >= MAX_PARTS:
            raise _Enough
        made.append(_Few(policy))
        return made[-1]

    try:
        return BytesParser(policy=_SHORT.clone(message_factory=part)).parsebytes(raw)
    except _Enough:
        return made[0]


def open_mail(raw: bytes) -> Opened:
    """Reads what the limits above leave of it. Never raises for what ``raw`` holds, but may
    `RecursionError` for nesting without end."""
    message = _parsed(raw)
    opened = Opened(_fields(message), message.get_content_type())
    plain: list[str] = []
    marked_up: list[str] = []
    for part in _own_parts(message):
        _sort(part, opened, plain, marked_up)
    _split(opened, "\n".join(plain or [_without_tags(each) for each in marked_up])[:MAX_TEXT])
    return opened


def _outside_of_parts(message: Message) -> list[str]:
    """What a multipart holds that names no boundary, or whose boundary never comes."""
    payload = message.get_payload()
    return [text for text in (message.preamble, payload) if isinstance(text, str)]


def _own_parts(message: Message) -> Iterator[Message]:
    """Every part but those inside of a message that is carried along."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, Message):
                yield from _own_parts(part)
    else:
        yield message


def _sort(part: Message, opened: Opened, plain: list[str], marked_up: list[str]) -> None:
    kind = part.get_content_type()
    if kind in ("message/delivery-status", "message/global-delivery-status"):
        opened.status_groups += _groups(_inside(part))
    elif kind == "message/feedback-report":
        opened.feedback = opened.feedback or _fields_of_text(_inside(part))
    elif kind in ("message/disposition-notification", "message/global-disposition-notification"):
        opened.is_receipt = True
    elif kind in ("message/rfc822", "message/global"):
        opened.returned = opened.returned or _fields_of_message(part)
    elif kind in ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers"):
        opened.returned = opened.returned or _fields_of_text(_inside(part))
    elif part.get_filename() and kind in ("text/plain", "application/octet-stream"):
        _sort_file(_text(part), opened)
    elif kind == "text/html":
        marked_up.append(_text(part))
    elif part.get_content_maintype() in ("text", "message") and not part.get_filename():
        plain.append(_text(part))
    elif part.get_content_maintype() == "multipart":
        plain += _outside_of_parts(part)


def _sort_file(text: str, opened: Opened) -> None:
    """A delivery status or a feedback report that a gateway made a file of (``details.txt``,
    ``ATT00001.dat``); other files say nothing."""
    if _STATUS.match(text):
        opened.status_groups += _groups(text)
    elif _FEEDBACK.match(text) and opened.content_type == "multipart/report":
        opened.feedback = opened.feedback or _fields_of_text(text)


def _fields_of_message(part: Message) -> Fields:
    """Of the message that a part carries."""
    inside = part.get_payload()
    if not (isinstance(inside, list) and inside and isinstance(inside[0], Message)):
        return {}
    return _fields_of_text(_inside(part)) if _encoding(part) in _ENCODED else _fields(inside[0])


def _encoding(part: Message) -> str:
    return str(part.get("Content-Transfer-Encoding", "")).strip().lower()


def _inside(part: Message) -> str:
    """The text of a part that the parser may have taken for a message, or for several. Encoding such a
    part is forbidden (RFC 2046 §5.2), and done; RFC 6533 allows it for the newer forms."""
    payload = part.get_payload()
    if not isinstance(payload, list):
        return _text(part)
    text = "\n\n".join(_as_written(each) for each in payload if isinstance(each, Message))
    encoding = _encoding(part)
    if encoding not in _ENCODED:
        return text
    bare = Message()
    bare["Content-Transfer-Encoding"] = encoding
    bare.set_payload(text.strip())
    return _text(bare)


def _as_written(message: Message) -> str:
    """Not ``as_string``, which raises for fields that it would not write itself."""
    # Decoded, as the library shows letters that nobody encoded (RFC 6532) as question marks.
    is_encoded = "content-transfer-encoding" in message
    payload = message.get_payload() if is_encoded else message.get_payload(decode=True)
    if isinstance(payload, bytes):
        payload = payload.decode(errors="surrogateescape")
    head = "\n".join(f"{name}: {value}" for name, value in message.raw_items())
    # A header field that was broken in two ends the header, as the parser sees it, without an empty line.
    has_gap = not any(isinstance(defect, MissingHeaderBodySeparatorDefect) for defect in message.defects)
    gap = "\n\n" if has_gap else "\n"
    text = f"{head}{gap}{payload if isinstance(payload, str) else ''}"
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    return _decoded(payload, part.get_content_charset())


def _decoded(octets: bytes, charset: str | None) -> str:
    for name in (charset, "utf-8"):
        try:
            if codecs.lookup(name or "utf-8").name not in _NO_CHARSETS:
                return octets.decode(name or "utf-8").replace("\r\n", "\n")
        except (LookupError, ValueError):
            continue
    return octets.decode("latin-1").replace("\r\n", "\n")


def _without_tags(markup: str) -> str:
    try:
        root = lxml.html.document_fromstring(
            re.sub(r"(?i)<(?:br|/p|/div|/tr|/h\d|/li)\b[^<>]*>", "\n\\g<0>", markup)
        )
    except (LxmlError, ValueError):
        return ""
    # Not `drop_tree`, which copies the text before each element: 0.4 MB of empty styles took 3 s.
    strip_elements(root, "script", "style", "head", with_tail=False)
    return str(root.text_content())


def _fields(message: Message) -> Fields:
    found: Fields = {}
    # As they stand: the library shows letters that nobody encoded (RFC 6532) as question marks.
    for name, value in message.raw_items():
        octets = str(value).encode(errors="surrogateescape")
        found.setdefault(name.lower(), " ".join(_readable(_decoded(octets, None)).split()))
    return found


def _readable(value: str) -> str:
    """With encoded words decoded (RFC 2047); as it is where they are broken."""
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value)
    except (ValueError, AssertionError, HeaderParseError):
        return value
    return "".join(
        _decoded(piece, charset) if isinstance(piece, bytes) else piece for piece, charset in pieces
    )


def _fields_of_text(text: str) -> Fields:
    return _fields(
        BytesHeaderParser(_Few, policy=_SHORT).parsebytes(text.lstrip("\n").encode(errors="replace"))
    )


def _groups(text: str) -> list[Fields]:
    groups = re.split(r"\n[ \t]*\n", text.strip(), maxsplit=MAX_PARTS)[:MAX_PARTS]
    found = (_fields_of_text(group) for group in groups)
    return [fields for fields in found if fields]


def _split(opened: Opened, text: str) -> None:
    """Parts the mail's own words from what it quotes of the returned mail."""
    ends = [match.start() for match in (_RETURNED.search(text), _HEADERS.search(text)) if match]
    end = min(ends, default=len(text))
    opened.text = _REPEATED.sub("", text[:end])
    if not ends:
        return
    if not opened.returned:
        quoted = _HEADERS.search(text, end) or re.search(r"^[\w-]+: \S", text[end:], re.MULTILINE)
        start = quoted.start() + (0 if quoted.re is _HEADERS else end) if quoted else len(text)
        opened.returned = _fields_of_text(re.sub(r"(?m)^(?:> ?| {2,4}(?=[A-Z][\w-]+:))", "", text[start:]))


def is_null(opened: Opened) -> bool:
    """RFC 5321 §4.5.5: so that nothing answers to it, what a machine reports has a null return path. The
    second is how qmail writes it for the bounce of a bounce, and Sendmail writes its own name there."""
    path = opened.headers.get("return-path", "?").strip().lower()
    return path in ("<>", "<#@[]>") or path.startswith(("<mailer-daemon@", "<mailer-daemon>"))


def submitted(opened: Opened) -> str:
    """Who says to have written it, in lower case and perhaps with parameters: ``auto-replied``,
    ``auto-generated`` or another machine (RFC 3834 §5); ``no``, a person, where nothing is said."""
    return opened.headers.get("auto-submitted", "no").lower()


def is_delivery_status(opened: Opened) -> bool:
    """RFC 6522's wrapping of a report about deliveries. Who forwards one wraps it anew."""
    return opened.content_type == "multipart/report" and (
        "delivery-status" in opened.headers.get("content-type", "").lower()
    )


def returns_to_its_writer(opened: Opened) -> bool:
    """As an ordinary letter does, whoever wrote it."""
    path = opened.headers.get("return-path", "").strip(" <>").lower()
    return bool(path) and path == (sender(opened) or "").lower()


def is_answer(opened: Opened) -> bool:
    """To another mail, or one that is passed on: what mail programs put in front of the subject."""
    return _ANSWERED.match(opened.headers.get("subject", "")) is not None


def is_by_a_daemon(opened: Opened) -> bool:
    """No person writes, and no list is led, by the name of a mail system's daemon."""
    return (sender(opened) or "").partition("@")[0].lower() in _DAEMONS


def sender(opened: Opened) -> str | None:
    """The address in From, without the name."""
    return parseaddr(opened.headers.get("from", ""))[1] or None
