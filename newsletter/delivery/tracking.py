"""Rewrites the links of a mail's HTML and puts the open pixel into it.

It reads start tags as browsers do (HTML Living Standard §13.2.5), because single mails hold HTML that
is its author's own. So the same functions serve the compiled text, where stand-ins mark the slots, and
the merged one of a single recipient.
"""

import html
import re
from collections.abc import Callable
from html.entities import html5

from newsletter.delivery.links import Links, MessageRef

# ASCII: of all white space HTML has these few, and a no-break space is part of a value.
_FLAGS = re.IGNORECASE | re.ASCII
_LINKS = ("a", "area")
_RAW = ("iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp")
"""Elements whose text holds no tags but their own end (§13.2.5.2 to 5.4)."""
_NAMES = "|".join((*_LINKS, *_RAW))
# No group is repeated possessively: before Python 3.11.5 what its last, failed try had taken stayed taken
# (gh-106052 of CPython), and with Debian 12's many links were not tracked. An atomic group says the same.
# Nothing is tried twice, and a tag that never ends takes what is left of the text: however many tags a
# text begins, it is read once. 500,000 characters of nothing but ``<a `` would take minutes otherwise.
_ATTRIBUTES = (
    r"""(?>(?:[\s/]++|[^\s/>][^\s/>=]*+(?>(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+|(?=>)))?))*)"""
)
_PASSED_OVER = re.compile(
    rf"""
    (?>(?:
        [^<]++
      | <!--(?:-?>|(?s:.)*?(?:--!?>|\Z))
      | <[!?][^>]*+>?+
      | </(?:[a-z][^\s/>]*+{_ATTRIBUTES}>?+|[^a-z>][^>]*+>?+|>)
      | <(?!(?:{_NAMES})[\s/>])[a-z](?:
            [a-z0-9]*+(?>(?:\s++[a-z-]++="[^"]*+")*)/?+>  # As most are written: half of the time.
          | [^\s/>]*+{_ATTRIBUTES}>?+
        )
      | <(?![a-z!?/])
    ){{0,999}})
    """,
    _FLAGS | re.VERBOSE,
)
"""Up to the next tag that matters, in steps of which a thousand are held in memory at a time. What only looks
like a link is passed over with the rest: in a comment, in an attribute. One expression for all of it takes
half of the time of one match a tag (14 kB with 56 links: 0.4 ms, 0.8 ms)."""
_OPENING = re.compile(rf"<({_NAMES}){_ATTRIBUTES}(>)?", _FLAGS)
_ATTRIBUTE = re.compile(
    r"""([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"'][^\s>]*+)|(?=>)))?""", _FLAGS
)
_REFERENCE = re.compile(r"&(?:#x([0-9a-f]++);?+|#([0-9]++);?+|([a-z][a-z0-9]*+(?:;|(?![=\0]))))", _FLAGS)
_MAX_DIGITS = 7
"""Of a numeric reference without its leading zeros: the last character of Unicode is 1,114,111."""


def rewrite(document: str, replace: Callable[[str], str]) -> str:
    """The HTML with each link as ``replace`` returns it; both sides are as they stand in the
    source, with entities. The plain text of a mail keeps its links: there a reader sees the
    address itself, and a long signed one would say less and look like fraud."""

    pieces: list[str] = []
    done = place = 0
    while found := _next(document, place):
        place = found.end()
        name = found[1].lower()
        if found[2] is None:
            break  # It never ends, so no reader sees it.
        if name in _LINKS:
            pieces += document[done : found.start()], _replaced(found[0], name, replace)
            done = place
        else:
            closing = re.compile(rf"</{name}(?=[\s/>])", _FLAGS).search(document, place)
            place = closing.start() if closing else len(document)
    return "".join([*pieces, document[done:]])


def _next(document: str, place: int) -> re.Match[str] | None:
    while (passed := _PASSED_OVER.match(document, place)) and passed.end() > place:
        place = passed.end()
        if found := _OPENING.match(document, place):
            return found
    return _OPENING.match(document, place)


def _replaced(tag: str, name: str, replace: Callable[[str], str]) -> str:
    for attribute in _ATTRIBUTE.finditer(tag, 1 + len(name)):
        if attribute[1].lower() == "href":  # Of several the first counts.
            return _with_value(attribute, replace)
    return tag


def _with_value(attribute: re.Match[str], replace: Callable[[str], str]) -> str:
    """The tag with another value, between the quotes that it had, or between new ones."""
    tag, group = attribute.string, attribute.lastindex or 1
    value = attribute[group]
    if group == 1 or (replaced := replace(value)) == value:
        return tag
    start, end = attribute.span(group)
    return f'{tag[:start]}"{replaced}"{tag[end:]}' if group == 4 else tag[:start] + replaced + tag[end:]


def tracked(value: str, links: Links, ref: MessageRef) -> str:
    """One link for one recipient; ``value`` and the answer as they stand in the source."""
    url = address(value)
    return html.escape(links.tracked(ref, url)) if links.may_track(url) else value


def address(value: str) -> str:
    """The address that an attribute's source stands for.

    `html.unescape` is for text: to it ``?id=1&region=x`` has a registered sign. In an attribute a
    name without a semicolon stands for itself before a letter, a digit or ``=`` (§13.2.5.73), and
    before a stand-in, which may become one of these.
    """
    return (_REFERENCE.sub(_character, value) if "&" in value else value).strip()


def _character(reference: re.Match[str]) -> str:
    hexadecimal, decimal, name = reference.groups()
    if name is not None:
        return html5.get(name, reference.group())
    digits = (hexadecimal or decimal).lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        return "\ufffd"
    return html.unescape(f"&#{'' if hexadecimal is None else 'x'}{digits};")


def with_pixel(document: str, url: str) -> str:
    """The HTML with a picture of one pixel at its end, ``url`` as it stands in the source."""
    body, end, rest = document.rpartition("</body>")
    pixel = f'<img src="{url}" width="1" height="1" alt="" style="display:block;width:1px;height:1px">'
    return f"{body}{pixel}{end}{rest}" if end else document + pixel
