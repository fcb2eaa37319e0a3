"""Errors of custom templates, each with the line an author finds it on."""

import pytest

from newsletter.templates.layouts import Problem
from newsletter.templates.lint import check
from tests.templates.samples import LAYOUT


def lines(source: str) -> list[int | None]:
    return [problem.line for problem in check(source)]


def one(source: str, **options: object) -> Problem:
    found = check(source, **options)  # type: ignore[arg-type]
    assert len(found) == 1, found
    return found[0]


def at_line_5(markup: str) -> str:
    """A template whose fifth line, inside the column, is ``markup``."""
    return LAYOUT.replace("      <mj-column>\n", f"      <mj-column>\n{markup}\n")


def test_a_good_template_has_no_problem() -> None:
    assert check(LAYOUT) == []


@pytest.mark.parametrize(
    "markup",
    [
        "<mj-text>a<br>b &nbsp; &copy; 2026 & more</mj-text>",
        '<mj-image src="https://example.com/a.png?b=1&c=2" />',
        '<mj-image src="{{ logo_url }}" href="https://example.com/{{ city }}" alt="{{ city }}" />',
        '<mj-button href="mailto:a@example.com">Write</mj-button>',
        "<mj-table><tr><th>a</th></tr><tr><td>b</td></tr></mj-table>",
        '<mj-social><mj-social-element src="https://example.com/x.png">x</mj-social-element></mj-social>',
        '<mj-navbar><mj-navbar-link href="https://example.com">x</mj-navbar-link></mj-navbar>',
        "<mj-accordion><mj-accordion-element><mj-accordion-title>a</mj-accordion-title></mj-accordion-element></mj-accordion>",
        "{% if logo_url %}<mj-divider />{% else %}<mj-spacer />{% endif %}",
        "<mj-text>{% if city %}<p>In {{ city | upper }}</p>{% endif %}</mj-text>",
        "<mj-spacer height='1px' /><!-- <mj-nonsense> -->",
    ],
)
def test_what_templates_may_hold(markup: str) -> None:
    assert check(at_line_5(markup)) == []


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("<mj-txt>a</mj-txt>", "no element <mj-txt>"),
        ("<mj-section></mj-section>", "<mj-section> cannot stand in <mj-column>; it belongs in"),
        ("<p>a</p>", "use an <mj-text>"),
        ("loose text", "'loose text'"),
        ("{{ city }}", "a merge tag; use an <mj-text>"),
        ("{% if city %}<mj-text>a</mj-text>{% endif %}", "a merge tag; use an <mj-text>"),
        ("<mj-include path='./x.mjml' />", "mj-include"),
        ("<mj-raw><p>x</p></mj-raw>", "<mj-raw> cannot stand"),
        ("<mj-text><script>alert(1)</script></mj-text>", "<script>"),
        ("<mj-text><iframe src='https://x'></iframe></mj-text>", "<iframe>"),
        ("<mj-text><p onclick='x()'>a</p></mj-text>", "onclick"),
        ("<mj-text><a href='javascript:alert(1)'>a</a></mj-text>", "javascript:alert(1)"),
        ("<mj-text><mj-button>a</mj-button></mj-text>", "<mj-button> cannot stand"),
        ("<mj-text><p style='color:{{ city }}'>a</p></mj-text>", "in a style"),
        ("<mj-button href='java{{ city }}script:x'>a</mj-button>", "must begin with https://"),
        ("<mj-image src='data:image/png;base64,x' />", "must begin with https://"),
        ("<mj-text color='red;position:fixed'>a</mj-text>", "'color' is not allowed"),
        ("<mj-text color='red&#59;position:fixed'>a</mj-text>", "'color' is not allowed"),
        ("<mj-text padding='-900px'>a</mj-text>", "'padding' is not allowed"),
        ("<mj-text color='{{ city }}'>a</mj-text>", "cannot stand in 'color'"),
        ("<mj-text>{{ 1 + 1 }}</mj-text>", "uses something"),
        ("<mj-text>{{ content }} again</mj-text>", "stands alone"),
        ("<mj-text>{% if city %}a</mj-text>", "never closed"),
        ("<mj-social><mj-social-element name='x'>x</mj-social-element></mj-social>", "needs a src"),
        ("<mj-carousel><mj-carousel-image src='ftp://x' /></mj-carousel>", "must begin with https://"),
        ("<!DOCTYPE x>", "<!DOCTYPE"),
        ("<!ENTITY x 'y'>", "<!ENTITY"),
        ("<mj-text><![CDATA[ x ]]></mj-text>", "<![CDATA["),
        ("<?php x ?>", "<?"),
    ],
)
def test_a_problem_is_found_on_its_line(markup: str, words: str) -> None:
    found = check(at_line_5(markup))
    assert words in found[0].message or any(words in problem.message for problem in found), found
    assert any(problem.line == 5 for problem in found), found


def test_a_problem_of_an_element_over_several_lines_has_the_line_it_begins_on() -> None:
    assert one(at_line_5("<mj-text\n  color='red;x'\n  align='left'>\n  a</mj-text>")).line == 5


def test_tags_over_several_lines_do_not_move_the_lines_after_them() -> None:
    source = at_line_5("<mj-text>{{ city\n | upper }}{% if\n city %}\n{% endif %}</mj-text>\n<mj-oops />")
    assert one(source).line == 9


def test_a_part_that_a_condition_cuts_out_keeps_its_lines_and_is_checked_too() -> None:
    source = at_line_5("{% if logo_url %}\n<mj-oops />\n{% else %}\n<mj-ouch />\n{% endif %}")
    assert lines(source) == [6, 8]


def test_unclosed_elements_say_where() -> None:
    found = one(LAYOUT.replace("</mj-column>\n", "\n"))
    assert found.line == 7
    assert "mj-column" in found.message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", ""),
        ("<html></html>", "begins with <mjml>"),
        ("<mjml></mjml>", "exactly one <mj-body>"),
        ("<mjml><mj-body></mj-body><mj-body></mj-body></mjml>", "exactly one <mj-body>"),
        (LAYOUT.replace("{{ content }}", "x"), "exactly once, not 0"),
        (at_line_5("<mj-text>{{ content }}</mj-text>"), "exactly once, not 2"),
        (LAYOUT.replace("{{ content }}", "{{ content | upper }}"), "exactly once"),
        (LAYOUT.replace("mj-text", "mj-button"), "stands alone in an <mj-text>"),
        ("<mjml>" + "<mj-body>" * 60, ""),
        ("x" * 300_001, "longer than"),
        ("<!DOCTYPE mjml [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]>" + LAYOUT, "<!DOCTYPE"),
    ],
)
def test_what_is_no_template_is_refused(source: str, words: str) -> None:
    assert any(words in problem.message for problem in check(source))


def test_deep_nesting_is_refused() -> None:
    deep = at_line_5("<mj-text>" + "<div>" * 50 + "</div>" * 50 + "</mj-text>")
    assert "deeper than" in one(deep).message


def test_what_would_take_minutes_to_compile_is_refused() -> None:
    rules = "".join(f".a{number}, .b{number} {{ color: red }}" for number in range(130))
    head = f"<mjml><mj-head>{f'<mj-style>{rules}</mj-style>' * 2}</mj-head>"
    assert "more than 500 selectors" in one(LAYOUT.replace("<mjml>", head)).message
    attributes = " ".join(f'a{number}="1"' for number in range(101))
    found = one(at_line_5(f"<mj-text {attributes}>x</mj-text>"))
    assert (found.line, found.message) == (5, "more than 100 attributes")
    found = one(at_line_5("<mj-text>x</mj-text>" * 1_000))
    assert (found.line, found.message) == (5, "more than 1,000 elements of MJML")


def test_an_unknown_field_is_named_where_the_fields_are_known() -> None:
    source = at_line_5("<mj-text>{{ headline }} {{ citi }}</mj-text>")
    assert check(source) == []
    found = check(source, fields={"city"}, variables={"headline"})
    assert found[0].line == 5
    assert "'city'" in found[0].message


def test_styles_are_checked_with_their_line() -> None:
    head = (
        "<mjml>\n<mj-head>\n<mj-style>\n.a { color: red; }\n.b {\n position: fixed }\n</mj-style>\n</mj-head>"
    )
    found = one(LAYOUT.replace("<mjml>", head))
    assert found.line == 6
    assert "position" in found.message


def test_many_problems_are_cut_short() -> None:
    assert len(check(at_line_5("\n".join(f"<mj-x{n} />" for n in range(100))))) == 20
