"""From a template's tree and a body to an HTML document, by way of mrml.

mrml writes attribute values with Rust's debug escapes: a line break becomes a literal
``\\n``, an emoji joiner ``\\u{200d}``, a backslash is doubled. It leaves character
references alone, so everything that is not ASCII reaches it as one.
"""

import html as html_module
import re
from collections.abc import Iterable
from dataclasses import dataclass

import lxml.html
from lxml import etree
from mjml import mjml2html

from newsletter.templates import layouts, styles
from newsletter.templates.branding import Branding
from newsletter.templates.layouts import VOID_TAGS
from newsletter.templates.lint import HTML_PARENTS
from newsletter.templates.markers import Markers
from newsletter.templates.sanitise import sanitise

MAX_PADDED_PREHEADER = 90
"""A preheader shorter than this is followed by invisible space, so that the inbox does not
show the beginning of the mail's header behind it."""
DEFAULT_WIDTH = 600
_WHITESPACE = re.compile(r"[ \t\r\n\f]+")


class MJMLInvalid(ValueError):
    """mrml refused the document."""


def render(
    root: etree._Element, *, body: str, title: str, preheader: str, branding: Branding, markers: Markers
) -> lxml.html.HtmlElement:
    """The HTML document of a linted tree. ``body`` is sanitised HTML; texts hold markers."""
    css = _take_styles(root)
    for element in root.iter(*HTML_PARENTS):
        _fill(element, body, markers)
    _set_head(root, title, preheader, markers)
    _set_direction(root, branding)
    mj_body = root.find("mj-body")
    if mj_body is not None:
        mj_body.set("css-class", f"{styles.SCOPE} {mj_body.get('css-class', '')}".strip())
    try:
        rendered = mjml2html(_serialise(root, markers), fonts={})
    except ValueError as error:
        raise MJMLInvalid(str(error)) from error
    document = lxml.html.document_fromstring(rendered)
    if css:
        head = document.find("head")
        style = etree.SubElement(document if head is None else head, "style", type="text/css")
        style.text = css
    return document


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a template's content has to match it in these."""

    width: int
    """Pixels."""
    background: str | None
    is_dark_aware: bool
    """Whether the template has a design of its own for dark mode."""


def frame(root: etree._Element) -> Frame:
    body = root.find("mj-body")
    attributes = {} if body is None else dict(body.attrib)
    digits = str(attributes.get("width", "")).removesuffix("px")
    known = digits.isdecimal() and len(digits) < 5
    dark = any("prefers-color-scheme" in (style.text or "") for style in root.iter("mj-style"))
    return Frame(
        width=min(max(int(digits), 320), 1_000) if known else DEFAULT_WIDTH,
        background=str(attributes["background-color"]) if "background-color" in attributes else None,
        is_dark_aware=dark,
    )


def _take_styles(root: etree._Element) -> str:
    """The scoped style sheets; mrml would write their ``>`` as an entity."""
    sheets = []
    for element in list(root.iter("mj-style")):
        sheets.append(styles.scope(element.text or ""))
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)
    return "\n".join(sheets)


def _fill(element: etree._Element, body: str, markers: Markers) -> None:
    """Sanitises the HTML inside an MJML element, or puts the body into its content slot."""
    slot = markers.is_only(element.text)
    if len(element) == 0 and slot is not None and getattr(slot.expression, "name", "") == layouts.CONTENT:
        _replace_content(element, _fragments(body))
        _make_buttons(element)
        return
    inner = html_module.escape(element.text or "", quote=False)
    inner += "".join(lxml.html.tostring(child, encoding="unicode") for child in element)
    if element.tag == "mj-table":
        # An HTML parser keeps rows only inside a table.
        table = lxml.html.fragment_fromstring(
            sanitise(f"<table>{inner}</table>", markers, allow_classes=True), create_parent=True
        )[0]
        _replace_content(element, [table.text or "", *table])
    else:
        _replace_content(element, _fragments(sanitise(inner, markers, allow_classes=True)))


def _fragments(fragment: str) -> list[str | etree._Element]:
    holder = lxml.html.fragment_fromstring(fragment, create_parent="div")
    return [holder.text or "", *holder]


def _replace_content(element: etree._Element, parts: Iterable[str | etree._Element]) -> None:
    for child in list(element):
        element.remove(child)
    element.text = ""
    for part in parts:
        if isinstance(part, str):
            element.text += part
        else:
            element.append(part)


def _make_buttons(content: etree._Element) -> None:
    """A link that stands alone in its paragraph becomes a button, which templates may style.

    A one-cell table, because Outlook on Windows draws no padding around a link.
    """
    for paragraph in list(content.iter("p")):
        link = paragraph[0] if len(paragraph) == 1 else None
        if link is None or link.tag != "a" or not link.get("href"):
            continue
        words = "".join(link.itertext()).strip()
        around = (paragraph.text or "") + (link.tail or "")
        if around.strip() or not words or link.find(".//img") is not None:
            continue
        table = etree.Element("table", {"class": "button-row", "role": "presentation"})
        for name, value in (("border", "0"), ("cellpadding", "0"), ("cellspacing", "0")):
            table.set(name, value)
        row = etree.SubElement(etree.SubElement(table, "tbody"), "tr")
        cell = etree.SubElement(row, "td", {"class": "button-cell"})
        link.tail = None
        link.set("class", "button")
        cell.append(link)
        table.tail = paragraph.tail
        parent = paragraph.getparent()
        if parent is not None:
            parent.replace(paragraph, table)


def _set_head(root: etree._Element, title: str, preheader: str, markers: Markers) -> None:
    head = root.find("mj-head")
    if head is None:
        head = etree.Element("mj-head")
        root.insert(0, head)
    for name in ("mj-title", "mj-preview"):
        for old in head.findall(name):
            head.remove(old)
    # mrml writes the title into an attribute, too, where its quotes have to be references.
    etree.SubElement(head, "mj-title").text = _as_references(title, markers)
    if preheader:
        padding = "\u00a0\u200c" * max(0, MAX_PADDED_PREHEADER - len(markers.remove(preheader)))
        etree.SubElement(head, "mj-preview").text = preheader + padding


def _set_direction(root: etree._Element, branding: Branding) -> None:
    root.set("lang", branding.tag)
    root.set("dir", branding.direction)
    if branding.direction == "rtl":
        for element in root.iter("mj-section", "mj-column", "mj-group", "mj-wrapper"):
            if element.get("direction") is None:
                element.set("direction", "rtl")
        for element in root.iter("mj-text", "mj-image", "mj-button"):
            is_left = element.get("align") == "left"
            if is_left or (element.tag == "mj-text" and element.get("align") is None):
                element.set("align", "right")


def _as_references(text: str, markers: Markers) -> str:
    """What `_serialise` writes as references; the names stand for characters until then."""
    return text.replace("\\", f"{markers.prefix}backslash").replace('"', f"{markers.prefix}quote")


def _serialise(root: etree._Element, markers: Markers) -> str:
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, _as_references(_WHITESPACE.sub(" ", str(value)).strip(), markers))
        name = str(element.tag)
        if element.text is None and len(element) == 0 and name not in VOID_TAGS and "mj" not in name:
            element.text = ""  # <p></p>, because a browser takes <p/> for an open paragraph.
    source: bytes = etree.tostring(root, encoding="ascii")
    text = source.decode("ascii").replace(f"{markers.prefix}backslash", "&#92;")
    return text.replace(f"{markers.prefix}quote", "&quot;")
