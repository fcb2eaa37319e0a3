"""UTM parameters on the links of a mail: by which campaign a reader came, for the statistics of the site.

They are put into the compiled content, once for all recipients of a mailing, so that sending costs
nothing more; and before links are tracked, so that a tracked link leads to the address with them.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, unquote_plus

from newsletter.accounts.schemas import UTM, UTM_TOKEN
from newsletter.delivery import tracking
from newsletter.templates.compile import Compiled
from newsletter.templates.escaping import Place
from newsletter.templates.slots import Branch, MergeTemplate, Node, Slot

# No compiled text holds a NUL: `newsletter.templates` takes it out.
_MARK = re.compile("\0([0-9]+)\0")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_PLAIN_URL = re.compile(r"\bhttps?://[^\s<>\"]+", re.IGNORECASE)
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_SENTENCE = ".,;:!?'"
"""What ends a sentence rather than an address."""

MAX_VALUE = 200
"""Characters of one value once its tokens are filled, as many as it may have before. A campaign's name has up
to 200 itself, and a value of 200 may name it eleven times: 300 links made a mail of 80 MB without a limit."""
MAX_ADDED = 250_000
"""Characters that are added to one part of a mail; links that come after have none. A page of 500 kB may hold
20,000 links, and a value of 200 letters takes up to 2,400 characters of each. 2,500 links may have 100."""

Rewrite = Callable[[str, Sequence[Node], bool], str]
"""Of static text with marks, what the marks stand for, and whether it is a case of a condition."""
Layer = Mapping[str, str | None]
"""``source``, ``medium`` and the rest, as they were given."""


def parameters(*layers: Layer, values: Mapping[str, str] | None = None) -> dict[str, str]:
    """``utm_source`` and the others, in their usual order. A later layer wins member by member, and
    its None takes the parameter away; ``values`` are what the tokens stand for. What is longer than
    `MAX_VALUE` then is cut, and what is empty in the end is left out."""
    known = values or {}
    wanted: dict[str, str | None] = {}
    for layer in layers:
        wanted |= layer
    found = {}
    for name in UTM.model_fields:
        value = UTM_TOKEN.sub(lambda token: known.get(token[1], ""), wanted.get(name) or "").strip()
        if value:
            found[f"utm_{name}"] = value[:MAX_VALUE].rstrip()
    return found


def tagged(compiled: Compiled, parameters: Mapping[str, str]) -> Compiled:
    """The mail with these parameters on its links to the web, in HTML and in plain text.

    What a link has already stays as it is. Links that a merge tag or a condition supplies as a whole
    are left alone: nothing is known of them here, and the unsubscribe link is one of them. So are
    those that come after `MAX_ADDED`.

    Takes about 20 µs for each link, and a page may hold 20,000: call it in a thread.
    """
    if not parameters:
        return compiled
    in_page, in_text = _Adder(parameters), _Adder(parameters)

    def page(marked: str, nodes: Sequence[Node], is_inner: bool) -> str:
        def link(value: str) -> str:
            url = tracking.address(value)
            if any(isinstance(node, Branch) for node in _nodes_in(url, nodes)):
                return value
            longer = in_page.longer(url)
            return value if longer == url else html.escape(longer)

        return tracking.rewrite(marked, link)

    def text(marked: str, nodes: Sequence[Node], is_inner: bool) -> str:
        def link(match: re.Match[str]) -> str:
            if is_inner and match.end() == len(marked):
                return match[0]  # What follows the condition may go on with it.
            url = _address_in(match[0])
            # A value that is text may hold a space or a full stop: where the link ends is not known.
            parts = _nodes_in(url, nodes)
            if not all(isinstance(part, Slot) and part.place is Place.URL_PART for part in parts):
                return match[0]
            return in_text.longer(url) + match[0][len(url) :]

        return _PLAIN_URL.sub(link, marked)

    return replace(compiled, html=_rewritten(compiled.html, page), text=_rewritten(compiled.text, text))


class _Adder:
    """Adds the parameters to the links of one part, in their order, as long as there is room."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters, self._room = parameters, MAX_ADDED

    def longer(self, url: str) -> str:
        if self._room == 0:
            return url
        longer = with_parameters(url, self._parameters)
        added = len(longer) - len(url)
        if added > self._room:
            self._room = 0
            return url
        self._room -= added
        return longer


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """The address with those that it lacks, behind its query and before its fragment (RFC 3986 §3).
    Whatever leads elsewhere than to the web (``mailto:``, ``tel:``) stays as it is."""
    if not _WEB.match(url):
        return url
    address, hash_sign, fragment = url.partition("#")
    path, _, query = address.partition("?")
    present = {unquote_plus(part.partition("=")[0]).lower() for part in re.split("[&;]", query)}
    added = [f"{name}={quote(value, safe='')}" for name, value in parameters.items() if name not in present]
    if not added:
        return url
    joined = "&".join([query.rstrip("&"), *added] if query.rstrip("&") else added)
    return f"{path}?{joined}{hash_sign}{fragment}"


def _address_in(found: str) -> str:
    """Without what stands around it: a bracket that it did not open, and what ends a sentence."""
    open_brackets = dict.fromkeys(_BRACKETS.values(), 0)
    for place, sign in enumerate(found):
        if sign in open_brackets:
            open_brackets[sign] += 1
        elif sign in _BRACKETS:
            open_brackets[_BRACKETS[sign]] -= 1
            if open_brackets[_BRACKETS[sign]] < 0:
                # A question mark is the address's own here: such brackets stand behind the words of a link.
                return found[:place].rstrip(_SENTENCE.replace("?", ""))
    return found.rstrip(_SENTENCE)


def _nodes_in(text: str, nodes: Sequence[Node]) -> list[Node]:
    return [nodes[int(mark)] for mark in _MARK.findall(text)]


def _rewritten(template: MergeTemplate, rewrite: Rewrite) -> MergeTemplate:
    return MergeTemplate(_nodes(template.nodes, rewrite, is_inner=False))


def _nodes(nodes: Sequence[Node], rewrite: Rewrite, *, is_inner: bool) -> tuple[Node, ...]:
    """The nodes with their static text rewritten as a whole, in which marks stand for the rest."""
    marked: list[str] = []
    others: list[Node] = []
    for node in nodes:
        if isinstance(node, str):
            marked.append(node.replace("\0", ""))
            continue
        marked.append(f"\0{len(others)}\0")
        if isinstance(node, Branch):
            node = Branch(tuple((test, _nodes(inner, rewrite, is_inner=True)) for test, inner in node.cases))
        others.append(node)
    pieces: list[str] = _MARK.split(rewrite("".join(marked), others, is_inner))
    found: list[Node] = [others[int(piece)] if place % 2 else piece for place, piece in enumerate(pieces)]
    return tuple(node for node in found if node != "")
