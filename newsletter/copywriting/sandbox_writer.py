"""Puts a newsletter together from the brief's own words, without a language model.

For test projects where no model is configured: the whole way from a topic to an inbox can
be tried at once, for nothing, and gives the same text each time. It states nothing that the
brief does not state, and says in its notes what it is.
"""

import hashlib
import html
import re
from urllib.parse import urlsplit

from newsletter.copywriting import checks
from newsletter.copywriting.characters import clean_body, clean_line, shorten
from newsletter.copywriting.checks import Unusable
from newsletter.copywriting.draft import Brief, Draft
from newsletter.copywriting.links import WRITTEN_OUT, KnownLinks, without_trailing
from newsletter.copywriting.prompts import Limits
from newsletter.copywriting.sandbox_phrases import PHRASES, Phrases, phrases_for
from newsletter.copywriting.writer import AIFailed, known_links

NAME = "sandbox-writer"
NOTE = (
    "Written by the sandbox writer, not by a language model: it arranges the words of the brief and the "
    "brand voice. Set OPENAI_API_KEY or OPENAI_BASE_URL to have a model write."
)
_LIMITS = Limits(subject=78, preheader=150, body_html=20_000)
_HASH = hashlib.sha256(repr(PHRASES).encode()).hexdigest()
_MAX_POINTS = 5
_MAX_LINKS = 3

# "Please write a newsletter to our customers about …" is an order; the topic is what follows.
_ORDER = re.compile(
    r"^(?:please\s+|bitte\s+)?"
    r"(?:write|announce|tell|introduce|share|mention|explain|describe|include|invite|celebrate|present|promote"
    r"|remind|talk|cover|highlight|add|send|create|draft|inform|discuss)\b"
    r"(?:(?:\s+(?:an?|the|our|this|short|monthly|weekly|friendly)\b)*"
    r"\s+(?:newsletters?|e?-?mails?|issues?|notes?|campaigns?|updates?|messages?|announcements?)\b)?"
    r"(?:(?:\s+(?:to|our|the|all|my)\b)*"
    r"\s+(?:customers|readers|subscribers|users|clients|members|people|everyone|them)\b)?"
    r"(?:\s+(?:about|on|of|that|regarding|announcing|introducing)\b)?[\s:,]*",
    re.IGNORECASE,
)
_ABOUT_WRITING = re.compile(
    r"^(?:please\s+)?"
    r"(?:link|use|keep|make|do not|don't|never|avoid|sign|end|begin|start|write|sound|be|set|ask)\b",
    re.IGNORECASE,
)
_DANGLING = re.compile(r"(?:\s+(?:at|on|under|see|here|via|to|from|auf|unter|siehe))+$", re.IGNORECASE)
_ENDS = " .,:;–—-"
_FORMAL = re.compile(r"formal|professional|corporate|serious|förmlich|sachlich|seriös", re.IGNORECASE)


def write(brief: Brief) -> Draft:
    """The draft for a brief. The same brief gives the same draft; nothing is called.

    Raises `AIFailed` for a brief whose words the checks do not let through at all.
    """
    phrases = phrases_for(brief.language)
    links = known_links(brief)
    topic, points = _topic_and_points(brief.prompt)
    brand = _words(brief.brand_name) or "us"
    generic = phrases.subject.format(brand=brand)
    body = _body(brief, phrases, brand, topic or generic, points, _shown_links(brief, links))
    preheader = phrases.preheader.format(brand=brand, topic=topic or generic)
    problem: Unusable | None = None
    # A topic or a brand may be all markup, of which the checks leave nothing.
    for subject in (topic, generic, phrases.subject.format(brand="us")):
        try:
            copy = checks.check(_capitalised(subject), preheader, body, brief, links, _LIMITS)
            break
        except Unusable as error:
            problem = error
    else:
        raise AIFailed("The sandbox writer can make no newsletter of this brief.") from problem
    return Draft(
        subject=copy.subject,
        preheader=copy.preheader,
        body=copy.body,
        writer="sandbox",
        model=NAME,
        prompt_name=NAME,
        prompt_hash=_HASH,
        voice_version=brief.voice.version,
        removed_links=copy.removed_links,
        removed_tags=copy.removed_tags,
        notes=(NOTE, *copy.notes),
    )


def _body(brief: Brief, phrases: Phrases, brand: str, topic: str, points: list[str], links: list[str]) -> str:
    voice = brief.voice
    greeting = phrases.formal_greeting if _FORMAL.search(voice.tone) else phrases.greeting
    has_name = "first_name" in brief.fields
    name = f'{{{{ first_name | default: "{phrases.reader}" }}}}' if has_name else phrases.reader
    opening = phrases.opening.format(topic=html.escape(topic, quote=False))
    parts = [f"<p>{greeting.format(name=name)}</p>", f"<p>{_capitalised(opening)}</p>"]
    if points:
        items = "".join(f"<li>{html.escape(point, quote=False)}</li>" for point in points)
        parts.append(f"<h2>{phrases.points}</h2><ul>{items}</ul>")
    who = [_words(voice.about)] if voice.about.strip() else []
    if voice.audience.strip():
        who.append(phrases.audience.format(audience=_words(voice.audience).rstrip(" .")))
    if who:
        parts.append(f"<h2>{phrases.about}</h2>" + "".join(_paragraph(text) for text in who))
    if voice.samples:
        sample = _paragraph(shorten(_words(voice.samples[0]), 400))
        parts.append(f"<h2>{phrases.voice}</h2><blockquote>{sample}</blockquote>")
    if links:
        items = "".join(f"<li>{_anchor(link, phrases)}</li>" for link in links)
        parts.append(f"<h2>{phrases.links}</h2><p>{phrases.links_text}</p><ul>{items}</ul>")
    else:
        parts.append(f"<h2>{phrases.closing}</h2><p>{phrases.closing_text}</p>")
    sign_off = voice.sign_off if voice.sign_off.strip() else phrases.sign_off.format(brand=brand)
    lines = [html.escape(_words(line), quote=False) for line in sign_off.strip().splitlines()]
    return "\n".join([*parts, f"<p>{'<br>'.join(lines)}</p>"])


def _topic_and_points(prompt: str) -> tuple[str, list[str]]:
    """What the brief is about, and what else it says. Orders about how to write are left out."""
    said: list[str] = []
    for number, written in enumerate(re.split(r"(?<=[.!?])\s+|\n+", clean_body(prompt))):
        sentence = WRITTEN_OUT.sub(_nothing, written.strip())
        # "See https://…" says nothing without its link, which has a place of its own.
        if number and (sentence != written.strip() or _ABOUT_WRITING.match(sentence)):
            continue
        text = _words(_ORDER.sub("", sentence)).strip(_ENDS)
        text = _DANGLING.sub("", text).strip(_ENDS)
        if re.search(r"\w", text):
            said.append(text)
    if not said:
        return "", []
    topic = shorten(said[0], 60)
    rest = said if topic != said[0] else said[1:]
    return topic, [_capitalised(text) for text in rest[:_MAX_POINTS]]


def _nothing(match: re.Match[str]) -> str:
    """A link's place in a sentence: only the punctuation after it stays."""
    return match.group()[len(without_trailing(match.group())) :]


def _shown_links(brief: Brief, known: KnownLinks) -> list[str]:
    """The links of the prompt; else the website."""
    written = (without_trailing(match.group()) for match in WRITTEN_OUT.finditer(brief.prompt))
    given = list(dict.fromkeys(link for text in written if (link := known.find(text))))
    website = known.find(brief.website_url) if brief.website_url else None
    return given[:_MAX_LINKS] or ([website] if website else [])


def _anchor(link: str, phrases: Phrases) -> str:
    host = (urlsplit(link).hostname or "").removeprefix("www.")
    text = phrases.link.format(host=host) if host else link.removeprefix("mailto:")
    return f'<a href="{html.escape(link)}">{html.escape(text, quote=False)}</a>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text, quote=False)}</p>"


def _words(text: str) -> str:
    """Given text as one line that can be no merge tag."""
    return clean_line(text.replace("{", "").replace("}", ""))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
