"""What is likely to keep a mail from its readers, found by looking at it: reasons, points, and what to do.

No words are counted that filters are said to dislike: filters of today judge the sender, the links and the
markup. The same mail gives the same score; nothing is fetched.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import lxml.html
from lxml import etree

from newsletter.templates import extent

CLIPPED_BYTES = 102_000
"""From so much HTML on Gmail shows the beginning of a mail and a link to the rest."""
SUBJECT_SHOWN = 60
"""Characters of a subject that inboxes show; phones show half of it."""
FEW_WORDS = 200
"""Characters of text, below which a mail with pictures is a picture."""
_EXAMPLES = 5

_SHORTENERS = frozenset(
    {"bit.ly", "buff.ly", "cutt.ly", "goo.gl", "is.gd", "lnkd.in", "ow.ly", "rb.gy", "rebrand.ly"}
    | {"shorturl.at", "t.co", "t.ly", "tiny.cc", "tinyurl.com"}
)
_TAKEN_OUT = ("script", "form", "iframe", "object", "embed", "video", "audio", "svg")
_REFUSED_FILES = frozenset(
    {"ade", "apk", "bat", "cab", "chm", "cmd", "com", "cpl", "dll", "dmg", "exe", "hta", "img", "ins", "iso"}
    | {"jar", "js", "jse", "lnk", "msc", "msi", "msp", "pif", "ps1", "scr", "sh", "sys", "vb", "vbe", "vbs"}
    | {"vhd", "wsf"}
)
# With a scheme, "www." or an ending that is no file's: "Node.js" and "report.md" are no addresses.
_WRITTEN_HOST = re.compile(
    r"(?:https?://((?:[a-z0-9-]{1,63}\.)+[a-z]{2,24})|(www\.(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24})"
    r"|((?:[a-z0-9-]{1,63}\.)+(?:biz|com|edu|gov|info|net|org)))(?:[/:?#]\S*)?",
    re.IGNORECASE,
)
_READ = 2_000
"""Characters of a link's text: an address that it shows is shorter."""
_REPLY = re.compile(r"\s*(?:re|fw|fwd|aw|wg)\s*:", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``points`` are lost by it."""

    check: str
    points: int
    reason: str
    advice: str
    examples: tuple[str, ...] = ()
    """What it was seen at, the first few."""


@dataclass(frozen=True, slots=True)
class Scored:
    score: int
    findings: tuple[Finding, ...]
    """The heaviest first."""


def score(subject: str, html: str | None, text: str | None, files: Sequence[str]) -> Scored:
    """100 without a finding. Takes up to a second for the largest HTML: call it in a thread. Raises
    `MergeTagInvalid` for HTML that would take a parser without end."""
    found = [*_of_subject(subject), *_of_files(files)]
    if html is not None:
        found += _of_html(html)
    elif text is not None:
        found += _of_words(text)
    found.sort(key=lambda each: -each.points)
    return Scored(max(0, 100 - sum(each.points for each in found)), tuple(found))


def _of_subject(subject: str) -> Iterator[Finding]:
    if len(subject) > SUBJECT_SHOWN:
        reason = f"The subject has {len(subject)} characters; inboxes show some {SUBJECT_SHOWN} of them."
        yield Finding(
            "subject_long", 5, reason, "Say the most important thing first, and the rest in the preheader."
        )
    if _is_shouted(subject, least=8):
        yield Finding("subject_capitals", 10, "The subject is in capitals.", "Write it as a sentence.")
    if "!!" in subject or "??" in subject or subject.count("!") > 1:
        advice = "One mark is enough, none is better."
        yield Finding("subject_marks", 5, "The subject has several exclamation or question marks.", advice)
    if _REPLY.match(subject):
        reason = "The subject looks like an answer to a mail that the reader never wrote."
        yield Finding("subject_reply", 10, reason, "Leave 'Re:' and 'Fwd:' to answers.")


def _of_files(files: Sequence[str]) -> Iterator[Finding]:
    refused = [name for name in files if name.rpartition(".")[2].lower() in _REFUSED_FILES]
    if refused:
        reason = "A file is of a kind that Gmail and other services refuse."
        yield Finding("attachment_refused", 40, reason, "Link to it on your site.", _few(refused))


def _of_html(html: str) -> Iterator[Finding]:
    extent.require_few(html)
    size = len(html.encode(errors="replace"))
    if size > CLIPPED_BYTES:
        reason = (
            f"The HTML has {size:,} bytes; Gmail cuts a mail off at some {CLIPPED_BYTES:,}, footer included."
        )
        yield Finding("size_clipped", 15, reason, "Shorten it, and link to the rest.")
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    # With a beginning of ours there is a document even where there are only comments.
    document = lxml.html.document_fromstring(b"<html>" + html.encode(errors="replace"), parser=parser)
    mismatch = etree.ErrorTypes.ERR_TAG_NAME_MISMATCH
    broken = [each for each in parser.error_log.filter_from_errors() if each.type == mismatch]
    if broken:
        lines = tuple(f"line {each.line}: {each.message}" for each in broken[:_EXAMPLES])
        reason = "Tags are not closed where they should be; programs differ in what they make of it."
        yield Finding(
            "markup_broken", 5, reason, "Close each tag inside of the one that it was opened in.", lines
        )
    taken = [name for name in _TAKEN_OUT if document.find(f".//{name}") is not None]
    if taken:
        reason = "Mail programs take out scripts, forms, frames and media, and filters distrust them."
        yield Finding("markup_taken_out", 10, reason, "Show a picture, and link to your site.", tuple(taken))
    # Not of use any more, and no words of the mail.
    etree.strip_elements(document, "script", "style", "head", with_tail=False)
    words = _SPACE.sub(" ", str(document.text_content())).strip()
    yield from _of_words(words)
    yield from _of_pictures(document, words)
    yield from _of_links(document)


def _of_words(words: str) -> Iterator[Finding]:
    if _is_shouted(words, least=200):
        yield Finding("text_capitals", 10, "Most of the text is in capitals.", "Write it in sentences.")


def _of_pictures(document: lxml.html.HtmlElement, words: str) -> Iterator[Finding]:
    pictures = document.findall(".//img")
    if pictures and len(words) < FEW_WORDS:
        reason = (
            "There are pictures and hardly any text: who sees no pictures sees nothing, filters among them."
        )
        yield Finding("pictures_alone", 15, reason, f"Write at least {FEW_WORDS} characters as text.")
    bare = [str(each.get("src", ""))[:200] for each in pictures if each.get("alt") is None]
    if bare:
        reason = "A picture has no 'alt', so that a screen reader reads out its address."
        advice = 'Say what it shows; alt="" where it only decorates.'
        yield Finding("alt_missing", min(8, 2 * len(bare)), reason, advice, _few(bare))


def _of_links(document: lxml.html.HtmlElement) -> Iterator[Finding]:
    links = [(each, str(each.get("href"))) for each in document.iterfind(".//a[@href]")]
    hosts = [(each, url, _host(url)) for each, url in links]
    lying = [pair for each, url, host in hosts if host is not None and (pair := _lie(each, url, host))]
    if lying:
        reason = "A link shows one address and leads to another, as links of phishing do."
        yield Finding(
            "link_mismatch", 25, reason, "Show words, or the address that it leads to.", _few(lying)
        )
    short = [url[:200] for _, url, host in hosts if host in _SHORTENERS]
    if short:
        reason = "A link goes through a public shortener, which many lists of bad links hold as a whole."
        yield Finding("link_shortened", 15, reason, "Link to the page itself.", _few(short))
    numeric = [url[:200] for _, url, host in hosts if host is not None and _is_number(host)]
    if numeric:
        reason = "A link leads to an address of numbers, without a name."
        yield Finding("link_numeric", 15, reason, "Link to a name of your own.", _few(numeric))
    open_ = [url[:200] for _, url in links if url.lower().startswith("http://")]
    if open_:
        yield Finding("link_insecure", 3, "A link has no TLS.", "Link to https://.", _few(open_))


def _lie(link: lxml.html.HtmlElement, url: str, host: str) -> str | None:
    """What the link shows and where it leads, where these are addresses of two sites."""
    written = _SPACE.sub(" ", _beginning(link)).strip()
    shown = _WRITTEN_HOST.fullmatch(written)
    if shown is None or _is_same(str(shown[shown.lastindex or 0]).lower(), host):
        return None
    return f"{written[:100]} → {url[:100]}"


def _beginning(link: lxml.html.HtmlElement) -> str:
    """Of the text that the link shows. Links that nobody closed stand inside each other, and each would be
    read to the end of the mail: 120 of them took 11 seconds."""
    pieces, size = [], 0
    for piece in link.itertext():
        pieces.append(str(piece)[: _READ - size])
        size += len(pieces[-1])
        if size >= _READ:
            break
    return "".join(pieces)


def _is_shouted(text: str, *, least: int) -> bool:
    letters = [letter for letter in text if letter.upper() != letter.lower()]
    return len(letters) >= least and sum(letter.isupper() for letter in letters) > 0.6 * len(letters)


def _host(url: str) -> str | None:
    """None for what does not lead to the web, or is a merge tag."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
    except ValueError:
        return None
    return host if parts.scheme.lower() in ("http", "https") and host and "{" not in host else None


def _is_same(shown: str, host: str) -> bool:
    """Of one site, whatever stands before its name: ``www.example.com`` is on ``example.com``."""
    return shown == host or shown.endswith(f".{host}") or host.endswith(f".{shown.removeprefix('www.')}")


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _few(many: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(many))[:_EXAMPLES]
