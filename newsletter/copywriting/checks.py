"""What is believed of a model's answer: text in a few tags, given links, known merge tags.

A model obeys whoever wrote last, so its answer is treated like a stranger's upload. HTML
beyond the tags of the prompt, links that nobody gave, unknown merge tags and invisible
characters are removed. What a removal would leave a hole in, and what only the model can
mend, comes back as complaints for the one repair round.
"""

import html
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser

import nh3

from newsletter.copywriting.characters import clean_body, clean_line, shorten
from newsletter.copywriting.draft import Brief
from newsletter.copywriting.links import WRITTEN_OUT, KnownLinks, without_trailing
from newsletter.copywriting.prompts import Limits
from newsletter.templates.merge import MergeTagInvalid, strip_unknown
from newsletter.templates.sanitise import sanitise_body

MAX_BODY_CHARS = 100_000
_MAX_ELEMENTS = 2_000
"""Elements and braces in a body. Parsing HTML is quadratic in its depth: 50,000 nested lists
take 22 seconds, during which this loop would serve nobody."""
_MAX_REPORTED = 50
_MAX_ROUNDS = 8

_TAGS = {"p", "h1", "h2", "h3", "h4", "ul", "ol", "li", "a", "strong", "b", "em", "i", "u", "s", "small"} | {
    *("br", "blockquote", "hr", "img", "code", "sub", "sup")
}
_BLOCKS = {"p", "h1", "h2", "h3", "h4", "ul", "ol", "li", "br", "blockquote", "hr"}
_REMOVED_WITH_CONTENT = {
    *("script", "style", "iframe", "object", "embed", "svg", "math", "noscript", "template", "title", "head"),
    *("textarea", "select", "button", "audio", "video", "canvas"),
}
_TAG = re.compile(r"\{\{[^{}]*\}\}|\{%[^{}]*%\}|\{#[^{}]*#\}")
# A fallback holds words, not addresses: in pieces, they would join to a link only in the mail.
_WORDS = r"""(?:"[\w ,!'’-]{0,60}"|'[\w ,!’-]{0,60}')"""
_SIMPLE_TAG = re.compile(
    r"\{\{\s*\w+(?:\s*\|\s*(?:upper|lower|capitalize|title|default\s*(?::\s*"
    + _WORDS
    + r"|\(\s*"
    + _WORDS
    + r"\s*\))))*\s*\}\}"
)
_LINK_TAG = re.compile(r"\{\{\s*(\w+_url)\s*\}\}")
# What has more digits than the last character is none; of 4,300 and more Python makes no number.
_ENDLESS_REFERENCE = re.compile(r"&#[0-9]{100,};?")
_HTML_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>")


class Unusable(Exception):
    """The answer cannot become a draft; ``problems`` say why, in words for the model."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(" ".join(problems))


@dataclass(frozen=True, slots=True)
class Copy:
    """A newsletter as it may be sent."""

    subject: str
    preheader: str
    body: str
    removed_links: tuple[str, ...]
    removed_tags: tuple[str, ...]
    complaints: tuple[str, ...]
    """What the model should mend, in words for the model; usable all the same."""
    notes: tuple[str, ...]
    """What was done about the complaints, in words for a person."""


@dataclass(slots=True)
class _Findings:
    """What was found on the way, each thing once."""

    links: dict[str, None] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)
    written_out: dict[str, None] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self, complaint: str, note: str) -> None:
        self.complaints.append(complaint)
        self.notes.append(note)


def check(subject: str, preheader: str, body: str, brief: Brief, known: KnownLinks, limits: Limits) -> Copy:
    """Cleans what a model wrote. Raises `Unusable` when too little is left.

    The result passes through these checks unchanged. The caller's own subject and
    preheader win over the model's and are not judged here.
    """
    if len(body) > MAX_BODY_CHARS:
        raise Unusable(f"body_html has {len(body):,} characters; {limits.body_html:,} are allowed.")
    if len(re.findall(r"<[a-zA-Z]|\{[{%]|&#", body)) > _MAX_ELEMENTS:
        raise Unusable("body_html has far too many tags; write paragraphs, headings and lists.")
    found = _Findings()
    body = _body(body, brief.fields, known, found)
    subject = brief.subject or _line(subject, "subject", limits.subject, brief, known, found)
    preheader = brief.preheader or _line(preheader, "preheader", limits.preheader, brief, known, found)
    words = visible_text(body)
    problems = []
    if not subject:
        problems.append("subject is empty.")
    if not re.search(r"\w", _TAG.sub("", words)):
        problems.append("body_html has no text after everything that is not allowed was removed.")
    # Pieces that are harmless apart and join to an address in the mail, over tags of any kind.
    joined = _foreign(_TAG.sub("", words), known)
    if joined:
        problems.append(f"body_html writes out addresses that nobody gave: {', '.join(joined)}.")
    if problems:
        raise Unusable(*problems)
    if len(body) > limits.body_html:
        found.say(f"body_html is longer than {limits.body_html:,} characters.", "The body is unusually long.")
    _complain(found, f"{subject}\n{preheader}\n{words}", brief.voice.banned_words)
    return Copy(
        subject=subject,
        preheader=preheader,
        body=body,
        removed_links=tuple(found.links)[:_MAX_REPORTED],
        removed_tags=tuple(found.tags)[:_MAX_REPORTED],
        complaints=tuple(found.complaints),
        notes=tuple(found.notes),
    )


def visible_text(body: str) -> str:
    """The words of a sanitised body; blocks end a line, inline tags part nothing."""
    reader = _Reader()
    reader.feed(body)
    reader.close()
    return "".join(reader.pieces)


def _body(body: str, fields: Collection[str], known: KnownLinks, found: _Findings) -> str:
    """The body after all filters. A removal may join the pieces around it to something new,
    so they run until nothing changes any more."""
    for _ in range(_MAX_ROUNDS):
        before = body
        body = _tidy(clean_body(body), known, found)
        rewriter = _Rewriter(known, found)
        rewriter.feed(body)
        rewriter.close()
        try:
            body = sanitise_body(_simple_tags(clean_body("".join(rewriter.pieces)), fields, found))
        except MergeTagInvalid as error:
            raise Unusable(f"body_html: {error.message}.") from None
        if body == before:
            return body.strip()
    raise Unusable("body_html is not plain HTML; use the allowed tags and nothing else.")


def _tidy(body: str, known: KnownLinks, found: _Findings) -> str:
    """The tags of the prompt, with given links and pictures only."""

    def keep(tag: str, name: str, value: str) -> str | None:
        if name == "alt":
            return _TAG.sub("", _without_foreign(value, known, found))
        value = value.strip()
        if name == "href" and _LINK_TAG.fullmatch(value):
            return value
        given = known.find(value)
        if given is None or (name == "src" and not given.startswith("http")):
            found.links[clean_line(value)[:200]] = None
            return None
        return given

    return nh3.clean(
        body,
        tags=_TAGS,
        clean_content_tags=_REMOVED_WITH_CONTENT,
        attributes={"a": {"href"}, "img": {"src", "alt"}},
        attribute_filter=keep,
        url_schemes={"http", "https", "mailto", "tel", "ftp", "javascript", "data", "cid"},
        strip_comments=True,
        link_rel=None,
    )


class _Reader(HTMLParser):
    """The text of tidy HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


class _Rewriter(HTMLParser):
    """Writes tidy HTML again, without links that lost their address (their text stays),
    pictures that lost their source, and addresses in the text that nobody gave."""

    def __init__(self, known: KnownLinks, found: _Findings) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._known = known
        self._found = found
        self._links: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        if tag == "a":
            self._links.append("href" in names)
        if (tag == "a" and "href" not in names) or (tag == "img" and "src" not in names):
            return
        written = "".join(f' {name}="{html.escape(value or "")}"' for name, value in attrs)
        self.pieces.append(f"<{tag}{written}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and not (self._links and self._links.pop()):
            return
        self.pieces.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.pieces.append(html.escape(_without_foreign(data, self._known, self._found), quote=False))


def _line(text: str, name: str, limit: int, brief: Brief, known: KnownLinks, found: _Findings) -> str:
    """A subject or preheader as plain text of at most ``limit`` characters."""
    for _ in range(_MAX_ROUNDS):
        before = text
        text = clean_line(_HTML_TAG.sub("", _unescaped(text)))
        text = clean_line(_simple_tags(_without_foreign(text, known, found), brief.fields, found))
        if text == before:
            break
    else:
        raise Unusable(f"{name} is not plain text.")
    if _foreign(_TAG.sub("", text), known):
        raise Unusable(f"{name} writes out an address that nobody gave.")
    if len(text) > limit:
        found.say(
            f"{name} has {len(text)} characters; at most {limit} are allowed.",
            f"The {name} was shortened to {limit} characters.",
        )
        text = shorten(text, limit)
    return text


def _simple_tags(text: str, fields: Collection[str], found: _Findings) -> str:
    """Known merge tags that insert one field; a model's conditions could show some readers
    what the reviewer never saw."""
    text, unknown = strip_unknown(text, fields)
    found.tags.update(dict.fromkeys(unknown))

    def keep(match: re.Match[str]) -> str:
        if _SIMPLE_TAG.fullmatch(_unescaped(match.group())):
            return match.group()
        found.tags[match.group()[:200]] = None
        return ""

    return _TAG.sub(keep, text)


def _unescaped(text: str) -> str:
    return html.unescape(_ENDLESS_REFERENCE.sub("\ufffd", text))


def _foreign(text: str, known: KnownLinks) -> list[str]:
    links = (without_trailing(match.group()) for match in WRITTEN_OUT.finditer(text))
    return [link for link in links if known.find(link) is None]


def _without_foreign(text: str, known: KnownLinks, found: _Findings) -> str:
    """``text`` without addresses that nobody gave: mail programs make links of them."""

    def keep(match: re.Match[str]) -> str:
        link = without_trailing(match.group())
        if known.find(link):
            return match.group()
        found.links[link[:200]] = None
        found.written_out[link[:200]] = None
        return match.group()[len(link) :]

    return WRITTEN_OUT.sub(keep, text)


def _complain(found: _Findings, words: str, banned: Collection[str]) -> None:
    if found.written_out:
        shown = ", ".join(list(found.written_out)[:10])
        found.say(
            f"These addresses were not given and must not be written: {shown}.",
            "Addresses that nobody gave were cut out of the text; read the sentences around them.",
        )
    if found.tags:
        shown = ", ".join(list(found.tags)[:10])
        found.say(
            f"These placeholders do not exist or do more than insert a field: {shown}.",
            "Unknown placeholders were cut out of the text; read the sentences around them.",
        )
    spaced = " ".join(words.casefold().split())
    used = [
        word
        for word in banned
        if (plain := " ".join(word.casefold().split()))
        and re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", spaced)
    ]
    if used:
        shown = ", ".join(used)
        found.say(f"The voice bans these words: {shown}.", f"The text uses banned words: {shown}.")
