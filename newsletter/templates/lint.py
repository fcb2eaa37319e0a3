"""Checks a template's MJML, so that an author learns of an error with its line.

The MJML renderer itself validates nothing: unknown tags pass through it and unknown
attributes vanish. So structure, links, styles and the content slot are checked here.
"""

import re
from collections.abc import Collection, Iterator

from lxml import etree

from newsletter.templates import styles
from newsletter.templates.branding import EMPTY, FULL, LAYOUT_NAMES, constants
from newsletter.templates.layouts import CONTENT, LayoutInvalid, Problem, read
from newsletter.templates.markers import Markers
from newsletter.templates.merge import MergeTagInvalid, require_names, split
from newsletter.templates.sanitise import TAGS

_BLOCKS = frozenset(
    {"mj-text", "mj-button", "mj-image", "mj-divider", "mj-spacer", "mj-table", "mj-social"}
    | {"mj-navbar", "mj-accordion", "mj-carousel"}
)
CHILDREN: dict[str, frozenset[str]] = {
    "mjml": frozenset({"mj-head", "mj-body"}),
    "mj-head": frozenset({"mj-attributes", "mj-breakpoint", "mj-preview", "mj-style", "mj-title"}),
    "mj-body": frozenset({"mj-section", "mj-wrapper", "mj-hero", "mj-raw"}),
    "mj-wrapper": frozenset({"mj-section", "mj-hero"}),
    "mj-section": frozenset({"mj-column", "mj-group"}),
    "mj-group": frozenset({"mj-column"}),
    "mj-column": _BLOCKS,
    "mj-hero": _BLOCKS,
    "mj-social": frozenset({"mj-social-element"}),
    "mj-navbar": frozenset({"mj-navbar-link"}),
    "mj-accordion": frozenset({"mj-accordion-element"}),
    "mj-accordion-element": frozenset({"mj-accordion-title", "mj-accordion-text"}),
    "mj-carousel": frozenset({"mj-carousel-image"}),
}
"""What may stand directly in what."""
HTML_PARENTS = frozenset(
    {"mj-text", "mj-button", "mj-table", "mj-raw", "mj-social-element", "mj-navbar-link"}
    | {"mj-accordion-title", "mj-accordion-text"}
)
"""Elements that hold text and HTML."""
_TAGS = frozenset(CHILDREN).union(*CHILDREN.values()) | HTML_PARENTS | {"mj-all", "mj-class"}
_REFUSED = {
    "mj-include": "'mj-include' is not available; put the text itself here",
    "mj-font": "'mj-font' loads a file from another host; use fonts that readers have",
    "mj-html-attributes": "'mj-html-attributes' is not available",
}
_LINKS = frozenset({"href", "src", "background-url", "srcset", "thumbnails-src", "background"})
_WORDS = frozenset({"alt", "title", "name", "aria-label", "label"})
_LINK = re.compile(r"\s*(?:https?://|mailto:|tel:|#|$)", re.IGNORECASE)
MAX_PROBLEMS = 20


def check(
    source: str, fields: Collection[str] | None = None, variables: Collection[str] = ()
) -> list[Problem]:
    """What keeps ``source`` from compiling, by line; at most `MAX_PROBLEMS`.

    ``fields`` are the names its merge tags may read besides ``variables`` (its declared
    ones), a project's look and the content slot; None allows any name.
    """
    found: set[Problem] = set()
    # Conditions on look and variables cut parts out, so it is tried with all of them and with none.
    for look, sample in ((FULL, "Example"), (EMPTY, "")):
        markers = Markers()
        known = {**dict.fromkeys(variables, sample), **constants(look)}
        try:
            if fields is not None:
                require_names(split(source), {*fields, *variables, *LAYOUT_NAMES, CONTENT})
            found.update(problems(read(source, known, markers), markers))
        except MergeTagInvalid as error:
            found.add(Problem(error.line, error.message))
        except LayoutInvalid as error:
            found.update(error.problems)
    return sorted(found, key=lambda problem: (problem.line or 0, problem.message))[:MAX_PROBLEMS]


def problems(root: etree._Element, markers: Markers) -> Iterator[Problem]:
    """What is wrong with a tree that `newsletter.templates.layouts.read` made."""
    if root.tag != "mjml":
        yield Problem(root.sourceline, f"a template begins with <mjml>, not <{_name(root)}>")
        return
    bodies = root.findall("mj-body")
    if len(bodies) != 1:
        yield Problem(root.sourceline, f"a template has exactly one <mj-body>; there are {len(bodies)}")
    yield from _structure(root, markers)
    yield from _content_slot(root, markers)
    selectors = 0
    for element in root.iter():
        yield from _attributes(element, markers)
        if element.tag == "mj-style":
            yield from _style(element, markers)
            selectors += styles.selectors(element.text or "")
    if selectors > styles.MAX_SELECTORS:
        yield Problem(None, f"there are more than {styles.MAX_SELECTORS} selectors in <mj-style>")


def _structure(parent: etree._Element, markers: Markers) -> Iterator[Problem]:
    allowed = CHILDREN.get(_name(parent))
    if allowed is not None or parent.tag == "mj-attributes":
        yield from _loose_text(parent, markers)
    for child in parent:
        name = _name(child)
        if name in _REFUSED:
            yield Problem(child.sourceline, _REFUSED[name])
        elif name.startswith("mj-") or name == "mjml":
            if name not in _TAGS:
                yield Problem(child.sourceline, f"there is no element <{name[:40]}>")
            elif parent.tag == "mj-attributes":
                continue
            elif allowed is None or name not in allowed:
                yield Problem(child.sourceline, f"<{name}> cannot stand in <{_name(parent)}>{_hint(name)}")
            if name == "mj-social-element" and not child.get("src"):
                yield Problem(child.sourceline, f"<{name}> needs a src; icons of other hosts are not loaded")
            yield from _structure(child, markers)
        elif parent.tag in HTML_PARENTS:
            yield from _html(child)
        else:
            yield Problem(
                child.sourceline, f"<{name[:40]}> cannot stand in <{_name(parent)}>; use an <mj-text>"
            )


def _loose_text(parent: etree._Element, markers: Markers) -> Iterator[Problem]:
    """Text between elements that hold elements only."""
    texts = [(parent.sourceline, parent.text or "")]
    # Start tags end on the line they begin on, see `newsletter.templates.layouts`.
    texts += [
        (child.sourceline + "".join(child.itertext()).count("\n"), child.tail or "") for child in parent
    ]
    for line, text in texts:
        if loose := " ".join(text.split()):
            shown = "a merge tag" if markers.is_in(loose) else f"'{loose[:40]}'"
            at = line + text[: len(text) - len(text.lstrip())].count("\n")
            yield Problem(at, f"<{parent.tag}> cannot hold {shown}; use an <mj-text> inside it")


def _hint(name: str) -> str:
    homes = sorted(parent for parent, children in CHILDREN.items() if name in children)
    return f"; it belongs in <{'> or <'.join(homes)}>" if homes else ""


def _html(element: etree._Element) -> Iterator[Problem]:
    for inner in element.iter():
        name = _name(inner).lower()
        if name.startswith("mj"):
            yield Problem(inner.sourceline, f"<{name[:40]}> cannot stand inside HTML")
        elif name not in TAGS:
            yield Problem(inner.sourceline, f"<{name[:40]}> may not stand in a mail")


def _content_slot(root: etree._Element, markers: Markers) -> Iterator[Problem]:
    slots = 0
    for element in root.iter():
        texts = [element.text or "", *(child.tail or "" for child in element), *element.attrib.values()]
        here = sum(_reads_content(tag.expression) for text in texts for tag in markers.tags_in(str(text)))
        slots += here
        alone = len(element) == 0 and markers.is_only(element.text) is not None
        is_home = element.tag == "mj-text" or (
            element.tag == "mj-raw"
            and (parent := element.getparent()) is not None
            and parent.tag == "mj-body"
        )
        if here and not (is_home and alone):
            yield Problem(
                element.sourceline,
                "{{ content }} stands alone in an <mj-text>, or in an <mj-raw> directly in <mj-body>",
            )
    if slots != 1:
        yield Problem(root.sourceline, f"a template holds {{{{ content }}}} exactly once, not {slots} times")


def _reads_content(expression: object) -> bool:
    return getattr(expression, "name", None) == CONTENT


def _attributes(element: etree._Element, markers: Markers) -> Iterator[Problem]:
    line = element.sourceline
    for key, raw in element.attrib.items():
        name, value = str(key).lower(), str(raw)
        if name.startswith("on"):
            yield Problem(line, f"the event handler '{name[:40]}' may not stand in a mail")
        elif name in _LINKS:
            yield from _link(name, value, line, markers)
        elif name == "style" and _name(element) in TAGS:
            if markers.is_in(value):
                yield Problem(line, "a merge tag cannot stand in a style")
        elif name not in _WORDS and _name(element) not in TAGS:
            if markers.is_in(value):
                yield Problem(
                    line, f"a merge tag cannot stand in '{name[:40]}'; texts, links and alt take them"
                )
            elif re.search(r"[;{}<>\\]|url\(|expression\(", value, re.IGNORECASE):
                yield Problem(line, f"the value of '{name[:40]}' is not allowed")
            elif name == "position":
                yield Problem(line, "'position' is not available")
            elif name.startswith(("margin", "padding")) and styles.problem(name, value or "0"):
                yield Problem(line, f"the value of '{name[:40]}' is not allowed")


def _link(name: str, value: str, line: int | None, markers: Markers) -> Iterator[Problem]:
    is_background = name.startswith("background")
    if is_background and (markers.is_in(value) or re.search(r"[\s'\"()\\;{}<>]", value)):
        yield Problem(line, f"'{name}' takes one plain https link")
    elif not markers.is_link(value, _LINK):
        yield Problem(line, f"the link '{value[:60]}' must begin with https://, http://, mailto: or tel:")


def _style(element: etree._Element, markers: Markers) -> Iterator[Problem]:
    css = element.text or ""
    if len(element) or markers.is_in(css):
        yield Problem(element.sourceline, "<mj-style> takes CSS and the colours of the project, nothing else")
        return
    try:
        styles.scope(css)
    except styles.StyleInvalid as error:
        yield Problem((element.sourceline or 1) + error.line, error.message)


def _name(element: etree._Element) -> str:
    return str(element.tag)
