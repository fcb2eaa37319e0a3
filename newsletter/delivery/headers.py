"""Header fields of a mail, in ASCII, folded, with nothing in them that starts a field of its own.

Texts that a person wrote (subjects, names) are cleaned: what may not be in a header is taken
out. Values that mean something to a machine (addresses, URLs, ids) are refused instead, since
a cleaned one would mean something else.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import quote

import idna

_LINE = 78
"""RFC 5322 §2.1.1, without the line end."""
_ENCODED_LINE = 76
"""RFC 2047 §2, for lines with encoded words."""
_WORD = 75
_WORD_FRAME = len("=?utf-8?b??=")
_LONGEST_PLAIN_WORD = 60

# Control characters and line separators; what may be mistaken for one by some decoder included.
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Unicode's Bidi_Control: they make a text read as another one.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACES = re.compile("  +")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
# Without "=", see `ascii_address`.
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@" + _DOMAIN.pattern)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,39}")
_PARAMETER = re.compile(r"[A-Za-z0-9 !#$&'()+,.;=@^_`{}~-]{1,60}")
# RFC 2047 §5 (3): the characters that stand for themselves in each place an encoded word may have.
_Q_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = [chr(byte) if byte in _Q_PLAIN else "_" if byte == 0x20 else f"={byte:02X}" for byte in range(256)]


class HeaderInvalid(ValueError):
    """A value that may not stand in its header; the text names the header."""


def clean(text: str) -> str:
    """``text`` on one line, without control and direction characters; lone surrogates become ``U+FFFD``."""
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _BIDI.sub("", _BREAKS.sub(" ", text)))
    return _SPACES.sub(" ", text).strip(" ")


def unstructured(name: str, text: str) -> str:
    """A field of free text, such as a subject."""
    is_short = len(text) <= _LONGEST_PLAIN_WORD and text.isascii()
    if is_short and text.isprintable() and "  " not in text and "=?" not in text and text == text.strip(" "):
        return f"{name}: {text}" if text else f"{name}:"  # What all of the below would say, too.
    text = clean(text)
    if not _is_plain(text):
        return f"{name}: " + "\r\n ".join(_encoded_words(text, len(name) + 2))
    lines = [f"{name}:"]
    for word in text.split(" "):
        if len(lines[-1]) + 1 + len(word) <= _LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return "\r\n".join(lines).rstrip(" ")


def mailbox(name: str, address: str, display_name: str | None = None) -> str:
    """A field of one address. Raises `HeaderInvalid` for one that ASCII cannot write."""
    return _phrase_before(name, display_name, f"<{ascii_address(name, address)}>")


def recipient(name: str, address: str, display_name: str | None = None) -> str:
    """`mailbox`, except that an address with other letters before the @ is written as RFC 6857
    §3.1.8 has it: named, but not to be answered. The envelope has the true one."""
    if not display_name and len(address) <= _LONGEST_PLAIN_WORD and _PLAIN_ADDRESS.fullmatch(address):
        return f"{name}: <{address}>"  # Most of them; what `mailbox` would say, too.
    local = address.rpartition("@")[0]
    if local.isascii():
        return mailbox(name, address, display_name)
    if clean(address) != address:
        raise HeaderInvalid(f"{name}: not a valid address")
    return f"{name}: " + "\r\n ".join(_encoded_words(address, len(name) + 2)) + " :;"


def recipients(name: str, people: Sequence[tuple[str, str | None]]) -> str:
    """A field of several addresses with the names of their owners, a line each. Raises `HeaderInvalid`."""
    skip = len(name) + 2
    written = [recipient(name, address, display_name)[skip:] for address, display_name in people]
    return f"{name}: " + ",\r\n ".join(written)


def message_ids(name: str, value: str) -> str:
    """A field of message ids with spaces between them, a line each. Raises `HeaderInvalid`."""
    skip = len(name) + 2
    written = [message_id(name, each)[skip:] for each in value.split(" ") if each]
    if not written:
        raise HeaderInvalid(f"{name}: must look like <id@example.com>")
    return f"{name}: " + "\r\n ".join(written)


def list_id(name: str, identifier: str, display_name: str | None = None) -> str:
    """RFC 2919. Raises `HeaderInvalid` above 255 octets."""
    if not _LOCAL.fullmatch(identifier) or "." not in identifier or len(identifier) > 255:
        raise HeaderInvalid(f"{name}: must be words with dots between them, of 255 letters at most")
    return _phrase_before(name, display_name, f"<{identifier}>")


def token(name: str, value: str) -> str:
    """A field of visible ASCII without spaces, written as it is. Raises `HeaderInvalid`."""
    if not value or not value.isascii() or not value.isprintable() or " " in value or len(value) > 900:
        raise HeaderInvalid(f"{name}: must be visible ASCII characters without spaces")
    return f"{name}: {value}"


def url(name: str, value: str) -> str:
    """A field of one URL in angle brackets. Raises `HeaderInvalid`."""
    if not value.startswith(("https://", "http://")) or set(value) & set('<>"\\'):
        raise HeaderInvalid(f"{name}: must be a URL")
    return token(name, f"<{value}>")


def message_id(name: str, value: str) -> str:
    """Raises `HeaderInvalid` for what is not ``<left@right>``."""
    left, at, right = value[1:-1].rpartition("@")
    if value[:1] + value[-1:] != "<>" or not at or not _LOCAL.fullmatch(left) or not _DOMAIN.fullmatch(right):
        raise HeaderInvalid(f"{name}: must look like <id@example.com>")
    return token(name, value)


def custom(name: str, text: str) -> str:
    """A field that a caller named. Raises `HeaderInvalid` for what is not a name."""
    if not _NAME.fullmatch(name):
        raise HeaderInvalid("a header's name consists of ASCII letters, digits and hyphens")
    if name.lower() in ("references", "in-reply-to"):
        return message_ids(name, text)
    return unstructured(name, text)


def parameter(name: str, value: str) -> str:
    """A parameter behind a field's value, with the folds before it. Other letters than ASCII are
    written as RFC 2231 has it, in pieces where they are many."""
    value = clean(value)
    if _PARAMETER.fullmatch(value):
        return f';\r\n {name}="{value}"'
    encoded = quote(value, safe="")
    if len(encoded) <= _LONGEST_PLAIN_WORD:
        return f";\r\n {name}*=utf-8''{encoded}"
    # A piece may end inside of a character; who joins them decodes afterwards (RFC 2231 §4.1).
    pieces = [encoded[at : at + 48] for at in range(0, len(encoded), 48)]
    first = f";\r\n {name}*0*=utf-8''{pieces[0]}"
    return first + "".join(f";\r\n {name}*{number}*={piece}" for number, piece in enumerate(pieces[1:], 1))


def ascii_address(name: str, address: str) -> str:
    """``address`` with its domain as A-label. Raises `HeaderInvalid`."""
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise HeaderInvalid(f"{name}: not a valid domain") from error
    # "=?" is legal there, but some readers would decode what follows it.
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain) or "=?" in local or len(address) > 320:
        raise HeaderInvalid(f"{name}: not a valid address")
    return f"{local}@{domain}"


def _phrase_before(name: str, display_name: str | None, bracketed: str) -> str:
    phrase = clean(display_name) if display_name else ""
    if not phrase:
        return f"{name}: {bracketed}"
    if not _is_plain(phrase) or len(phrase) > _LONGEST_PLAIN_WORD:
        field = f"{name}: " + "\r\n ".join(_encoded_words(phrase, len(name) + 2))
    elif _ATOMS.fullmatch(phrase):
        field = f"{name}: {phrase}"
    else:
        quoted = phrase.replace("\\", "\\\\").replace('"', '\\"')
        field = f'{name}: "{quoted}"'
    last_line = len(field) - field.rfind("\n") - 1
    return field + (" " if last_line + 1 + len(bracketed) <= _ENCODED_LINE else "\r\n ") + bracketed


def _is_plain(text: str) -> bool:
    """Whether it can stand as it is; what looks like an encoded word would be decoded."""
    return (
        text.isascii()
        and "=?" not in text
        and all(len(word) <= _LONGEST_PLAIN_WORD for word in text.split(" "))
    )


def _encoded_words(text: str, used: int) -> list[str]:
    """RFC 2047, whole characters in each word; the first line has ``used`` characters already."""
    raw = text.encode()
    as_q = sum(byte not in _Q_PLAIN and byte != 0x20 for byte in raw) * 6 <= len(raw)
    budget = min(_WORD, _ENCODED_LINE - used) - _WORD_FRAME
    words: list[str] = []
    start = size = 0
    for place, letter in enumerate(text):
        octets = letter.encode()
        cost = sum(len(_Q[byte]) for byte in octets) if as_q else len(octets)
        if size + cost > (budget if as_q else budget // 4 * 3):
            words.append(_encoded_word(text[start:place], as_q))
            start, size, budget = place, 0, _WORD - _WORD_FRAME
        size += cost
    words.append(_encoded_word(text[start:], as_q))
    return words


def _encoded_word(text: str, as_q: bool) -> str:
    if as_q:
        return "=?utf-8?q?" + "".join(_Q[byte] for byte in text.encode()) + "?="
    return f"=?utf-8?b?{b64encode(text.encode()).decode('ascii')}?="
