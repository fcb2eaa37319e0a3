"""From a draft to the compiled mail: once per mailing everything, per recipient only a join.

The order matters: known values are filled in, every other merge tag becomes an opaque
marker, then come sanitising, MJML, CSS inlining and the footer, and last the markers become
slots that know where they stand.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from lxml import etree

from newsletter.templates import document, expressions, layouts, lint, merge, mjml
from newsletter.templates.branding import COPY_NAMES, LAYOUT_NAMES, Branding, constants
from newsletter.templates.escaping import clean_copy, clean_line
from newsletter.templates.inlining import inline
from newsletter.templates.layouts import LayoutInvalid, settle
from newsletter.templates.markers import Markers
from newsletter.templates.merge import BUILT_IN_FIELDS, MergeTagInvalid, Piece, Tag
from newsletter.templates.sanitise import is_blank, sanitise
from newsletter.templates.slots import MergeTemplate

__all__ = [
    "Branding",
    "Compiled",
    "Content",
    "MergeTagInvalid",
    "Merged",
    "TemplateInvalid",
    "close_gaps",
    "compile_content",
]

Element: TypeAlias = etree._Element
Result = TypeVar("Result")

VERSION = 1
"""Of the JSON form; a mailing compiled by an older release stays readable."""


class TemplateInvalid(ValueError):
    """A template that does not compile; ``line`` counts from 1, None where it is not known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Content:
    """What a mail is made of."""

    subject: str
    preheader: str
    body: str
    """HTML; it is sanitised here, whether it was before or not."""
    layout: str
    """MJML with ``{{ content }}``."""
    branding: Branding
    fields: frozenset[str] = frozenset()
    """The project's custom fields, readable besides the built-in ones."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """The template's declared variables with their values, the same for every recipient."""
    has_footer: bool = True
    """False for mail that is no marketing, which needs no way to unsubscribe."""
    unfilled: frozenset[str] = frozenset()
    """Fields that no recipient of this mail has a value of. The copy may not read them. A template, which
    serves other mails too, may where it says what stands there instead."""

    @property
    def known(self) -> dict[str, str]:
        """What the copy may read that is the same for every recipient."""
        look = constants(self.branding)
        return {**self.defaults, **{name: look[name] for name in COPY_NAMES}}


@dataclass(frozen=True, slots=True)
class Merged:
    """One recipient's mail."""

    subject: str
    preheader: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A mail that waits for its recipients."""

    subject: MergeTemplate
    preheader: MergeTemplate
    html: MergeTemplate
    text: MergeTemplate

    def merge(self, values: Mapping[str, str]) -> Merged:
        """The mail for one recipient. Values are plain text; missing and blank ones count as
        missing; whatever they hold, they stay text or a part of their link."""
        text = close_gaps(self.text.merge(values))
        return Merged(self.subject.merge(values), self.preheader.merge(values), self.html.merge(values), text)

    @property
    def is_plain(self) -> bool:
        """Whether no part has conditions per recipient: then filling it only joins strings."""
        return all(part.is_plain for part in (self.subject, self.preheader, self.html, self.text))

    def to_json(self) -> dict[str, object]:
        return {
            "version": VERSION,
            "subject": self.subject.to_json(),
            "preheader": self.preheader.to_json(),
            "html": self.html.to_json(),
            "text": self.text.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "Compiled":
        """The opposite of `to_json`; raises ValueError for anything else."""
        if data.get("version") != VERSION:
            raise ValueError("not a compiled mail of this version")
        parts = (MergeTemplate.from_json(data.get(part)) for part in ("subject", "preheader", "html", "text"))
        return cls(*parts)


def close_gaps(text: str) -> str:
    """A value or condition that leaves nothing in the plain text leaves no gap either."""
    return re.sub(r"\n{3,}", "\n\n", text) if "\n\n\n" in text else text


def compile_content(content: Content) -> Compiled:
    """Compiles a mail; takes milliseconds, so once per mailing.

    Raises `TemplateInvalid` for the layout, `MergeTagInvalid` with its ``part`` for a tag.
    """
    look, known = constants(content.branding), content.known
    allowed = (BUILT_IN_FIELDS | content.fields) - content.unfilled
    markers = Markers()

    subject = _part("subject", lambda: merge.compile_line(content.subject, allowed, known))
    preheader = _part("preheader", lambda: merge.compile_line(content.preheader, allowed, known))
    body = _part("body", lambda: _read_body(content.body, allowed, known, markers))
    title = markers.protect(merge.split(clean_line(content.subject)))
    preview = markers.protect(merge.split(clean_line(content.preheader)))
    root = _read_layout(content, {**known, **look}, allowed, markers)
    frame = mjml.frame(root)
    try:
        mail = mjml.render(
            root, body=body, title=title, preheader=preview, branding=content.branding, markers=markers
        )
    except mjml.MJMLInvalid as error:
        raise TemplateInvalid(f"the template cannot be rendered: {error}") from error
    inline(mail)

    def finish() -> tuple[MergeTemplate, MergeTemplate]:
        document.add_head(mail, content.branding, frame)
        if content.has_footer:
            document.add_footer(mail, content.branding, frame, markers)
        document.place_markers(mail, markers)
        return (
            document.build_html(mail, markers, known),
            document.build_text(mail, content.branding if content.has_footer else None, markers, known),
        )

    try:
        html, text = _part("body", finish)
    except LayoutInvalid as error:
        raise TemplateInvalid(error.problems[0].message, error.problems[0].line) from None
    return Compiled(subject, preheader, html, text)


def _part(name: str, read: Callable[[], Result]) -> Result:
    """What ``read`` returns; its errors say which part of the content they speak of."""
    try:
        return read()
    except MergeTagInvalid as error:
        raise MergeTagInvalid(error.message, error.line, error.part or name) from None


def _read_body(source: str, allowed: frozenset[str], known: Mapping[str, str], markers: Markers) -> str:
    """The body as sanitised HTML with markers."""
    pieces = merge.split(clean_copy(source))
    merge.require_names(pieces, {*allowed, *known})
    merge.nest(pieces)
    body = sanitise(markers.protect(settle(pieces, known)), markers)
    kept = markers.bare_pieces(body)
    try:
        merge.require_no_stray(kept, line=None)
    except MergeTagInvalid:
        merge.require_no_stray(pieces)  # Raises too, with the line, unless entities hid the braces.
        raise
    _require_in_place(list(settle(pieces, known)), kept)
    if source and is_blank(body):
        raise MergeTagInvalid(
            "must not be empty: without what no mail may have, such as scripts, no text or picture is left"
        )
    return body


def _require_in_place(written: Sequence[Piece], kept: Sequence[Piece]) -> None:
    """Raises `MergeTagInvalid` for a condition whose content the HTML parser put elsewhere.

    Text between table rows is moved before the table; the rows would lose their condition.
    """
    for before, after in zip(_conditions(written), _conditions(kept), strict=False):
        tag, content = before
        if tag.kind != "endif" and content.strip() and not after[1].strip():
            raise MergeTagInvalid(
                f"what follows '{tag.source}' cannot be conditional there; conditions go around "
                "text and whole paragraphs, in a table into a cell",
                tag.line,
            )


def _conditions(pieces: Sequence[Piece]) -> list[tuple[Tag, str]]:
    """Each tag of a condition, with what stands between it and the next."""
    found: list[tuple[Tag, str]] = []
    for piece in pieces:
        if isinstance(piece, Tag) and piece.kind != "output":
            found.append((piece, ""))
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + (piece if isinstance(piece, str) else piece.source))
    return found


def _read_layout(
    content: Content, known: Mapping[str, str], allowed: frozenset[str], markers: Markers
) -> Element:
    """The layout's tree, linted."""
    known = {**dict.fromkeys(content.unfilled, ""), **known}
    try:
        pieces = merge.split(content.layout)
        merge.require_names(pieces, {*allowed, *known, *LAYOUT_NAMES, layouts.CONTENT})
        _require_filled(pieces, known, content.unfilled)
        root = layouts.read(content.layout, known, markers)
    except MergeTagInvalid as error:
        raise MergeTagInvalid(error.message, error.line, error.part or "template") from None
    except LayoutInvalid as error:
        raise TemplateInvalid(error.problems[0].message, error.problems[0].line) from None
    problem = next(lint.problems(root, markers), None)
    if problem is not None:
        raise TemplateInvalid(problem.message, problem.line)
    return root


def _require_filled(pieces: Sequence[Piece], known: Mapping[str, str], unfilled: frozenset[str]) -> None:
    """Raises `MergeTagInvalid` for a tag of the template that would leave nothing in its place."""
    if not unfilled:
        return
    merge.nest(pieces)
    read = {
        piece.source: set(expressions.names(piece.expression))
        for piece in pieces
        if isinstance(piece, Tag) and not expressions.says_default(piece.expression)
    }
    for piece in settle(pieces, known):
        if not isinstance(piece, Tag) or not isinstance(piece.expression, expressions.Const):
            continue
        missing = read.get(piece.source, set()) & unfilled
        if missing and piece.kind == "output" and not expressions.as_text(piece.expression.value).strip():
            name = min(missing)
            raise MergeTagInvalid(
                f"must hold '{name}', which the template shows in line {piece.line}; or have the template "
                f'say what else to show: {{{{ {name} | default: "…" }}}}',
                part="variables",
            )
