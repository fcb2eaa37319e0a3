"""The rendered document on its way to a compiled text: footer, markers, the last checks."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import lxml.html
from lxml import etree

from newsletter.kit.address import with_ascii_host
from newsletter.templates import footer, merge, mjml, plaintext, styles
from newsletter.templates.branding import Branding
from newsletter.templates.escaping import Place
from newsletter.templates.expressions import Name
from newsletter.templates.layouts import VOID_TAGS, LayoutInvalid, Problem
from newsletter.templates.markers import Markers
from newsletter.templates.merge import MergeTagInvalid, Tag
from newsletter.templates.slots import Branch, MergeTemplate, Node

Element: TypeAlias = etree._Element

_LINK_ATTRIBUTES = frozenset({"href", "src", "background", "action"})
SAFE_LINK = re.compile(r"\s*(?:https?:|mailto:|tel:|#|$)", re.IGNORECASE)
_UNSAFE_TAGS = frozenset(
    {
        "script",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "link",
        "frame",
        "frameset",
        "applet",
        "svg",
        "math",
    }
)
_STYLE_SHEET = re.compile(r"<style\b[^>]*>.*?</style>", re.DOTALL | re.IGNORECASE)
_ELEMENT_TAG = re.compile(r"""<(/?)([a-zA-Z][\w:-]*)(?:"[^"]*"|'[^']*'|[^"'>])*>|<!--.*?-->""", re.DOTALL)


def add_head(document: Element, branding: Branding, frame: mjml.Frame) -> None:
    head = document.find("head")
    if head is None or document.find("body") is None:
        raise LayoutInvalid([Problem(None, "the template has no body")])
    head.insert(0, etree.Element("meta", {"charset": "utf-8"}))
    if frame.is_dark_aware:
        for name in ("color-scheme", "supported-color-schemes"):
            etree.SubElement(head, "meta", {"name": name, "content": "light dark"})
        style = etree.SubElement(head, "style", {"type": "text/css"})
        style.text = footer.dark_styles(branding)


def add_footer(document: Element, branding: Branding, frame: mjml.Frame, markers: Markers) -> None:
    unsubscribe, view = (markers.put(link_tag(name)) for name in ("unsubscribe_url", "view_in_browser_url"))
    table = footer.as_html(
        branding, unsubscribe=unsubscribe, view=view, width=frame.width, ground=frame.background
    )
    document.find("body").append(lxml.html.fragment_fromstring(table))


def link_tag(name: str) -> Tag:
    return Tag("output", Name(name), f"{{{{{name}}}}}", 1)


def place_markers(document: Element, markers: Markers) -> None:
    """Notes at each marker where it stands, and gives pictures without alt an empty one.

    The last line of defence stands here too: nothing that runs leaves this function.
    """
    for element in document.iter():
        if not isinstance(element.tag, str):
            element.text = markers.remove(element.text or "")  # Outlook's conditional comments.
        elif element.tag in _UNSAFE_TAGS:
            raise LayoutInvalid([Problem(None, f"<{element.tag}> may not stand in a mail")])
        else:
            element.text = markers.place(element.text or "", Place.HTML)
            _place_in_attributes(element, markers)
            if element.tag == "img" and element.get("alt") is None:
                element.set("alt", "")
        if element.tail:
            element.tail = markers.place(element.tail, Place.HTML)


def _place_in_attributes(element: Element, markers: Markers) -> None:
    for key, raw in element.attrib.items():
        name, value = str(key), str(raw)
        if name.lower().startswith("on"):
            raise LayoutInvalid([Problem(None, f"the event handler '{name}' may not stand in a mail")])
        if name in _LINK_ATTRIBUTES and not markers.is_link(value, SAFE_LINK):
            raise LayoutInvalid([Problem(None, f"the link '{value[:60]}' may not stand in a mail")])
        tags = markers.tags_in(value)
        if not tags:
            continue
        merge.nest(tags)
        if name == "style":
            raise MergeTagInvalid(f"'{tags[0].source}' cannot stand in a style", tags[0].line)
        placed = (
            markers.place_in_link(value) if name in _LINK_ATTRIBUTES else markers.place(value, Place.HTML)
        )
        element.set(name, placed)


def build_html(document: Element, markers: Markers, known: Mapping[str, str]) -> MergeTemplate:
    for element in document.iter("a", "area"):
        # What writes the document percent-encodes whatever is not ASCII, the host included.
        if (link := element.get("href")) is not None:
            element.set("href", with_ascii_host(str(link)))
    html = lxml.html.tostring(document, encoding="unicode", doctype="<!doctype html>")
    pieces = markers.pieces(html)
    merge.require_no_stray(
        [_STYLE_SHEET.sub("", piece) if isinstance(piece, str) else piece for piece in pieces], line=None
    )
    template = merge.build(pieces, known)
    _require_balanced(template.nodes)
    return template


def build_text(
    document: Element, branding: Branding | None, markers: Markers, known: Mapping[str, str]
) -> MergeTemplate:
    """Without ``branding``, without a footer."""
    layout = document.xpath(f"//*[contains(concat(' ', @class, ' '), ' {styles.SCOPE} ')]")
    text = "\n\n".join(plaintext.write(element) for element in layout)
    if branding is not None:
        links = (markers.put(link_tag(name)) for name in ("unsubscribe_url", "view_in_browser_url"))
        unsubscribe, view = (markers.place(link, Place.URL) for link in links)
        text += "\n\n" + footer.as_text(branding, unsubscribe=unsubscribe, view=view)
    text += "\n"
    pieces = markers.pieces(text, as_plain=True)
    merge.require_no_stray(pieces, line=None)
    return merge.build(pieces, known)


def _require_balanced(nodes: Sequence[Node]) -> None:
    """Raises `MergeTagInvalid` where a condition would open an element without closing it."""
    for node in nodes:
        if not isinstance(node, Branch):
            continue
        for _, inner in node.cases:
            _require_balanced(inner)
            static = "".join(
                part if isinstance(part, str) else "" for part in inner if not isinstance(part, Branch)
            )
            opened: list[str] = []
            for tag in _ELEMENT_TAG.finditer(static):
                if not tag[2] or tag[2] in VOID_TAGS:
                    continue
                if not tag[1]:
                    opened.append(tag[2])
                elif not opened or opened.pop() != tag[2]:
                    opened.append(tag[2])
                    break
            if opened or "<" in _ELEMENT_TAG.sub("", static):
                raise MergeTagInvalid(
                    "a condition begins inside one element and ends in another; "
                    "put {% if %} and {% endif %} around whole paragraphs or inside one"
                )
