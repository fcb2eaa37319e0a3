"""The writer without a model: readable, the same each time, and without a single invention."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from newsletter.copywriting import checks, sandbox_writer
from newsletter.copywriting.draft import Brief
from newsletter.copywriting.sandbox_phrases import PHRASES
from newsletter.copywriting.voice import VoiceCard
from newsletter.llm import Usage
from newsletter.templates import merge
from tests.templates.samples import names_used

NAUGHTY = Path(__file__).parents[2].parent / "shared" / "corpora" / "naughty-strings.json"


def test_a_draft_reads_like_a_letter_about_the_brief(brief: Brief) -> None:
    voice = VoiceCard(
        about="Acme makes small lamps by hand.",
        audience="people who read at night",
        samples=("A lamp is on or it is off.",),
        sign_off="Yours,\nAnna at Acme",
        version=7,
    )
    prompt = (
        "Please write a newsletter to our customers about the autumn lamps. They come in three colours. "
        "Mention the free shipping until Friday. See https://acme.example/autumn. Keep it short."
    )
    draft = sandbox_writer.write(replace(brief, prompt=prompt, voice=voice))
    assert draft.subject == "The autumn lamps"
    assert draft.preheader == "A short note from Acme: the autumn lamps"
    assert [line for line in checks.visible_text(draft.body).splitlines() if line] == [
        'Hello {{ first_name | default: "there" }},',
        "Today we have one subject for you: the autumn lamps.",
        "What it is about",
        "They come in three colours",
        "The free shipping until Friday",
        "Who is writing",
        "Acme makes small lamps by hand.",
        "This letter is written for people who read at night.",
        "In our own words",
        "A lamp is on or it is off.",
        "Take a closer look",
        "Here is where to go on:",
        "Read more at acme.example",
        "Yours,",
        "Anna at Acme",
    ]
    assert '<a href="https://acme.example/autumn">' in draft.body
    assert draft.voice_version == 7


def test_a_draft_says_that_no_model_wrote_it(brief: Brief) -> None:
    draft = sandbox_writer.write(brief)
    assert (draft.writer, draft.model, draft.usage) == ("sandbox", "sandbox-writer", Usage())
    assert "not by a language model" in draft.notes[0]


def test_the_same_brief_gives_the_same_draft(brief: Brief) -> None:
    assert sandbox_writer.write(brief) == sandbox_writer.write(brief)


def test_the_settled_subject_and_preheader_win(brief: Brief) -> None:
    draft = sandbox_writer.write(replace(brief, subject="Mine", preheader="Too"))
    assert (draft.subject, draft.preheader) == ("Mine", "Too")


def test_links_and_addresses_of_the_prompt_have_a_place_of_their_own(brief: Brief) -> None:
    draft = sandbox_writer.write(brief)
    assert draft.subject == "Our autumn lamps"
    assert (
        '<ul><li><a href="https://acme.example/autumn">Read more at acme.example</a></li>'
        '<li><a href="mailto:help@acme.example">help@acme.example</a></li></ul>'
    ) in draft.body


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        (
            "Announce our new pricing tiers and free 14-day trial.",
            "Our new pricing tiers and free 14-day trial",
        ),
        ("Tell our readers about the summer fair", "The summer fair"),
        ("Write an email to all subscribers that we move", "We move"),
        ("the new app", "The new app"),
        ("Telling stories with light", "Telling stories with light"),
        ("!!!!!", "News from Acme"),
        ("https://acme.example/autumn", "News from Acme"),
    ],
)
def test_the_subject_is_the_topic_and_not_the_order(prompt: str, subject: str, brief: Brief) -> None:
    assert sandbox_writer.write(replace(brief, prompt=prompt)).subject == subject


@pytest.mark.parametrize("locale", [*PHRASES, "de-AT", "FR", "xx-unknown"])
def test_every_language_gives_a_whole_letter(locale: str, brief: Brief) -> None:
    for tone in ("", "formal"):
        for website in (None, "https://acme.example"):
            voice = VoiceCard(tone=tone, locale=locale, audience="you", samples=("So.",), about="We.")
            draft = sandbox_writer.write(
                replace(brief, prompt="Lamps. Light.", voice=voice, website_url=website)
            )
            assert "Acme" in draft.body
            assert "{{ first_name | default:" in draft.body
            merge.check(draft.body, brief.fields)
            assert names_used(draft.body) == {"first_name"}
            assert draft.removed_links == draft.removed_tags == ()
            assert len(draft.notes) == 1, "its own phrases pass all checks"


def test_without_a_first_name_field_there_is_no_tag(brief: Brief) -> None:
    draft = sandbox_writer.write(replace(brief, fields=frozenset()))
    assert "<p>Hello there,</p>" in draft.body


def test_no_given_text_is_markup_or_a_tag(brief: Brief) -> None:
    evil = "<script>alert(1)</script> {{ email }} {% if email %} <b>x</b> & \u202e"
    voice = VoiceCard(about=evil, audience=evil, samples=(evil,), sign_off=evil, tone=evil)
    draft = sandbox_writer.write(replace(brief, prompt=evil, brand_name=evil, voice=voice))
    assert "<script" not in draft.body
    assert "<b>" not in draft.body
    assert names_used(draft.body) == {"first_name"}
    assert "\u202e" not in draft.subject + draft.preheader + draft.body


def test_any_text_makes_a_draft(brief: Brief) -> None:
    if not NAUGHTY.exists():
        pytest.skip("the corpora are not at ../shared/corpora")
    for text in json.loads(NAUGHTY.read_text(encoding="utf-8")):
        voice = VoiceCard(about=text, audience=text, samples=(text,), sign_off=text)
        draft = sandbox_writer.write(replace(brief, prompt=text, brand_name=text, voice=voice))
        assert draft.subject
        assert len(draft.subject) <= 78
        merge.check(draft.subject + draft.preheader + draft.body, brief.fields)
