"""Keeps of a piece of HTML what a newsletter needs, and nothing that runs, loads or hides."""

import html
import re
import string
from collections.abc import Callable

import nh3

from newsletter.templates import extent, merge
from newsletter.templates.escaping import clean_copy
from newsletter.templates.markers import Markers
from newsletter.templates.styles import clean_inline

_TEXT = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "span", "br", "hr", "blockquote"})
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "em", "i", "ins", "kbd", "mark", "q"}
    | {"s", "small", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "font", "center"}
)
_BLOCKS = frozenset({"pre", "ul", "ol", "li", "dl", "dt", "dd", "img", "figure", "figcaption", "section"})
_TABLE = frozenset({"table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "th", "td"})
TAGS = _TEXT | _INLINE | _BLOCKS | _TABLE

_REMOVED_WITH_CONTENT = {
    *("script", "style", "iframe", "object", "embed", "svg", "math", "noscript", "template", "title"),
    *("textarea", "select", "button", "audio", "video", "canvas", "frameset", "applet", "head"),
}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"style", "title", "align", "dir", "lang", "valign", "bgcolor"},
    "a": {"href", "name"},
    "img": {"src", "alt", "width", "height", "border"},
    "table": {"width", "border", "cellpadding", "cellspacing", "role"},
    "td": {"width", "height", "colspan", "rowspan"},
    "th": {"width", "height", "colspan", "rowspan", "scope"},
    "col": {"width", "span"},
    "ol": {"start", "type"},
    "font": {"color", "size", "face"},
}
MAX_ELEMENTS = 20_000
"""The parser takes the square of how deep a text nests, without letting anyone else run: 40,000
``<div>`` inside each other took it 14 seconds, as many as these may take one."""
MAX_DEPTH = 100
"""Of what is left. Deeper than 256 the next parser would drop the text without a word."""
_TAG = re.compile(r"""<(/?)([a-z][a-z0-9]*)(?:[^<>"]|"[^"]*")*>""")
"""As the sanitiser writes them: values in double quotes, no comments."""
_UNSEEN = string.whitespace + "\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NON-JOINER}\N{WORD JOINER}"
_VOID = frozenset({"br", "col", "hr", "img", "wbr"})
_SCHEMES = {"http", "https", "mailto", "tel"}
_LINK = re.compile(r"\s*(?:https?:|mailto:|tel:|#)", re.IGNORECASE)
_PICTURE = re.compile(r"\s*https?:", re.IGNORECASE)
_SIMPLE_VALUE = re.compile(r"[\w\s#%.,()+-]*")


def sanitise_body(body: str) -> str:
    """The safe part of ``body``, well-formed; merge tags stay as they were written.

    Links keep the schemes http, https, mailto and tel; pictures http and https. Raises
    `newsletter.templates.merge.MergeTagInvalid` for a tag that cannot be read, and for a body
    of more than `MAX_ELEMENTS` or deeper than `MAX_DEPTH`.
    """
    markers = Markers()
    protected = markers.protect(merge.split(body))
    return markers.restore(sanitise(protected, markers), _as_written)


def _as_written(tag: merge.Tag, in_attribute: bool) -> str:
    source = html.unescape(tag.source)
    return html.escape(source, quote=in_attribute)


def sanitise(fragment: str, markers: Markers, *, allow_classes: bool = False) -> str:
    """The same for a fragment whose merge tags are ``markers``; templates may use classes."""
    if extent.elements(fragment) > MAX_ELEMENTS:
        raise merge.MergeTagInvalid(f"there are more than {MAX_ELEMENTS:,} HTML elements")
    extent.require_few(fragment)
    attributes = _ATTRIBUTES | {"*": _ATTRIBUTES["*"] | ({"class"} if allow_classes else set())}
    cleaned = nh3.clean(
        clean_copy(fragment),
        tags=set(TAGS),
        clean_content_tags=_REMOVED_WITH_CONTENT,
        attributes=attributes,
        attribute_filter=_attribute_filter(markers),
        url_schemes=_SCHEMES,
        strip_comments=True,
        link_rel=None,
    )
    if _depth(cleaned) > MAX_DEPTH:
        raise merge.MergeTagInvalid(f"HTML elements nest deeper than {MAX_DEPTH}")
    return clean_copy(cleaned)  # Again: the source may have had them as ``&#1;``.


def is_blank(cleaned: str) -> bool:
    """Whether sanitised HTML shows nothing: neither a picture, nor a character, but for spaces."""
    return "<img" not in cleaned and not html.unescape(_TAG.sub("", cleaned)).strip(_UNSEEN)


def _depth(cleaned: str) -> int:
    depth = deepest = 0
    for is_end, name in _TAG.findall(cleaned):
        if name not in _VOID:
            depth += -1 if is_end else 1
            deepest = max(deepest, depth)
    return deepest


def _attribute_filter(markers: Markers) -> Callable[[str, str, str], str | None]:
    def keep(tag: str, name: str, value: str) -> str | None:
        value = clean_copy(value)  # What is looked at is what will stand there.
        if name in ("href", "src"):
            allowed = _LINK if name == "href" else _PICTURE
            return value.strip() if markers.is_link(value, allowed) else None
        if name == "style":
            return None if markers.is_in(value) else clean_inline(value) or None
        if name in ("title", "alt"):
            return value
        if markers.is_in(value) or _SIMPLE_VALUE.fullmatch(value) is None:
            return None
        return value

    return keep
