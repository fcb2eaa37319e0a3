"""What a body keeps and what it loses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.templates.merge import MergeTagInvalid
from newsletter.templates.sanitise import sanitise_body
from tests.templates.samples import assert_harmless, corpus, html_of


@pytest.mark.parametrize(
    "body",
    [
        "<h1>One</h1><h2>Two</h2><p>A <strong>b</strong> <em>c</em><br>d</p>",
        '<p><a href="https://example.com/?a=1&amp;b=2" title="t">x</a></p>',
        '<p><a href="mailto:a@example.com">m</a> <a href="tel:+4712">t</a></p>',
        '<img src="https://example.com/x.png" alt="A &amp; B" width="300" height="20">',
        "<ul><li>a</li></ul><ol><li>b</li></ol><blockquote><p>q</p></blockquote><hr>",
        "<table><tbody><tr><td>a</td></tr></tbody></table>",
        '<p style="color:#fff;text-align:center">x</p>',
    ],
)
def test_what_a_newsletter_needs_is_kept(body: str) -> None:
    assert sanitise_body(body) == body


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("<script>alert(1)</script>a", "a"),
        ("<style>p{}</style>a", "a"),
        ("<!-- c -->a", "a"),
        ("<form action=x><input name=y>a</form>", "a"),
        ('<p onclick="x()">a</p>', "<p>a</p>"),
        ('<a href="javascript:alert(1)">a</a>', "<a>a</a>"),
        ('<a href="data:text/html,x">a</a>', "<a>a</a>"),
        ('<a href="/relative">a</a>', "<a>a</a>"),
        ('<img src="data:image/png;base64,AAAA" alt="">', '<img alt="">'),
        ('<img src="mailto:x@example.com" alt="">', '<img alt="">'),
        ('<p class="x" id="y">a</p>', "<p>a</p>"),
        ('<p style="position:fixed;color:red">a</p>', '<p style="color:red">a</p>'),
        ('<p style="background:url(https://x)">a</p>', "<p>a</p>"),
        ('<p style="margin-top:-900px;display:none">a</p>', "<p>a</p>"),
        ("<p>a<p>b", "<p>a</p><p>b</p>"),
        ("a < b & c", "a &lt; b &amp; c"),
    ],
)
def test_what_it_must_not_hold_is_removed(body: str, kept: str) -> None:
    assert sanitise_body(body) == kept


@pytest.mark.parametrize("reference", ["&#xfffe;", "&#xffff;", "&#1;", "&#11;", "&#x7f;"])
def test_characters_that_no_xml_holds_go_also_as_references(reference: str) -> None:
    body = f'<p title="a{reference}b">c{reference}d <a href="https://example.com/{reference}">e</a></p>'
    assert sanitise_body(body) == '<p title="ab">cd <a href="https://example.com/">e</a></p>'
    assert sanitise_body(f'<a href="java{reference}script:x">a</a>') == "<a>a</a>"
    assert (
        sanitise_body(f'<p style="posi{reference}tion:fixed;color:red">a</p>') == '<p style="color:red">a</p>'
    )


@pytest.mark.parametrize("body", ["<p>x</p>" * 20_001, "<div " * 20_001, "<div>" * 101, "<b><i>" * 60 + "x"])
def test_a_body_whose_parsing_would_keep_others_waiting_or_lose_text_is_refused(body: str) -> None:
    with pytest.raises(MergeTagInvalid):
        sanitise_body(body)


def test_a_body_may_nest_as_deep_as_old_layouts_do() -> None:
    cells = "<table><tbody><tr><td>" * 25 + "x<br>" * 200 + "</td></tr></tbody></table>" * 25
    assert sanitise_body(cells) == cells
    assert sanitise_body('<p title="<div><div>">a</p>' * 101).count("<p ") == 101


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ('<p>{{ first_name | default: "you" }}</p>', '<p>{{ first_name | default: "you" }}</p>'),
        ('<a href="{{ link }}">x</a>', '<a href="{{ link }}">x</a>'),
        (
            '<a href="{{ link | default: "https://example.com" }}">x</a>',
            '<a href="{{ link | default: &quot;https://example.com&quot; }}">x</a>',
        ),
        ('<a href="%7B%7B%20link%20%7D%7D">x</a>', '<a href="{{ link }}">x</a>'),
        ("{% if age < 3 %}a{% endif %}", "{% if age &lt; 3 %}a{% endif %}"),
        ('<a href="{{ x }}:alert(1)">x</a>', "<a>x</a>"),
        ('<p style="color:{{ colour }}">x</p>', "<p>x</p>"),
    ],
)
def test_merge_tags_survive_in_text_and_links(body: str, kept: str) -> None:
    assert sanitise_body(body) == kept
    assert sanitise_body(kept) == kept


@given(st.text(alphabet="<>/=\"'& abimgphref:javscrit\n\0", max_size=120))
def test_any_text_is_harmless_after_sanitising_once_and_unchanged_by_the_second(text: str) -> None:
    once = sanitise_body(text)
    assert_harmless(once)
    assert sanitise_body(once) == once


def test_no_line_of_the_attack_corpus_gets_through() -> None:
    for line in corpus("html-xss.txt").splitlines():
        if "{{" in line or "{%" in line:
            continue
        assert_harmless(sanitise_body(line))


@pytest.mark.slow
def test_no_line_of_the_attack_corpus_gets_through_to_the_mail() -> None:
    lines = [line for line in corpus("html-xss.txt").splitlines() if not {"{", "}"} & set(line)]
    # Many at a time, because each must be harmless wherever it stands; a few alone.
    for start in range(0, len(lines), 40):
        assert_harmless(html_of("\n<p>x</p>\n".join(["", *lines[start : start + 40]])))
    for line in lines[::60]:
        page = assert_harmless(html_of(f"<p>x</p>{line}"))
        assert any("Unsubscribe" in part for part in [page.text])
