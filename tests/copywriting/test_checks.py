"""What is left of a hostile answer."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from newsletter.copywriting import checks
from newsletter.copywriting.checks import Copy, Unusable
from newsletter.copywriting.draft import Brief
from newsletter.copywriting.links import WRITTEN_OUT, without_trailing
from newsletter.copywriting.prompts import Limits
from newsletter.copywriting.voice import VoiceCard
from newsletter.copywriting.writer import known_links
from newsletter.templates import merge
from newsletter.templates.sanitise import sanitise_body

LIMITS = Limits(subject=78, preheader=150, body_html=20_000)
CORPORA = Path(__file__).parents[2].parent / "shared" / "corpora"
BRIEF = Brief(
    prompt="See https://acme.example/autumn or mail help@acme.example.",
    voice=VoiceCard(banned_words=("cheap", "best  deal")),
    brand_name="Acme",
    website_url="https://acme.example",
    locale="en",
    fields=frozenset({"first_name", "email", "unsubscribe_url"}),
    known_links=frozenset({"https://cdn.example/logo.png"}),
)
KNOWN = known_links(BRIEF)
GIVEN = {"https://acme.example", "https://acme.example/autumn", "mailto:help@acme.example"}
GIVEN |= {"https://cdn.example/logo.png", "{{ unsubscribe_url }}", "{{unsubscribe_url}}"}


def check(body: str, subject: str = "Lamps", preheader: str = "Warm", brief: Brief = BRIEF) -> Copy:
    return checks.check(subject, preheader, body, brief, KNOWN, LIMITS)


def assert_harmless(copy: Copy) -> None:
    """The invariants, seen with another parser than the one that made the text."""
    root = lxml.html.fragment_fromstring(copy.body, create_parent="div")
    for element in root.iterdescendants():
        assert isinstance(element.tag, str), "no comments or instructions"
        assert element.tag in checks._TAGS
        assert set(element.attrib) <= {"href", "src", "alt"}
        for name in ("href", "src"):
            if name in element.attrib:
                assert element.attrib[name] in GIVEN
    for text in (copy.subject, copy.preheader, copy.body):
        merge.check(text, BRIEF.fields)
        assert "{%" not in text
        text.encode("utf-8")
        assert not any(letter in text for letter in "\x00\x08\u202e\u2066\u200b\ufeff\U000e0041")
        # As a subscriber without a name would read it.
        merged = merge.build(merge.split(text), {}).merge({})
        words = checks.visible_text(merged) if text is copy.body else merged
        for match in WRITTEN_OUT.finditer(words):
            assert KNOWN.find(without_trailing(match.group())), match.group()
    assert sanitise_body(copy.body) == copy.body
    assert "\n" not in copy.subject + copy.preheader
    again = check(copy.body, copy.subject, copy.preheader)
    assert (again.subject, again.preheader, again.body) == (copy.subject, copy.preheader, copy.body)


def test_good_copy_passes_unchanged() -> None:
    body = (
        '<p>Hello {{ first_name | default: "there" }},</p>\n<h2>New &amp; warm</h2>'
        '<p>See <a href="https://acme.example/autumn">the lamps</a> &lt;3, or '
        '<a href="{{ unsubscribe_url }}">leave</a>.</p><ul><li><strong>One</strong></li></ul>'
        '<img src="https://cdn.example/logo.png" alt="A lamp"><p>help@acme.example<br>Anna</p>'
    )
    copy = check(body)
    assert copy == Copy("Lamps", "Warm", body, (), (), (), ())


def test_foreign_links_lose_their_address_and_keep_their_text() -> None:
    copy = check('<p>Go <a href="https://evil.test/x">here</a> <a href="/pricing">now</a></p>')
    assert copy.body == "<p>Go here now</p>"
    assert copy.removed_links == ("https://evil.test/x", "/pricing")
    assert copy.complaints == ()


def test_a_sloppy_spelling_of_a_given_link_is_mended() -> None:
    copy = check('<p><a href="acme.example/autumn/">here</a></p>')
    assert copy.body == '<p><a href="https://acme.example/autumn">here</a></p>'
    assert copy.removed_links == ()


def test_a_link_that_carries_a_merge_tag_out_is_removed() -> None:
    for link in (
        "https://acme.example/?e={{ email }}",
        "{{ email }}",
        "https://{{ email }}.evil.test",
        "{{x_url}}",
    ):
        copy = check(f'<p><a href="{link}">here</a></p>')
        assert copy.body == "<p>here</p>", link


def test_pictures_from_elsewhere_are_removed() -> None:
    copy = check(
        '<p>A<img src="https://evil.test/p.gif" alt="x"><img src="data:image/png;base64,AA">B<img></p>'
    )
    assert copy.body == "<p>AB</p>"
    assert "https://evil.test/p.gif" in copy.removed_links


def test_addresses_that_are_only_written_out_are_removed_and_complained_about() -> None:
    copy = check(
        "<p>Go to https://evil.test/x. Or call me@evil.test, or evil.test/login</p>",
        subject="www.evil.test now",
    )
    assert copy.body == "<p>Go to . Or call , or </p>"
    assert copy.subject == "now"
    assert set(copy.removed_links) == {
        "https://evil.test/x",
        "me@evil.test",
        "evil.test/login",
        "www.evil.test",
    }
    assert "me@evil.test" in copy.complaints[0]
    assert copy.notes


@pytest.mark.parametrize(
    "body",
    [
        "<p>https:<b>//evil.test/x</b></p>",
        '<p>https:{{ first_name | default: "" }}//evil.test/x</p>',
        "<p>https:{{ first_name }}//evil.test/x</p>",
        "<p>evil.test<i>/login</i></p>",
        "<p>someone<em>@evil.test</em></p>",
    ],
)
def test_pieces_that_join_to_an_address_are_refused(body: str) -> None:
    with pytest.raises(Unusable, match="nobody gave"):
        check(body)


@pytest.mark.parametrize(
    "body",
    [
        "<p>A htt{{ nothing }}ps://evil.test/x</p>",
        "<p>A htt\u200bps://evil.test/x</p>",
        "<p>A {{ first_name | default: 'https://evil.test' }}</p>",
        "<p>A &#104;ttps&#58;//evil.test/x</p>",
        "<p>A <scr{{ x }}ipt src='//evil.test'></p>",
        "<p>A &#123;{ config }} {% if email %}evil.test{% endif %}</p>",
        "<p>A <!-- evil.test --><svg><a href='https://evil.test'>x</a></svg></p>",
        "<p>A <a href='java\tscript:alert(1)' onclick='evil()'>b</a></p>",
        "<p>A <b style='background:url(//evil.test)' class='x' id='y'>c</b></p>",
        "<p>A {{ email | upper | truncate: 3 }} {{ email ~ first_name }} {{ ''.__class__ }}</p>",
        "<p>A <a href='https://evil.test'><a href='https://acme.example'>x</a></a></p>",
        "<p>A {https://evil.test/}{ x }}</p>",
        "<p>A <a href='%7B%7Bemail%7D%7D'>x</a></p>",
    ],
)
def test_tricks_leave_nothing(body: str) -> None:
    copy = check(body)
    assert_harmless(copy)
    assert "A" in copy.body
    assert "https://evil" not in copy.body


def test_unknown_tags_and_conditions_are_removed_and_reported() -> None:
    copy = check("<p>Hi {{ company }}{% if first_name %}{{ first_name }}{% endif %}!</p>")
    assert copy.body == "<p>Hi {{ first_name }}!</p>"
    assert "{{ company }}" in copy.removed_tags
    assert any("{% if first_name %}" in complaint for complaint in copy.complaints)


def test_invisible_characters_go_and_joiners_of_emoji_and_persian_stay() -> None:
    copy = check(
        "<p>a\u202eb\u00adc\x00d \U000e0041\U000e0042 👩\u200d💻 می\u200cخوب x\u200dy \u200fשם</p>",
        subject="a\r\nBcc: x\u2028\u202eb\u200b\u200fc\x07",
        preheader="tab\tnew\nline",
    )
    assert copy.body == "<p>abcd  👩\u200d💻 می\u200cخوب xy \u200fשם</p>"
    assert copy.subject == "a Bcc: x bc"
    assert copy.preheader == "tab new line"


def test_html_in_a_subject_becomes_text() -> None:
    assert check("<p>x</p>", subject="<b>Tips</b> &amp; <script>tricks").subject == "Tips & tricks"


def test_banned_words_are_whole_words_in_any_case() -> None:
    assert check("<p>Cheapest cheapskates</p>").complaints == ()
    copy = check("<p>The <b>best</b>\ndeal</p>", subject="CHEAP!")
    assert copy.complaints == ("The voice bans these words: cheap, best  deal.",)


@pytest.mark.parametrize(
    "body", ["", "   ", "<p></p>", "<hr><br>", "<p>…!?</p>", "<p>{{ first_name }}</p>", "<!-- x -->"]
)
def test_a_body_without_text_is_refused(body: str) -> None:
    with pytest.raises(Unusable, match="no text"):
        check(body)


def test_an_empty_subject_is_refused_unless_the_caller_settled_it() -> None:
    with pytest.raises(Unusable, match="subject is empty"):
        check("<p>x</p>", subject="\u200b")
    assert check("<p>x</p>", subject="", brief=replace(BRIEF, subject="Mine")).subject == "Mine"


def test_a_line_is_cut_between_words_and_never_inside_a_tag() -> None:
    subject = "word " * 14 + '{{ first_name | default: "there" }}'
    assert check("<p>x</p>", subject=subject).subject == ("word " * 14).strip() + "…"


@pytest.mark.parametrize("digits", ["1" * 5_000, "0" * 5_000 + "65"])
def test_a_reference_of_more_digits_than_python_reads_is_no_crash(digits: str) -> None:
    copy = check(f"<p>A&#{digits};{{{{&#{digits};}}}}</p>", f"Lamps &#{digits}; {{{{ &#{digits}; }}}}")
    assert_harmless(copy)
    assert copy.subject == "Lamps \ufffd"


def test_a_giant_body_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Unusable, match="characters"):
        check("word " * 100_000)
    with pytest.raises(Unusable, match="too many tags"):
        check("<p>A</p>" + "<ul><li>" * 10_000)


@pytest.mark.parametrize(
    "unit",
    [
        "<a href='x'>",
        "<b>",
        "{{",
        "{{ x }}",
        "{% if a %}",
        "&#123;",
        "https://evil.test ",
        "<!--",
        "<![",
        "a.b/",
    ],
)
def test_repetition_is_no_way_to_stop_us(unit: str) -> None:
    with contextlib.suppress(Unusable):
        assert_harmless(check("<p>A</p>" + unit * min(1_900, 60_000 // len(unit))))


@pytest.mark.parametrize(
    "name", ["html-xss.txt", "template-injection.txt", "crlf.txt", "naughty-strings.json"]
)
def test_public_payloads_do_no_harm(name: str) -> None:
    path = CORPORA / name
    if not path.exists():
        pytest.skip("the corpora are not at ../shared/corpora")
    text = path.read_text(encoding="utf-8")
    payloads = json.loads(text) if name.endswith(".json") else text.splitlines()
    assert len(payloads) > 10
    for payload in payloads:
        try:
            copy = check(f"<p>A {payload}</p>", subject=f"A {payload}", preheader=payload)
        except Unusable:
            continue
        assert_harmless(copy)


_PIECES = st.sampled_from(
    [
        *(
            "<p>",
            "</p>",
            "<a href='",
            "'>",
            "</a>",
            "<b>",
            "</b>",
            "<script>",
            "</script>",
            "<img src=",
            ">",
            "<!--",
        ),
        *(
            "{{",
            "}}",
            "{%",
            "%}",
            "{",
            "}",
            " first_name ",
            " email ",
            "| default: ",
            '"',
            "'",
            "if ",
            "endif",
        ),
        *(
            "https:",
            "//",
            "evil.test",
            "/x",
            "www.",
            "@",
            "acme.example",
            "/autumn",
            "mailto:",
            "javascript:",
            "\\",
        ),
        *("&#123;", "&lt;", "&amp;", "%7B%7B", "%7D%7D", "\x00", "\u202e", "\u200b", "\n", " ", "word"),
    ]
)


@settings(max_examples=300)
@given(st.lists(_PIECES, max_size=25), st.lists(_PIECES, max_size=10))
def test_no_mixture_of_pieces_gets_through(body: list[str], subject: list[str]) -> None:
    try:
        copy = check("<p>A</p>" + "".join(body), subject="A " + "".join(subject))
    except Unusable:
        return
    assert_harmless(copy)


def test_visible_text_has_a_line_for_each_block() -> None:
    assert checks.visible_text("<p>a<b>b</b></p><p>c &amp; d</p>").split() == ["ab", "c", "&", "d"]


def test_an_answer_that_nests_too_deeply_is_sent_back() -> None:
    with pytest.raises(Unusable, match="nest deeper than 100"):
        check("<p>Hello</p>" + "<blockquote>" * 150 + "x" + "</blockquote>" * 150)
