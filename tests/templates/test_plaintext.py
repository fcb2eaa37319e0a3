"""The text part says what the HTML says."""

import lxml.html
import pytest

from newsletter.templates.plaintext import MARKS, write
from tests.templates.samples import LINKS, compiled


def text_of(html: str) -> str:
    return write(lxml.html.fragment_fromstring(html, create_parent="div"))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>One</h1><h2>Two</h2><h3>Three</h3><p>x</p>", "One\n===\n\nTwo\n---\n\nThree\n\nx"),
        ("<p>a  b\n c</p><p>d<br>e</p>", "a b c\n\nd\ne"),
        ("a <b>b</b> c", "a b c"),
        ('<p>see <a href="https://example.com">this</a>.</p>', "see this (https://example.com)."),
        ('<a href="https://example.com">https://example.com</a>', "https://example.com"),
        ('<a href="mailto:a@example.com">a@example.com</a>', "a@example.com"),
        ('<a href="#top">up</a>', "up"),
        ('<a href="https://example.com"><img src="x" alt="Logo"></a>', "Logo (https://example.com)"),
        ('<a href="https://example.com"><img src="x"></a>', "https://example.com"),
        ('<p><img src="x" alt="A hill"></p>', "A hill"),
        ("<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>", "- a\n- b\n  - c"),
        ("<ol start=9><li>a</li><li>b</li></ol>", "9. a\n10. b"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "a\n  b"),
        ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n> \n> b"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
        ("<table role=presentation><tr><td><p>a</p></td><td>b</td></tr></table>", "a\n\nb"),
        ("a<hr>b", "a\n\n------------------------------\n\nb"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("<p>a</p><div style='display: none'>hidden</div><style>p{}</style><!-- c -->", "a"),
        ("<p></p><p>\u00a0</p>", ""),
        ("<p>AT&amp;T &lt;3</p>", "AT&T <3"),
    ],
)
def test_each_element_has_its_text(html: str, text: str) -> None:
    assert text_of(html) == text


def test_lines_are_wrapped_but_links_are_never_broken() -> None:
    link = "https://example.com/" + "long-path/" * 20
    text = text_of(
        f'<p>{"word " * 60}<a href="{link}">here</a> {"word " * 30}</p><ul><li>{"item " * 40}</li></ul>'
    )
    assert f"({link})" in text.split()
    assert all(len(line) <= 78 or link in line for line in text.split("\n"))
    assert "\n  item" in text


def test_merge_tags_are_filled_in_the_text_part_without_html_escapes() -> None:
    body = '<h1>Hi {{ first_name }}</h1><p><a href="https://example.com/{{ first_name }}">A &amp; B</a></p>'
    text = compiled(body).merge({**LINKS, "first_name": "Ann & Bo"}).text
    assert text.startswith("Hi Ann & Bo\n=")
    assert "A & B (https://example.com/Ann%20%26%20Bo)" in text


@pytest.mark.parametrize(
    ("tag", "line"),
    [
        ("<blockquote>", "> " * MARKS + "x"),
        ("<ul><li>", "- " * MARKS + "x"),
        ("<ol><li>", None),
        ("<h1>", None),
        ("<section><h2>", None),
    ],
)
def test_what_stands_deep_is_not_written_anew_at_each_step(tag: str, line: str | None) -> None:
    paragraphs = "<p>x</p>" * 500
    shallow, deep = (text_of(tag * times + paragraphs) for times in (2 * MARKS, 10 * MARKS))
    assert deep == shallow
    assert line is None or line in deep.split("\n")
