"""Which links a text may hold: those that the prompt, the voice card or the project gave.

A link is known when it is the same page as a given one: scheme http or https, the same
host, port, path, query and fragment after normalisation (RFC 3986 §6.2.2, IDNA). Nothing
more is inferred: another page of a known site is foreign, for a site may redirect anywhere
and a path can carry data out. What is written into the mail is always the spelling that was
given, never the model's, so no two readers of URLs can disagree about it.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, urlsplit

import idna

_BODY = r"[^\s<>\"'`{}|\\^\x00-\x1f]"
_NO_HOST = r"(?!(?:css|cpp|csv|exe|html?|jpe?g|jsx?|json|pdf|png|toml|tsx?|txt|xml|ya?ml)\b)"
_HOST = rf"(?:[^\W_](?:[\w-]{{0,62}})\.){{1,10}}{_NO_HOST}[^\W\d_][^\W_]{{1,62}}(?::\d{{1,5}})?"
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,10}[^\W\d_]{2,63}")
_WITH_SCHEME = re.compile(rf"https?:/+{_BODY}*|(?<![^\W_])www\.{_BODY}*", re.IGNORECASE)
_BARE = re.compile(rf"(?<![\w@./-]){_HOST}(?:[/?]{_BODY}*)?", re.IGNORECASE)

WRITTEN_OUT = re.compile(
    rf"{_EMAIL.pattern}"
    rf"|{_WITH_SCHEME.pattern}"
    rf"|(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{{0,30}}://{_BODY}*"
    rf"|(?<![\w@./-]){_HOST}/{_BODY}*",
    re.IGNORECASE,
)
"""What mail programs turn into a link although it is only text. A bare host without a path
is left out: it cannot be told from a name such as Node.js."""

_TRAILING = ".,;:!?…)]}>»”\u2019*_~"
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class KnownLinks:
    """The links that were given, and the question whether another one is among them."""

    def __init__(self, texts: Iterable[str], links: Iterable[str]) -> None:
        self._links: dict[tuple[str, ...], str] = {}
        self._addresses: dict[str, str] = {}
        for link in links:
            self._add(link.strip())
        for text in texts:
            for address in _EMAIL.findall(text):
                self._addresses.setdefault(address.casefold(), address)
            for found in _links_in(text):
                self._add(found)

    def __iter__(self) -> Iterator[str]:
        yield from self._links.values()
        yield from (f"mailto:{address}" for address in self._addresses.values())

    def find(self, link: str) -> str | None:
        """The given spelling of this link or e-mail address; None for one that nobody gave."""
        link = link.strip()
        scheme, _, rest = link.partition(":")
        address = rest.partition("?")[0] if scheme.casefold() == "mailto" else link
        if (given := self._addresses.get(address.casefold())) is not None:
            return f"mailto:{given}"
        page = _page(link)
        return None if page is None else self._links.get(page)

    def _add(self, link: str) -> None:
        address = link[7:] if link[:7].casefold() == "mailto:" else ""
        if _EMAIL.fullmatch(address):
            self._addresses.setdefault(address.casefold(), address)
        elif (page := _page(link)) is not None:
            self._links.setdefault(page, link if "://" in link else f"https://{link}")


def without_trailing(link: str) -> str:
    """A link cut out of prose, without the punctuation of the sentence around it."""
    while link and link[-1] in _TRAILING:
        if link[-1] == ")" and link.count("(") >= link.count(")"):
            break
        link = link[:-1]
    return link


def _links_in(text: str) -> Iterator[str]:
    for match in _WITH_SCHEME.finditer(text):
        yield without_trailing(match.group())
    rest = _EMAIL.sub(" ", _WITH_SCHEME.sub(" ", text))
    for match in _BARE.finditer(rest):
        yield without_trailing(match.group())


def _page(link: str) -> tuple[str, ...] | None:
    """What two links to the same page have in common; None for what is no plain web link.

    http and https count as one, because the given spelling is what will be written.
    """
    link = link.strip()
    if link.startswith("//"):
        link = "https:" + link
    elif "://" not in link and _BARE.fullmatch(link):
        link = "https://" + link
    try:
        parts = urlsplit(link)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    host = _host(parts.hostname)
    if host is None:
        return None
    shown_port = "" if port in (None, 80, 443) else str(port)
    return (host, shown_port, _path(parts.path), _percent(parts.query), _percent(parts.fragment))


def _host(host: str) -> str | None:
    """The host as A-labels in lower case."""
    host = host.rstrip(".")
    if re.fullmatch(r"[a-z0-9._-]+", host) and "xn--" not in host:
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        return host if re.fullmatch(r"[0-9a-f:.]+", host) else None


def _path(path: str) -> str:
    normal = _percent(path)
    if "/." in normal:
        normal = posixpath.normpath(normal)
    return normal.rstrip("/")


def _percent(text: str) -> str:
    def decode(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match.group().upper()

    return quote(re.sub(r"%([0-9A-Fa-f]{2})", decode, text), safe="%/:?#[]@!$&'()*+,;=")
