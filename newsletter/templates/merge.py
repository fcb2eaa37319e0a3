"""Merge tags: ``{{ first_name | default: "there" }}`` and ``{% if … %}…{% endif %}``.

A text is read once into static pieces and slots, and filled per recipient by joining
strings. The braces of a tag never reach a reader: what is no valid tag is an error for a
person (`check`) and is removed for a language model (`strip_unknown`).
"""

import contextlib
import html
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from newsletter.templates import expressions
from newsletter.templates.escaping import Place, clean_line
from newsletter.templates.expressions import Const, Expression, ExpressionInvalid
from newsletter.templates.slots import Branch, MergeTemplate, Node, Slot, compact, fold

BUILT_IN_FIELDS = frozenset({"first_name", "last_name", "email", "unsubscribe_url", "view_in_browser_url"})
"""The sender makes the links; the rest is read from the subscriber."""
MAX_TAGS = 2_000
"""Tags in one text."""
MAX_IF_DEPTH = 10
MAX_TEXT_CHARS = 1_000_000


class MergeTagInvalid(ValueError):
    """A tag that cannot be used; the message says which and what to write instead."""

    def __init__(self, message: str, line: int | None = None, part: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        """In the text that holds the tag, from 1."""
        self.part = part
        """Where it is known: ``subject``, ``preheader``, ``body``, ``text``, ``template``, ``variables``."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag as it stands in a text."""

    kind: Literal["output", "if", "elif", "else", "endif"]
    expression: Expression
    source: str
    line: int
    place: Place = Place.PLAIN


Piece = str | Tag

_BODY = r"""(?:"[^"{}]*"|'[^'{}]*'|[^"'{}])*?"""
_TAG = re.compile(
    r"\{\{-?(?P<output>" + _BODY + r")-?\}\}"
    r"|\{%-?\s*(?P<word>if|elif|elsif|else|endif)\b(?P<test>" + _BODY + r")-?%\}"
)
_STRAY = re.compile(r"\{[{%#]|[%}#]\}")
_ANY_TAG = re.compile(r"\{\{[^{}]*\}\}|\{%[^{}]*%\}|\{#[^{}]*#\}")
_ENCODED_TAG = re.compile(r"%7B%7B((?:(?!%7B|%7D)[\w%.+|:'-])*)%7D%7D", re.IGNORECASE)


def split(text: str) -> list[Piece]:
    """The text as static pieces and tags, in order; raises `MergeTagInvalid`.

    Tags that an HTML editor has written with entities, or percent-encoded in a link, are
    understood too.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise MergeTagInvalid(f"the text is longer than {MAX_TEXT_CHARS:,} characters")
    text = decode_links(text)
    pieces: list[Piece] = []
    end, line = 0, 1
    for match in _TAG.finditer(text):
        static = text[end : match.start()]
        line += static.count("\n")
        pieces += [static, _tag(match, line)]
        line += match.group().count("\n")
        end = match.end()
        if len(pieces) > 2 * MAX_TAGS:
            raise MergeTagInvalid(f"there are more than {MAX_TAGS:,} tags", line)
    return [*pieces, text[end:]]


def decode_links(text: str) -> str:
    """Tags that an editor has percent-encoded inside a link, as tags again."""
    return _ENCODED_TAG.sub(lambda match: "{{" + re.sub("%20", " ", match[1]) + "}}", text)


def _tag(match: re.Match[str], line: int) -> Tag:
    word = match["word"]
    content = match["output"] if word is None else match["test"]
    try:
        content = " ".join(html.unescape(content).split())
    except ValueError:  # Thousands of digits, which Python makes no number of.
        raise MergeTagInvalid(
            f"{_shown(match.group())}: '&#' needs the number of a character", line
        ) from None
    kind: Literal["output", "if", "elif", "else", "endif"]
    match word:
        case None:
            kind = "output"
        case "if" | "else" | "endif":
            kind = word
        case _:
            kind = "elif"
    source = match.group()
    if kind in ("else", "endif"):
        if content:
            raise MergeTagInvalid(f"{_shown(source)}: '{kind}' takes nothing after it", line)
        return Tag(kind, Const(""), source, line)
    try:
        return Tag(kind, expressions.parse(content), source, line)
    except ExpressionInvalid as error:
        raise MergeTagInvalid(f"{_shown(source)}: {error}", line) from None


def _shown(source: str) -> str:
    return f"'{' '.join(source.split())[:80]}'"


def require_names(pieces: Iterable[Piece], allowed: Collection[str]) -> None:
    """Raises `MergeTagInvalid` for the first tag that reads a name outside ``allowed``."""
    for piece in pieces:
        if isinstance(piece, Tag):
            for name in expressions.names(piece.expression):
                if name not in allowed:
                    message = expressions.unknown_name(name, allowed)
                    raise MergeTagInvalid(f"{_shown(piece.source)}: {message}", piece.line)


def require_no_stray(pieces: Sequence[Piece], *, line: int | None = 1) -> None:
    """Raises `MergeTagInvalid` where braces of a broken tag would stay in the text.

    A brace that touches a tag counts: it could become a tag beside an empty value.
    """
    for index, piece in enumerate(pieces):
        if isinstance(piece, Tag):
            line = piece.line + piece.source.count("\n")
            continue
        stray = _STRAY.search(piece)
        before_tag = piece.endswith("{") and index + 1 < len(pieces)
        if stray is not None or before_tag:
            position = stray.start() if stray else len(piece) - 1
            at = None if line is None else line + piece.count("\n", 0, position)
            rest = " ".join(piece[position : position + 40].split())
            raise MergeTagInvalid(
                f"'{rest}' is no merge tag; write a field as {{{{ first_name }}}}, "
                "a condition as {% if first_name %}…{% endif %}",
                at,
            )


def nest(pieces: Iterable[Piece]) -> tuple[Node, ...]:
    """Static text, slots and branches; raises `MergeTagInvalid` for unbalanced conditions."""
    root: list[Node] = []
    stack: list[tuple[Tag, list[tuple[Expression | None, list[Node]]]]] = []

    def current() -> list[Node]:
        return stack[-1][1][-1][1] if stack else root

    for piece in pieces:
        if isinstance(piece, str):
            if piece:
                current().append(piece)
            continue
        if piece.kind == "output":
            current().append(Slot(piece.expression, piece.place))
        elif piece.kind == "if":
            if len(stack) == MAX_IF_DEPTH:
                raise MergeTagInvalid(f"conditions nest deeper than {MAX_IF_DEPTH}", piece.line)
            stack.append((piece, [(piece.expression, [])]))
        elif not stack:
            raise MergeTagInvalid(f"{_shown(piece.source)} has no {{% if %}} before it", piece.line)
        elif piece.kind == "endif":
            _, cases = stack.pop()
            closed = tuple((test, tuple(nodes)) for test, nodes in cases)
            current().append(Branch(closed))
        else:
            cases = stack[-1][1]
            if cases[-1][0] is None:
                raise MergeTagInvalid(f"{_shown(piece.source)} stands after {{% else %}}", piece.line)
            cases.append((piece.expression if piece.kind == "elif" else None, []))
    if stack:
        opened = stack[-1][0]
        raise MergeTagInvalid(f"{_shown(opened.source)} is never closed with {{% endif %}}", opened.line)
    return tuple(root)


def build(pieces: Iterable[Piece], constants: Mapping[str, str]) -> MergeTemplate:
    """The compiled form, with ``constants`` filled in; raises `MergeTagInvalid` for unbalanced conditions."""
    return MergeTemplate(compact(fold(nest(pieces), constants)))


def check(text: str, allowed: Collection[str]) -> None:
    """Raises `MergeTagInvalid` unless every tag in ``text`` can be filled from ``allowed``."""
    pieces = split(text)
    require_names(pieces, allowed)
    require_no_stray(pieces)
    nest(pieces)


def strip_unknown(text: str, allowed: Collection[str]) -> tuple[str, list[str]]:
    """``text`` without tags that are broken or unknown, and what was removed.

    What is left passes `check`. For text that a model wrote; a person gets the error instead.
    """
    removed: list[str] = []

    def keep_valid(match: re.Match[str]) -> str:
        try:
            check_alone(match.group(), allowed)
        except MergeTagInvalid:
            removed.append(match.group()[:200])
            return ""
        return match.group()

    text = _ANY_TAG.sub(keep_valid, decode_links(text[:MAX_TEXT_CHARS]))
    with contextlib.suppress(MergeTagInvalid):
        check(text, allowed)
        return text, removed
    # Conditions that do not close, or loose braces: keep the plain fields, drop the rest.
    kept: list[str] = []
    end = 0
    for match in _TAG.finditer(text):
        kept.append(_STRAY.sub("", text[end : match.start()]).strip("{}"))
        if match["output"] is not None:
            kept.append(match.group())
        else:
            removed.append(match.group()[:200])
        end = match.end()
    kept.append(_STRAY.sub("", text[end:]).strip("{}"))
    stripped = "".join(kept)
    try:
        check(stripped, allowed)
    except MergeTagInvalid:
        stripped = re.sub("[{}]", "", _ANY_TAG.sub("", text))
    return stripped, removed


def check_alone(tag: str, allowed: Collection[str]) -> None:
    """Raises `MergeTagInvalid` unless ``tag`` is one valid tag; conditions need not close."""
    pieces = split(tag)
    require_names(pieces, allowed)
    require_no_stray(pieces)


def compile_line(text: str, allowed: Collection[str], constants: Mapping[str, str]) -> MergeTemplate:
    """A subject or preheader: one line of plain text; raises `MergeTagInvalid`."""
    pieces = split(text)
    require_names(pieces, {*allowed, *constants})
    require_no_stray(pieces)
    lines = [_single_line(piece) if isinstance(piece, str) else piece for piece in pieces]
    return build(lines, constants)


def _single_line(text: str) -> str:
    cleaned = clean_line(text)
    # Spaces at the ends stand between words and tags.
    return (" " if text[:1].isspace() else "") + cleaned + (" " if cleaned and text[-1:].isspace() else "")
