"""Compiles a mail that is no newsletter: its HTML is its author's own, whole, and stays as it is.

No template goes around it and nothing is taken out of it. Merge tags become slots that know
where they stand, found in the source itself, so that not a letter between them changes.
Where a value could do harm however it is escaped, its tag is refused: in a style or script,
in an attribute without quotes, in an event handler, in the name of a tag.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple, TypeVar

import lxml.html
from lxml import etree

from newsletter.templates import extent, footer, merge, plaintext
from newsletter.templates.branding import Branding
from newsletter.templates.compile import Compiled
from newsletter.templates.document import SAFE_LINK, link_tag
from newsletter.templates.escaping import Place, clean_copy
from newsletter.templates.markers import Markers
from newsletter.templates.merge import MergeTagInvalid, Tag
from newsletter.templates.slots import MergeTemplate

Result = TypeVar("Result")

EMPTY = MergeTemplate(())
_FOOTER_WIDTH = 600
# Each begins where another one cannot have begun, and takes what it can or nothing: an author who may
# write half a megabyte must not make any of them read it from every place to its end.
_OPENING = re.compile(r"<(?:!--|[a-zA-Z/!])")
_TAG = re.compile(r"""<(?:(style|script)\b)?(?>(?:[^"'>]++|"[^"]*+"|'[^']*+')*)>?+""", re.IGNORECASE)
_CLOSING = {name: re.compile(rf"</{name}\s*+>", re.IGNORECASE) for name in ("style", "script")}
_ATTRIBUTE = re.compile(r"""(?<![^\s"'>/=])([^\s"'>/=]++)(\s*+=\s*+)("[^"]*+"|'[^']*+'|[^\s"'>]++)""")
_LINKS = frozenset({"href", "src", "background", "action", "srcset", "poster"})
_END_OF_BODY = re.compile(r"</body\s*>", re.IGNORECASE)
_NAMES = ("unsubscribe_url", "view_in_browser_url")


def compile_whole(
    *,
    subject: str,
    html: str | None,
    text: str | None,
    allowed: Collection[str],
    branding: Branding | None = None,
) -> Compiled:
    """``html``, ``text`` or both; a missing text is written from the HTML, missing HTML stays missing.

    With ``branding`` the mail gets the footer that marketing needs by law. Raises `MergeTagInvalid`
    with its ``part``: ``subject``, ``body`` or ``text``.
    """
    markers = Markers()
    compiled = Compiled(
        _part("subject", lambda: merge.compile_line(subject, allowed, {})), EMPTY, EMPTY, EMPTY
    )
    if html is not None:
        page = _part("body", lambda: _placed(html, allowed, markers))
        if text is None:
            written = _part("body", lambda: _text_of(page, branding, markers))
            compiled = replace(compiled, text=written)
        if branding is not None:
            page = _with_footer(page, branding, markers)
        compiled = replace(compiled, html=_part("body", lambda: merge.build(markers.pieces(page), {})))
    if text is not None:
        compiled = replace(compiled, text=compile_text(text, allowed, branding, {}))
    return compiled


def compile_text(
    text: str, allowed: Collection[str], branding: Branding | None, known: Mapping[str, str]
) -> MergeTemplate:
    """A plain text of its author's own, with the values ``known`` filled in. Raises `MergeTagInvalid` with
    its ``part``."""
    return _part("text", lambda: _plain(text, allowed, branding, known))


def _plain(
    text: str, allowed: Collection[str], branding: Branding | None, known: Mapping[str, str]
) -> MergeTemplate:
    markers = Markers()
    pieces = merge.split(clean_copy(text))
    merge.require_names(pieces, {*allowed, *known})
    merge.require_no_stray(pieces)
    written = markers.place(markers.protect(pieces), Place.PLAIN)
    if branding is not None:
        written = f"{written.rstrip()}\n\n{footer.as_text(branding, **_links(markers))}\n"
    return merge.build(markers.pieces(written, as_plain=True), known)


def _links(markers: Markers) -> dict[str, str]:
    """The links of a footer, as its writers take them."""
    unsubscribe, view = (markers.place(markers.put(link_tag(name)), Place.URL) for name in _NAMES)
    return {"unsubscribe": unsubscribe, "view": view}


def _part(name: str, read: Callable[[], Result]) -> Result:
    """What ``read`` returns; its errors say which part of the mail they speak of."""
    try:
        return read()
    except MergeTagInvalid as error:
        raise MergeTagInvalid(error.message, error.line, error.part or name) from None


def _placed(html: str, allowed: Collection[str], markers: Markers) -> str:
    """The source with a marker for each tag, which says where it stands."""
    extent.require_few(html)
    pieces = merge.split(clean_copy(html))
    merge.require_names(pieces, allowed)
    # Style sheets are full of braces that are nobody's merge tags.
    merge.require_no_stray([_without_raw(piece) if isinstance(piece, str) else piece for piece in pieces])
    merge.nest(pieces)
    source = markers.protect(pieces)
    return _place(source, markers) if markers.is_in(source) else source


def _without_raw(source: str) -> str:
    """With empty lines where style sheets and scripts were."""
    parts, end = [], 0
    for token in _tokens(source):
        if token.kind is Kind.RAW:
            parts += [source[end : token.start], "\n" * source.count("\n", token.start, token.end)]
            end = token.end
    return "".join([*parts, source[end:]])


def _place(source: str, markers: Markers, *, in_comment: bool = False) -> str:
    if name := re.search(f"</?(?={markers.prefix})", source):
        raise _misplaced(markers.tags_in(source[name.end() :])[0], "as the name of an HTML tag")
    parts, end = [], 0
    for token in _tokens(source, has_comments=not in_comment):
        parts.append(markers.place(source[end : token.start], Place.HTML))
        parts.append(_placed_token(source[token.start : token.end], token.kind, markers))
        end = token.end
    return "".join([*parts, markers.place(source[end:], Place.HTML)])


class Kind(Enum):
    TAG = auto()
    COMMENT = auto()
    RAW = auto()
    """A style sheet or script: with its tags, and to the end of the mail where it has no end."""


class Token(NamedTuple):
    kind: Kind
    start: int
    end: int


def _tokens(source: str, *, has_comments: bool = True) -> Iterator[Token]:
    """What is not text. A tag without an end is text, and so is a comment in a comment."""
    at = 0
    while opening := _OPENING.search(source, at):
        start = opening.start()
        if has_comments and opening.group() == "<!--":
            end = source.find("-->", opening.end()) + len("-->")
            if has_comments := end >= len("-->"):
                yield Token(Kind.COMMENT, start, end)
                at = end
                continue
        tag = _TAG.match(source, start)
        assert tag is not None, "it begins as an opening does"
        at = tag.end()
        if source[at - 1] != ">":
            continue
        kind = Kind.TAG
        if tag[1]:
            closing = _CLOSING[tag[1].lower()].search(source, at)
            kind, at = Kind.RAW, closing.end() if closing else len(source)
        yield Token(kind, start, at)


def _placed_token(source: str, kind: Kind, markers: Markers) -> str:
    tags = markers.tags_in(source)
    if not tags:
        return source
    if kind is Kind.RAW:
        raise _misplaced(tags[0], "in a style sheet or script")
    if kind is Kind.COMMENT:  # Outlook reads what stands in some of them.
        return f"<!--{_place(source[4:-3], markers, in_comment=True)}-->"
    if found := markers.tags_in(_ATTRIBUTE.sub("", source)):
        raise _misplaced(found[0], "inside an HTML tag, but for the values of its attributes")
    return _ATTRIBUTE.sub(lambda match: _placed_attribute(match, markers), source)


def _placed_attribute(match: re.Match[str], markers: Markers) -> str:
    name, equals, value = match.groups()
    tags = markers.tags_in(match.group())
    if not tags:
        return match.group()
    if markers.is_in(name) or value[0] not in "\"'":
        raise _misplaced(tags[0], "in an attribute without quotes")
    quote, content, kind = value[0], value[1:-1], name.lower()
    if kind == "style" or kind.startswith("on"):
        raise _misplaced(tags[0], f"in the attribute '{kind}'")
    merge.nest(tags)
    if kind not in _LINKS:
        return f"{name}{equals}{quote}{markers.place(content, Place.HTML)}{quote}"
    if not markers.is_link(content, SAFE_LINK):
        raise _misplaced(tags[0], "in a link that does not begin with https:, http:, mailto: or tel:")
    return f"{name}{equals}{quote}{markers.place_in_link(content)}{quote}"


def _misplaced(tag: Tag, place: str) -> MergeTagInvalid:
    return MergeTagInvalid(f"'{tag.source[:80]}' cannot stand {place}", tag.line)


def _text_of(page: str, branding: Branding | None, markers: Markers) -> MergeTemplate:
    """The plain-text part of a page whose markers are placed."""
    try:
        parser = lxml.html.HTMLParser(encoding="utf-8")
        text = plaintext.write(lxml.html.document_fromstring(page.encode(), parser=parser))
    except etree.ParserError:  # Nothing but comments.
        text = ""
    except RecursionError:
        raise MergeTagInvalid("the HTML nests too deeply") from None
    if branding is not None:
        text += "\n\n" + footer.as_text(branding, **_links(markers))
    return merge.build(markers.pieces(text + "\n", as_plain=True), {})


def _with_footer(page: str, branding: Branding, markers: Markers) -> str:
    table = footer.as_html(branding, **_links(markers), width=_FOOTER_WIDTH)
    at = max((match.start() for match in _END_OF_BODY.finditer(page)), default=len(page))
    return page[:at] + table + page[at:]
