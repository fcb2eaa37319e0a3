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
# Nothing is tried twice, and a tag that never ends takes what is left of the text: however many tags a
# text begins, it is read once. 500,000 characters of nothing but ``<a `` would take minutes otherwise.
_ANCHOR = re.compile(
    r"""(<(a|area)(?=[\s/])"""
    r"""(?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+|(?=>)))?+)*+(>)?+)""",
    _FLAGS,
)
_ATTRIBUTE = re.compile(
    r"""([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"'][^\s>]*+)|(?=>)))?+""", _FLAGS
)
_REFERENCE = re.compile(r"&(?:#x([0-9a-f]++);?+|#([0-9]++);?+|([a-z][a-z0-9]*+(?:;|(?![=\0]))))", _FLAGS)
_MAX_DIGITS = 7
"""Of a numeric reference without its leading zeros: the last character of Unicode is 1,114,111."""


def rewrite(document: str, replace: Callable[[str], str]) -> str:
    """The HTML with each link as ``replace`` returns it; both sides are as they stand in the
    source, with entities. The plain text of a mail keeps its links: there a reader sees the
    address itself, and a long signed one would say less and look like fraud."""

    def anchor(match: re.Match[str]) -> str:
        tag, name, end = match.groups()
        if end is None:
            return tag  # It never ends, so no reader sees it.
        for attribute in _ATTRIBUTE.finditer(tag, 1 + len(name)):
            if attribute[1].lower() == "href":  # Of several the first counts.
                return _with_value(attribute, replace)
        return tag

    return _ANCHOR.sub(anchor, document)


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
