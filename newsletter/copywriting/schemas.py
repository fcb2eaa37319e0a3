"""The brand voice as the API shows it."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

from newsletter.accounts.schemas import Locale
from newsletter.kit.schema import Body, Line, Schema, Time


def _prose(text: str) -> str:
    """Several lines of text: newlines and tabs are its only control characters."""
    text = text.replace("\r\n", "\n")
    if any(unicodedata.category(letter) == "Cc" and letter not in "\n\t" for letter in text):
        raise ValueError("must be text without control characters")
    return text.strip()


Prose = Annotated[str, AfterValidator(_prose)]
Rule = Annotated[Line, Field(min_length=1, max_length=300)]
Phrase = Annotated[Line, Field(min_length=1, max_length=60)]
Sample = Annotated[Prose, Field(min_length=1, max_length=2000)]


class VoiceBody(Body):
    """The whole card: what is left out is empty in the new version."""

    about: Annotated[Prose, Field(max_length=2000)] = ""
    """Who writes."""
    audience: Annotated[Prose, Field(max_length=1000)] = ""
    """Who reads."""
    tone: Annotated[Prose, Field(max_length=500)] = ""
    do: Annotated[tuple[Rule, ...], Field(max_length=20)] = ()
    dont: Annotated[tuple[Rule, ...], Field(max_length=20)] = ()
    banned_words: Annotated[tuple[Phrase, ...], Field(max_length=100)] = ()
    preferred_words: dict[Phrase, Phrase] = Field(default_factory=dict, max_length=100)
    """What to say (value) in the place of what (key): ``{"users": "customers"}``."""
    samples: Annotated[tuple[Sample, ...], Field(max_length=5)] = ()
    """Passages that sound right, as plain text."""
    sign_off: Annotated[Prose, Field(max_length=200)] = ""
    locale: Locale | None = None
    """The language to write in; null: the project's."""


class VoiceOut(Schema):
    version: int
    """0 while no card was ever written."""
    about: str = ""
    audience: str = ""
    tone: str = ""
    do: tuple[str, ...] = ()
    dont: tuple[str, ...] = ()
    banned_words: tuple[str, ...] = ()
    preferred_words: dict[str, str] = Field(default_factory=dict)
    samples: tuple[str, ...] = ()
    sign_off: str = ""
    locale: str | None = None
    created_at: Time | None
    """When this version was written."""
