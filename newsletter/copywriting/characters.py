"""Removes from a model's text the characters that a reader cannot see.

Invisible characters carry hidden messages past a reviewer, split words past filters, and
turn the reading direction of what stands beside them. Those that scripts really need stay:
joiners between letters that are not ASCII, and in bodies the marks of right-to-left text.
"""

import re

_BREAKS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]")
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufff0-\ufffb\ufffe\uffff"
_BIDI = "\u202a-\u202e\u2066-\u2069"
_BLANK = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{_CONTROLS}{_BIDI}{_BLANK}]")
_MARKS = re.compile("[\u061c\u200e\u200f]")
_JOINERS = re.compile(
    "(?<=[\u200c\u200d])[\u200c\u200d]+|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)


def clean_body(text: str) -> str:
    """The text of a body; tabs and line breaks stay."""
    return _JOINERS.sub("", _INVISIBLE.sub("", text))


def clean_line(text: str) -> str:
    """A subject or preheader: one line, single spaces."""
    text = _MARKS.sub("", _BREAKS.sub(" ", text))
    return " ".join(clean_body(text).split())


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters, cut between words and never inside a merge tag."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    if not text[limit - 1].isspace() and " " in cut[limit // 2 :]:
        cut = cut.rsplit(" ", 1)[0]
    if cut.rfind("{{") > cut.rfind("}}"):
        cut = cut[: cut.rfind("{{")]
    return cut.rstrip(" ,;:.-–—") + "…"
