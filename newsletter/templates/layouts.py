"""Reads a template's MJML: known values filled in, other merge tags as markers, then a tree.

Line breaks are kept through each step, so an element's line is the author's line.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html.entities import html5

from lxml import etree

from newsletter.templates import expressions, merge
from newsletter.templates.branding import COLOUR_NAMES
from newsletter.templates.expressions import Const
from newsletter.templates.markers import Markers
from newsletter.templates.merge import Piece, Tag

CONTENT = "content"
"""The name of the content slot, ``{{ content }}``."""
MAX_SOURCE_CHARS = 300_000
MAX_DEPTH = 40
MAX_ATTRIBUTES = 100
"""Of one element; MJML knows some 30. Reading 20,000 kept everyone else waiting for seconds."""
MAX_COMPONENTS = 1_000
"""Elements of MJML; templates have a hundred. Each becomes several tables: 6,000 of an accordion took twelve
seconds of a processor with each mail that was compiled."""
EARLY_NAMES = COLOUR_NAMES | {"website_url", "logo_url"}
"""Names whose values are safe anywhere in MJML; others wait until their place is known."""

VOID_TAGS = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
_VOID = re.compile(
    r"<(" + "|".join(sorted(VOID_TAGS)) + r")\b((?:\"[^\"]*\"|'[^']*'|[^\"'<>/]|/(?!>))*)/?>", re.IGNORECASE
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_START_TAG = re.compile(r"""<[a-zA-Z](?:"[^"]*"|'[^']*'|[^"'<>])*>""")
_VOID_END = re.compile(r"</(?:" + "|".join(sorted(VOID_TAGS)) + r")\s*>", re.IGNORECASE)
_AMPERSAND = re.compile(r"&(?!#\d{1,7};|#[xX][0-9a-fA-F]{1,6};|(?:amp|lt|gt|quot|apos);)(\w+;)?")
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_REFUSED = re.compile(r"<!DOCTYPE|<!ENTITY|<!\[CDATA\[|<\?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a template from compiling."""

    line: int | None
    message: str


class LayoutInvalid(ValueError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = tuple(problems)


def read(source: str, constants: Mapping[str, str], markers: Markers) -> etree._Element:
    """The tree of a template; raises `LayoutInvalid`, or `MergeTagInvalid` for a tag."""
    if len(source) > MAX_SOURCE_CHARS:
        raise LayoutInvalid([Problem(None, f"the template is longer than {MAX_SOURCE_CHARS:,} characters")])
    pieces = merge.split(source)
    merge.nest(pieces)
    return parse(markers.protect(settle(pieces, constants)))


def parse(source: str) -> etree._Element:
    """MJML as a tree without comments; HTML's void tags and named entities are understood."""
    source = _XML_DECLARATION.sub(_only_breaks, source)
    source = _COMMENT.sub(_only_breaks, source)
    if refused := _REFUSED.search(source):
        line = source.count("\n", 0, refused.start()) + 1
        raise LayoutInvalid([Problem(line, f"'{refused.group()}' may not stand in a template")])
    source = _VOID.sub(r"<\1\2/>", _VOID_END.sub("", source))
    source = _AMPERSAND.sub(_entity, source)
    source = _START_TAG.sub(_on_one_line, source)
    # Nothing is resolved or fetched; entities cannot even be declared, see above.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(source.encode(errors="replace"), parser)
    except etree.XMLSyntaxError as error:
        message = re.sub(r", line \d+, column \d+.*$", "", str(error.msg))
        raise LayoutInvalid([Problem(error.lineno or None, message)]) from None
    if _depth(root) > MAX_DEPTH:
        raise LayoutInvalid([Problem(None, f"elements nest deeper than {MAX_DEPTH}")])
    components = 0
    for element in root.iter():
        components += str(element.tag).startswith("mj-")
        if components > MAX_COMPONENTS:
            raise LayoutInvalid(
                [Problem(element.sourceline, f"more than {MAX_COMPONENTS:,} elements of MJML")]
            )
        if len(element.attrib) > MAX_ATTRIBUTES:
            raise LayoutInvalid([Problem(element.sourceline, f"more than {MAX_ATTRIBUTES} attributes")])
    return root


def _only_breaks(match: re.Match[str]) -> str:
    return "\n" * match.group().count("\n")


def _on_one_line(match: re.Match[str]) -> str:
    """A start tag whose line breaks follow it: libxml2 gives an element the line its tag ends on."""
    return match.group().replace("\n", " ") + _only_breaks(match)


def _entity(match: re.Match[str]) -> str:
    characters = html5.get(match[1] or "")
    if characters is None:
        return "&amp;" + (match[1] or "")
    return "".join(f"&#{ord(character)};" for character in characters)


def _depth(root: etree._Element) -> int:
    deepest, depth = 0, 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(deepest, depth)
    return deepest


@dataclass(slots=True)
class _Condition:
    """An open ``{% if %}`` while `settle` walks over it."""

    was_live: bool
    is_settled: bool = False
    """A case was chosen for good: later ones are dropped."""
    is_open: bool = False
    """A case waits for the recipient, so its tags are kept."""


def settle(pieces: Iterable[Piece], constants: Mapping[str, str]) -> Iterator[Piece]:
    """The pieces with ``constants`` filled in and the conditions that they decide resolved.

    What is dropped leaves its line breaks. The conditions must be balanced.
    """
    stack: list[_Condition] = []
    live = True
    for piece in pieces:
        if isinstance(piece, str):
            yield piece if live else "\n" * piece.count("\n")
            continue
        known = replace(piece, expression=expressions.replace(piece.expression, constants))
        kept: Tag | None = known
        if piece.kind == "output":
            is_early = set(expressions.names(piece.expression)) <= EARLY_NAMES
            if live and is_early and isinstance(known.expression, Const):
                yield html.escape(expressions.as_text(known.expression.value)) + _breaks(piece)
                continue
            kept = known if live else None
        elif piece.kind == "if":
            stack.append(_Condition(live))
            kept, live = _settle_case(stack[-1], known)
        elif piece.kind == "endif":
            condition = stack.pop()
            live = condition.was_live
            kept = known if condition.is_open and live else None
        else:
            kept, live = _settle_case(stack[-1], known)
        yield _breaks(piece) if kept is None else kept


def _settle_case(condition: _Condition, tag: Tag) -> tuple[Tag | None, bool]:
    """What stays of the tag that opens a case, and whether the case's text stays."""
    if not condition.was_live or condition.is_settled:
        return None, False
    is_known = tag.kind == "else" or isinstance(tag.expression, Const)
    if not is_known:
        kept = replace(tag, kind="elif") if condition.is_open else replace(tag, kind="if")
        condition.is_open = True
        return kept, True
    is_true = tag.kind == "else" or (
        isinstance(tag.expression, Const) and expressions.is_true(tag.expression.value)
    )
    if not is_true:
        return None, False
    condition.is_settled = True
    return (replace(tag, kind="else") if condition.is_open else None), True


def _breaks(tag: Tag) -> str:
    return "\n" * tag.source.count("\n")
