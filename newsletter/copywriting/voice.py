"""The brand voice as a value: what a writer is told about whoever speaks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VoiceCard:
    """One version of a project's voice card. Every part may be missing."""

    about: str = ""
    audience: str = ""
    tone: str = ""
    do: tuple[str, ...] = ()
    dont: tuple[str, ...] = ()
    banned_words: tuple[str, ...] = ()
    preferred_words: Mapping[str, str] = field(default_factory=dict)
    """What to say (value) in the place of what (key); ``{"users": "customers"}``."""
    samples: tuple[str, ...] = ()
    """Passages that sound right, as plain text."""
    sign_off: str = ""
    locale: str = ""
    """BCP 47, such as ``de-AT``; empty: the project's."""
    version: int | None = None

    def texts(self) -> Iterator[str]:
        """Everything in it that a person wrote; links in here are links the brand itself gave."""
        yield from (self.about, self.audience, self.tone, self.sign_off)
        yield from (*self.do, *self.dont, *self.samples)
        yield from self.preferred_words.values()
