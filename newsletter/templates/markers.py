"""Opaque stand-ins for merge tags, so that MJML, CSS and HTML tools leave them alone.

A marker is ASCII letters, digits and an underscore: no tool escapes, splits or reorders it, and nobody can
write one by hand, because each compilation draws its own.
"""

import re
import secrets
from collections.abc import Callable, Iterable
from functools import cached_property

from newsletter.templates.escaping import Place
from newsletter.templates.merge import Piece, Tag

_TAG_TOKEN = re.compile(r"""<[a-zA-Z/!](?:"[^"]*"|'[^']*'|[^"'>])*>""")


class Markers:
    """The markers of one compilation."""

    def __init__(self) -> None:
        # No scheme of a link begins with an underscore: parsers take a link that begins with a
        # marker for a relative one, and `is_link` decides.
        self.prefix = f"_nl{secrets.token_hex(6)}x"
        self._tags: list[Tag] = []

    # Compiled when they are needed: a short mail without tags took 0.35 ms with all three, 0.09 without.
    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.prefix + r"(\d+)z")

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return re.compile(self.prefix + r"\d+z")

    @cached_property
    def _placed(self) -> re.Pattern[str]:
        return re.compile(self.prefix + r"(\d+)z([thuvp])")

    def put(self, tag: Tag) -> str:
        self._tags.append(tag)
        return f"{self.prefix}{len(self._tags) - 1}z"

    def protect(self, pieces: Iterable[Piece]) -> str:
        """The text with a marker for each tag; the line breaks inside a tag stay before it."""
        return "".join(
            piece if isinstance(piece, str) else "\n" * piece.source.count("\n") + self.put(piece)
            for piece in pieces
        )

    def is_in(self, text: str) -> bool:
        return self.prefix in text

    def is_link(self, value: str, allowed: re.Pattern[str]) -> bool:
        """Whether a link begins as ``allowed`` says, whatever its tags become.

        What stands before the first tag decides. A link that begins with a tag may turn out
        to begin with any later static part, because values can be missing and conditions
        false; so each part with a colon must be allowed as a beginning too.
        """
        first, *parts = self._any.split(value)
        if first.strip() or not parts:
            return allowed.match(value) is not None
        return all(":" not in re.split(r"[/?#]", part)[0] or allowed.match(part) for part in parts)

    def tags_in(self, text: str) -> list[Tag]:
        return [self._tags[int(match[1])] for match in self._pattern.finditer(text)]

    def is_only(self, text: str | None) -> Tag | None:
        """The tag, where a text is one marker and nothing else."""
        match = self._pattern.fullmatch((text or "").strip())
        return None if match is None else self._tags[int(match[1])]

    def remove(self, text: str) -> str:
        return self._pattern.sub("", text)

    def restore(self, fragment: str, write: Callable[[Tag, bool], str]) -> str:
        """The fragment with each tag written by ``write(tag, is_in_an_attribute)``."""

        def outside(text: str) -> str:
            return self._pattern.sub(lambda match: write(self._tags[int(match[1])], False), text)

        def inside(match: re.Match[str]) -> str:
            return self._pattern.sub(lambda found: write(self._tags[int(found[1])], True), match.group())

        parts, end = [], 0
        for token in _TAG_TOKEN.finditer(fragment):
            parts += [outside(fragment[end : token.start()]), inside(token)]
            end = token.end()
        return "".join([*parts, outside(fragment[end:])])

    def bare_pieces(self, text: str) -> list[Piece]:
        """Static text and tags out of a text whose markers were not placed yet."""
        return self.pieces(self.place(text, Place.PLAIN))

    def place(self, text: str, place: Place) -> str:
        """Notes at each marker where it stands. Each occurrence is noted once."""
        return self._pattern.sub(lambda match: match.group() + place.value, text)

    def place_in_link(self, link: str) -> str:
        """The same for a link: what begins it supplies the scheme, anything later is a part.

        After a condition it is unknown what stood before; a part is safe anywhere, and so
        is a beginning, because its value is checked.
        """
        out, end, at_start = [], 0, True
        opened: list[bool] = []
        for match in self._pattern.finditer(link):
            static, kind = link[end : match.start()], self._tags[int(match[1])].kind
            at_start = at_start and not static
            out += [static, match.group()]
            end = match.end()
            if kind == "output":
                out.append((Place.URL if at_start else Place.URL_PART).value)
                at_start = False
                continue
            out.append(Place.PLAIN.value)
            if kind == "if":
                opened.append(at_start)
            elif kind == "endif":
                at_start = False
                if opened:
                    opened.pop()
            elif opened:
                at_start = opened[-1]
        return "".join([*out, link[end:]])

    def pieces(self, text: str, *, as_plain: bool = False) -> list[Piece]:
        """Static text and tags, each with its place, out of a text whose markers were placed."""
        if not self.is_in(text):
            return [text]
        plain = {Place.HTML: Place.PLAIN, Place.URL: Place.PLAIN_URL}
        pieces: list[Piece] = []
        end = 0
        for match in self._placed.finditer(text):
            tag, place = self._tags[int(match[1])], Place(match[2])
            place = plain.get(place, place) if as_plain else place
            pieces += [
                text[end : match.start()],
                Tag(tag.kind, tag.expression, tag.source, tag.line, place),
            ]
            end = match.end()
        return [*pieces, text[end:]]
