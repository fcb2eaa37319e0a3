"""A mailing's content as encoded bytes with slots: made once, filled per recipient.

Everything that is the same for all recipients is done here: the links are signed, the merge
tags that stand for them have become static text with a token behind it, and what is static
is quoted-printable already.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from newsletter.delivery import segments, tracking
from newsletter.delivery.links import Links, MessageRef, Purpose
from newsletter.delivery.segments import Segments
from newsletter.templates.compile import Compiled, close_gaps
from newsletter.templates.escaping import escape
from newsletter.templates.expressions import Name
from newsletter.templates.slots import MergeTemplate, Slot

# No text of a mail holds a NUL: `newsletter.templates` takes it out, and so does the encoder.
_MARK = re.compile("\0([0-9]+)\0")
_GAP = re.compile("(?:^|(?<=\n))(?:\0[0-9]+\0)+(?=\n|$)")
_LINKS = {"unsubscribe_url": Purpose.unsubscribe, "view_in_browser_url": Purpose.view}


@dataclass(frozen=True, slots=True)
class PersonalLink:
    """A tracked link whose address differs per recipient: it is signed for each."""

    pieces: tuple["str | Source", ...]


Source = Slot | Purpose | PersonalLink
"""What fills a slot: a merge tag, a token, a link."""


@dataclass(slots=True)
class Filled:
    """One recipient's mail; both parts are encoded, in pieces to be joined."""

    unsubscribe_url: str
    subject: str
    html: list[bytes]
    text: list[bytes]


class Stencil:
    """Raises `ValueError` for content with conditions, see `Compiled.is_plain`."""

    def __init__(
        self, compiled: Compiled, links: Links, mailing_id: UUID, *, track_opens: bool, track_clicks: bool
    ) -> None:
        if not compiled.is_plain:
            raise ValueError("conditions have no segments")
        self._plain_text, self._links, self._mailing_id = compiled.text, links, mailing_id
        # The links are in each mail: in its header, if nowhere else.
        self._sources: dict[Source, int] = {Purpose.unsubscribe: 0, Purpose.view: 1}
        page = self._marked(compiled.html)
        if track_clicks:
            page = tracking.rewrite(page, self._track)
        if track_opens:
            page = tracking.with_pixel(page, self._token(Purpose.open))
        text = close_gaps(self._marked(compiled.text))
        for slot in compiled.subject.slots:
            self._mark(slot)
        self._purposes = [source for source in self._sources if isinstance(source, Purpose)]
        self._slots = [source for source in self._sources if isinstance(source, Slot)]
        self._personal = [source for source in self._sources if isinstance(source, PersonalLink)]
        # Values are made kind by kind, so the marks are renumbered.
        order = {
            source: place for place, source in enumerate([*self._purposes, *self._slots, *self._personal])
        }
        places = [order[source] for source in self._sources]
        self._html, self._text = _segments(page, places), _segments(text, places)
        # A value that is alone on its line and empty would leave a gap; see `fill`.
        self._gaps = [places[int(mark)] for gap in _GAP.findall(text) for mark in _MARK.findall(gap)]
        # The subject is joined from what was filled already.
        self._subject = [""] * (2 * len(compiled.subject.slots) + 1)
        self._subject[::2] = compiled.subject.segments
        self._subject_slots = [self._slots.index(slot) for slot in compiled.subject.slots]
        self._tokens = links.tokens(self._purposes)
        self._bases = links.base(Purpose.unsubscribe), links.base(Purpose.view)

    def fill(self, ref: MessageRef, person: Mapping[str, str]) -> Filled:
        """``person`` is what `Compiled.merge` takes, but for the links."""
        tokens = self._tokens(ref)
        unsubscribe_url, view_url = self._bases[0] + tokens[0], self._bases[1] + tokens[1]
        values = {**person, "unsubscribe_url": unsubscribe_url, "view_in_browser_url": view_url}
        texts = [slot.fill(values) for slot in self._slots]
        filled = [token.encode("ascii") for token in tokens]
        filled += [segments.value(text) for text in texts]
        filled += [segments.value(self._address(link, ref, values, tokens)) for link in self._personal]
        if self._gaps and not all(filled[place] for place in self._gaps):
            text = [segments.whole(close_gaps(self._plain_text.merge(values)))]
        else:
            text = self._text.fill(filled)
        subject = self._subject.copy()
        subject[1::2] = [texts[place] for place in self._subject_slots]
        return Filled(unsubscribe_url, "".join(subject), self._html.fill(filled), text)

    def _marked(self, template: MergeTemplate) -> str:
        """The template as one text in which marks stand for its slots."""
        parts = [template.segments[0].replace("\0", "")]
        for slot, static in zip(template.slots, template.segments[1:], strict=True):
            expression = slot.expression
            purpose = _LINKS.get(expression.name) if isinstance(expression, Name) else None
            if purpose is None:
                parts.append(self._mark(slot))
            else:
                # Escaping changes no letter of a token, so it can be done without one.
                parts.append(escape(self._links.base(purpose), slot.place) + self._mark(purpose))
            parts.append(static.replace("\0", ""))
        return "".join(parts)

    def _mark(self, source: Source) -> str:
        return f"\0{self._sources.setdefault(source, len(self._sources))}\0"

    def _token(self, purpose: Purpose) -> str:
        """A link up to and with its token, as it stands in HTML."""
        return html.escape(self._links.base(purpose)) + self._mark(purpose)

    def _track(self, value: str) -> str:
        url = tracking.address(value)
        if "\0" not in value:
            if not self._links.may_track(url):
                return value
            return f"{self._token(Purpose.click)}/{self._links.click_end(self._mailing_id, url)}"
        if self._links.is_own(url):
            return value
        sources = list(self._sources)
        pieces = enumerate(_MARK.split(value))
        return self._mark(
            PersonalLink(tuple(sources[int(piece)] if place % 2 else piece for place, piece in pieces))
        )

    def _address(
        self, link: PersonalLink, ref: MessageRef, values: Mapping[str, str], tokens: Sequence[str]
    ) -> str:
        parts = []
        for piece in link.pieces:
            if isinstance(piece, Slot):
                parts.append(piece.fill(values))
            elif isinstance(piece, Purpose):
                parts.append(tokens[self._purposes.index(piece)])
            elif isinstance(piece, str):
                parts.append(piece)
        return tracking.tracked("".join(parts), self._links, ref)


def _segments(marked: str, places: Sequence[int]) -> Segments:
    parts: Sequence[str] = _MARK.split(marked)
    return Segments(parts[::2], [places[int(mark)] for mark in parts[1::2]])
