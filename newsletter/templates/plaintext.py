"""The plain-text part of a mail, written from its HTML: what a reader without HTML sees."""

import re
import textwrap
from collections.abc import Iterator

from lxml import etree

WIDTH = 78
"""RFC 5322 §2.1.1 asks for lines of at most 78 characters. A link is never broken."""

MARKS = 10
"""Quotes, lists and headings inside each other that are marked; what stands deeper has the marks around it.
Each mark writes every line below it anew: 300 kB of HTML, 240 quotes deep, became 36 MB in 25 seconds."""

_BLOCKS = frozenset(
    {"address", "article", "blockquote", "body", "caption", "center", "dd", "div", "dl", "dt", "figcaption"}
    | {"figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p"}
    | {"pre", "section", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"}
)
_SILENT = frozenset({"head", "style", "script", "title"})
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\u00a0]+")
_BREAK = "\u2028"
"""Stands for <br> until lines are wrapped."""


def write(element: etree._Element) -> str:
    """The text of ``element``: paragraphs with an empty line between them, lines wrapped.

    Links follow their text in parentheses, lists have marks, tables of data are rows with
    ``|`` between the cells, pictures are their alt text.
    """
    return "\n\n".join(block for block in _blocks(element, WIDTH, MARKS) if block.strip())


def _blocks(element: etree._Element, width: int, marks: int) -> Iterator[str]:
    """The blocks inside ``element``; text between them is a block of its own. ``marks`` are those left."""
    run = _collapse(element.text)
    for child in element:
        if not isinstance(child.tag, str) or child.tag in _SILENT or _HIDDEN.search(child.get("style", "")):
            pass
        elif child.tag in _BLOCKS or _holds_block(child):
            yield from _wrapped(run, width)
            run = ""
            yield from _block(child, width, marks)
        else:
            run += _inline(child)
        run += _collapse(child.tail)
    yield from _wrapped(run, width)


def _block(element: etree._Element, width: int, marks: int) -> Iterator[str]:
    match element.tag:
        case "h1" | "h2" if marks:
            for block in _blocks(element, width, marks - 1):
                longest = min(max(len(line) for line in block.split("\n")), 30)
                yield f"{block}\n{('=' if element.tag == 'h1' else '-') * longest}"
        case "hr":
            yield "-" * min(width, 30)
        case "ul" | "ol" | "dl" if marks:
            yield _list(element, width, marks - 1)
        case "blockquote" if marks:
            quoted = "\n\n".join(_blocks(element, max(width - 2, 20), marks - 1))
            yield textwrap.indent(quoted, "> ", lambda line: True)
        case "pre":
            yield "".join(element.itertext()).strip("\n")
        case "table" if element.get("role") != "presentation" and _is_data(element):
            yield _table(element)
        case _:
            yield from _blocks(element, width, marks)


def _list(element: etree._Element, width: int, marks: int) -> str:
    start = element.get("start", "1")
    number = int(start) if start.isdecimal() and len(start) < 6 else 1
    items = []
    for item in element:
        if not isinstance(item.tag, str):
            continue
        mark = {"ol": f"{number}. ", "ul": "- "}.get(str(element.tag), "" if item.tag == "dt" else "  ")
        number += 1
        # A nested list follows its item's text without an empty line.
        text = "\n".join(_blocks(item, max(width - len(mark), 20), marks))
        items.append(mark + textwrap.indent(text, " " * len(mark))[len(mark) :])
    return "\n".join(items)


def _is_data(table: etree._Element) -> bool:
    return table.find(".//table") is None and any(len(row) > 1 for row in table.iter("tr"))


def _table(table: etree._Element) -> str:
    rows = []
    for row in table.iter("tr"):
        cells = [" ".join("\n".join(_blocks(cell, 10_000, MARKS)).split()) for cell in row]
        rows.append(" | ".join(cells))
    return "\n".join(row for row in rows if row.strip(" |"))


def _holds_block(element: etree._Element) -> bool:
    return any(isinstance(inner.tag, str) and inner.tag in _BLOCKS for inner in element.iterdescendants())


def _inline(element: etree._Element) -> str:
    if element.tag == "br":
        return _BREAK
    if element.tag == "img":
        return " ".join(element.get("alt", "").split())
    text = _collapse(element.text)
    for child in element:
        if isinstance(child.tag, str) and child.tag not in _SILENT:
            text += _inline(child)
        text += _collapse(child.tail)
    href = element.get("href", "").strip()
    if element.tag != "a" or not href or href.startswith("#"):
        return text
    words = text.strip()
    if not words or words in (href, href.removeprefix("mailto:"), href.removeprefix("tel:")):
        return text if words else _unbroken(href)
    return f"{text.rstrip()} ({_unbroken(href)})"


def _unbroken(href: str) -> str:
    """As a browser takes it: in a text an address would end at its first space."""
    return re.sub("[\t\r\n]", "", href).replace(" ", "%20")


def _collapse(text: str | None) -> str:
    return _SPACE.sub(" ", text) if text else ""


def _wrapped(text: str, width: int) -> Iterator[str]:
    lines = []
    for line in text.split(_BREAK):
        stripped = " ".join(line.split())
        if len(stripped) > width:  # textwrap took most of the time of a mail of short paragraphs.
            stripped = textwrap.fill(stripped, width, break_long_words=False, break_on_hyphens=False)
        lines.append(stripped)
    block = "\n".join(lines).strip("\n")
    if block.strip():
        yield block
