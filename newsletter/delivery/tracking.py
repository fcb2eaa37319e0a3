"""Rewrites the links of a mail's HTML and puts the open pixel into it.

It works on HTML that `newsletter.templates` wrote: quotes around each attribute, values
escaped. So the same functions serve the compiled text, where stand-ins mark the slots, and
the merged one of a single recipient.
"""

import html
import re
from collections.abc import Callable

from newsletter.delivery.links import Links, MessageRef

_ANCHOR = re.compile(r"""<(?:a|area)\b(?:"[^"]*"|'[^']*'|[^"'>])*>""", re.IGNORECASE)
_HREF = re.compile(r"""(\shref=)(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)


def rewrite(document: str, replace: Callable[[str], str]) -> str:
    """The HTML with each link as ``replace`` returns it; both sides are as they stand in the
    source, with entities. The plain text of a mail keeps its links: there a reader sees the
    address itself, and a long signed one would say less and look like fraud."""

    def anchor(match: re.Match[str]) -> str:
        return _HREF.sub(href, match.group(), count=1)

    def href(match: re.Match[str]) -> str:
        value = match[2] if match[2] is not None else match[3]
        replaced = replace(value)
        return match.group() if replaced == value else f'{match[1]}"{replaced}"'

    return _ANCHOR.sub(anchor, document)


def tracked(value: str, links: Links, ref: MessageRef) -> str:
    """One link for one recipient; ``value`` and the answer as they stand in the source."""
    url = address(value)
    return html.escape(links.tracked(ref, url)) if links.may_track(url) else value


def address(value: str) -> str:
    """The address that an attribute's source stands for."""
    return html.unescape(value).strip()


def with_pixel(document: str, url: str) -> str:
    """The HTML with a picture of one pixel at its end, ``url`` as it stands in the source."""
    body, end, rest = document.rpartition("</body>")
    pixel = f'<img src="{url}" width="1" height="1" alt="" style="display:block;width:1px;height:1px">'
    return f"{body}{pixel}{end}{rest}" if end else document + pixel
