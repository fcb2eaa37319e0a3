"""What a writer is given and what it hands back."""

from dataclasses import dataclass, field

from newsletter.copywriting.voice import VoiceCard
from newsletter.llm import Usage


@dataclass(frozen=True, slots=True)
class Brief:
    """Everything that a writer is told; nothing in it speaks of a subscriber."""

    prompt: str
    voice: VoiceCard
    brand_name: str
    website_url: str | None
    locale: str
    """BCP 47, the project's; the locale of the voice card comes before it."""
    fields: frozenset[str] = frozenset()
    """Merge tags that the text may use."""
    known_links: frozenset[str] = frozenset()
    """The project's own links, besides those in the prompt and the voice card."""
    subject: str | None = None
    """Settled by the caller; None: the writer's."""
    preheader: str | None = None

    @property
    def language(self) -> str:
        return self.voice.locale or self.locale or "en"


@dataclass(frozen=True, slots=True)
class Draft:
    """Finished copy: sanitised, with links and merge tags checked."""

    subject: str
    preheader: str
    """At most 150 characters."""
    body: str
    """HTML that `newsletter.templates.sanitise` leaves as it is."""
    writer: str
    """``model`` or ``sandbox``."""
    model: str
    prompt_name: str
    prompt_hash: str
    voice_version: int | None
    usage: Usage = field(default_factory=Usage)
    removed_links: tuple[str, ...] = ()
    """Links and addresses that nobody gave, as the model wrote them."""
    removed_tags: tuple[str, ...] = ()
    """Merge tags that do not exist, or do more than insert a field."""
    notes: tuple[str, ...] = ()
    """What a person should know before sending it; sentences."""
