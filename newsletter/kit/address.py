"""E-mail addresses: which are valid, and which are equal.

Equal are two addresses whose NFC, lower-cased form with the domain as A-label is equal
(RFC 5321 lets local parts differ by case; no mailbox provider of note does).
"""

import re
import unicodedata
from functools import lru_cache
from typing import Annotated, Final, NamedTuple
from urllib.parse import unquote

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import AfterValidator, Field

from newsletter.kit.errors import ValidationFailed

MOST_FOREIGN_LABELS: Final = 10
"""Labels of a domain that are not ASCII, or A-labels of such. Each takes 50 µs to encode or to check. 120 of
the former fit into an address, though not into a name (253 octets, RFC 1035 §2.3.4), 30 of the latter into
both: a batch of such kept all others waiting for seconds."""
_DOTS: Final = re.compile("[.\u3002\uff0e\uff61]")
"""What stands between labels (UTS 46)."""


class Address(NamedTuple):
    """``spelling`` is as written, ``key`` is what makes two of them equal."""

    spelling: str
    key: str


_WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN = re.compile(
    rf"(?=.{{1,64}}@)(?=.{{3,254}}\Z){_WORD}(?:\.{_WORD})*@(?:{_LABEL}\.)+(?P<top>[A-Za-z]{{2,63}})", re.ASCII
)
"""What nearly every address looks like: a dot-atom of ASCII (RFC 5322 §3.2.3) and a host name."""
_NAMED_SPECIALLY = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)
"""Top-level domains below which some names are for no mailbox (RFC 6761): the full parser knows."""


# Whoever reads an address out of a body has it checked there, and parses it again to know its key.
@lru_cache(maxsize=1_000)
def parse(text: str) -> Address:
    """Raises `ValueError` with a sentence that says what is wrong.

    ``.test`` domains are allowed: test projects and examples use them (RFC 2606).
    """
    return parse_anew(text)


def parse_anew(text: str) -> Address:
    """`parse` for who reads a thousand addresses, each once: none of them is remembered, which takes
    longer than to parse one, and none pushes out what others are about to ask for again."""
    spelling = text.strip()
    plain = _PLAIN.fullmatch(spelling)
    # A batch of 1,000 rows spent more than half of its time in the full parser: 40 µs for an
    # address, where this takes 2 µs. "--" may begin an A-label, which has rules of its own.
    if plain and "--" not in spelling and plain["top"].lower() not in _NAMED_SPECIALLY:
        return Address(spelling, spelling.lower())
    return parse_fully(spelling)


def key_in_query(field: str, text: str | None) -> str | None:
    """What makes two spellings of an address of the query string equal. Raises `ValidationFailed` on
    ``field``, like any bad field."""
    try:
        return None if text is None else parse(text).key
    except ValueError as error:
        raise ValidationFailed.of(field, str(error)) from None


def parse_fully(spelling: str) -> Address:
    """`parse` for whatever is not plain; for what is, the same by a longer way."""
    if any(unicodedata.category(letter).startswith("C") for letter in spelling):
        raise ValueError("must not contain control characters")
    labels = _DOTS.split(spelling.rpartition("@")[2])
    if sum(not label.isascii() or label[:4].lower() == "xn--" for label in labels) > MOST_FOREIGN_LABELS:
        raise ValueError(
            f"must have at most {MOST_FOREIGN_LABELS} parts with letters beyond ASCII in its domain"
        )
    try:
        valid = validate_email(
            spelling, check_deliverability=False, test_environment=True, allow_quoted_local=False
        )
    except EmailNotValidError as error:
        raise ValueError(f"is not a valid e-mail address: {error}") from None
    domain = valid.ascii_domain or valid.domain
    local = unicodedata.normalize("NFC", valid.local_part).lower()
    return Address(spelling=spelling, key=f"{local}@{domain.lower()}")


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def masked(address: str) -> str:
    """``a•••@example.com``: its owner knows it, who reads over a shoulder does not."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"


def ascii_domain_of(address: str) -> str:
    """The domain in lower case, as A-label: what domains are compared by."""
    domain = domain_of(address)
    return domain if domain.isascii() else domain_name(domain)


def domain_name(text: str) -> str:
    """A domain in lower case, as A-label. Raises `ValueError` with a sentence that says what is wrong."""
    try:
        return parse(f"postmaster@{text.strip()}").key.rpartition("@")[2]
    except ValueError:
        raise ValueError("must be a domain such as example.com") from None


_WEB = re.compile(r"(https?://(?:[^/?#@]*@)?)([^/?#:@\[\]]+)", re.IGNORECASE)


def with_ascii_host(url: str) -> str:
    """A link to the web with its host as A-labels (RFC 5891), whether it was written in its own letters or
    percent-encoded (RFC 3986 §3.2.2), which no resolver knows. All else stays as it is."""
    found = _WEB.match(url)
    if found is None or (found[2].isascii() and "%" not in found[2]):
        return url
    try:
        host = domain_name(unquote(found[2]))
    except ValueError:
        return url
    return found[1] + host + url[found.end() :]


DomainName = Annotated[
    str,
    Field(max_length=255, json_schema_extra={"examples": ["example.com"]}),
    AfterValidator(domain_name),
]
"""A field that holds one domain, kept as A-label in lower case."""


def _answerable(text: str) -> str:
    spelling = parse(text).spelling
    local = spelling.rpartition("@")[0]
    if not local.isascii() or "=?" in local:
        raise ValueError("must have ASCII letters before the @, and no '=?'")
    return spelling


_EMAIL = Field(max_length=320, json_schema_extra={"format": "email", "examples": ["alice@example.com"]})
EmailAddress = Annotated[
    str,
    _EMAIL,
    AfterValidator(lambda text: parse(text).spelling),
]
"""A field that holds one address, kept as it was spelled."""
SenderAddress = Annotated[str, _EMAIL, AfterValidator(_answerable)]
"""The same for those that stand in From and Reply-To, where a header has no way to write letters
of other scripts before the @ that every server would take (RFC 6532). The domain may have them."""
