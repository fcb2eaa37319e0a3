"""How much HTML there is, counted before a parser pays for it; refuses tags whose attributes have no end.

Both of our parsers compare each attribute of a tag with all others of it: one tag of 50,000, in half a
megabyte, took either of them five seconds of a processor. So they are counted before, as HTML5 reads them.
"""

import re
from typing import Final

from newsletter.settings import LimitSettings
from newsletter.templates.merge import MergeTagInvalid

MAX_ATTRIBUTES: Final = 300
"""Of one tag. The tags of mails have a dozen."""
_MAX_STEPS: Final = 200_000
"""Attributes that are looked at in all; half a megabyte of a real mail has some 20,000."""
_HARMLESS: Final = 10_000
"""Characters in which there is no room for a tag that costs more than a hundredth of a second."""
_ELEMENT: Final = re.compile(r"<[a-zA-Z]")
_OPENING: Final = re.compile(r"<[a-zA-Z][^\s/>]*+")
_ATTRIBUTE: Final = re.compile(
    r"""[\s/]*+(?:=[^\s/>=]*+|[^\s/>=]++)(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+)?)?"""
)


def elements(html: str) -> int:
    """What begins as an element does, wherever it stands: never fewer than there are."""
    return len(_ELEMENT.findall(html))


def excess(html: str | None, text: str | None, limits: LimitSettings) -> dict[str, list[str]]:
    """What of a mail is more than any may have, as the errors of these two fields."""
    errors: dict[str, list[str]] = {}
    for name, part in (("html", html), ("text", text)):
        if part is not None and len(part.encode(errors="replace")) > limits.html_bytes:
            errors[name] = [f"must have at most {limits.html_bytes:,} bytes"]
    most = limits.html_elements
    # What counts as one has two characters at least, so that few mails are read for this.
    if html is not None and len(html) > 2 * most and elements(html) > most:
        errors.setdefault("html", []).append(f"must have at most {most:,} HTML elements")
    return errors


def require_few(html: str) -> None:
    """Raises `MergeTagInvalid`. Takes every ``<a`` for the beginning of a tag, wherever it stands: in what
    only looks like a comment or a value another tag could hide."""
    if len(html) <= _HARMLESS:
        return
    steps = 0
    for opening in _OPENING.finditer(html):
        at, number = opening.end(), 0
        while attribute := _ATTRIBUTE.match(html, at):
            at, number, steps = attribute.end(), number + 1, steps + 1
            if number > MAX_ATTRIBUTES or steps > _MAX_STEPS:
                line = html.count("\n", 0, opening.start()) + 1
                raise MergeTagInvalid(f"a tag has more than {MAX_ATTRIBUTES} attributes", line)
