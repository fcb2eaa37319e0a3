"""The personalisation language: what it says, what it refuses, where values stay values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.templates import merge
from newsletter.templates.escaping import Place, escape
from newsletter.templates.merge import BUILT_IN_FIELDS, MergeTagInvalid
from newsletter.templates.slots import MergeTemplate
from tests.templates.samples import corpus, names_used

FIELDS = BUILT_IN_FIELDS | {"plan", "age", "city"}


def fill(text: str, **values: str) -> str:
    return merge.compile_line(text, FIELDS, {}).merge(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi {{first_name}}", "Hi Ann"),
        ("Hi {{ first_name | default: 'there' }}", "Hi Ann"),
        ('Hi {{ last_name | default: "there" }}', "Hi there"),
        ("Hi {{ last_name|default('there', true) }}", "Hi there"),
        ("{{ last_name | default: first_name | upper }}", "ANN"),
        ("{{ city | capitalize }} {{ city | title }}", "New york-on-sea New York-On-Sea"),
        ("{{ city | truncate: 5 | lower }}", "new…"),
        ("{%- if plan == 'pro' -%}yes{% else %}no{% endif %}", "yes"),
        ("{% if age >= 18 and not last_name %}adult{% endif %}", "adult"),
        ("{% if age < 18 %}a{% elsif age < 100 %}b{% else %}c{% endif %}", "b"),
        ("{{ 'pro member' if plan == 'pro' else 'member' }}", "pro member"),
        ("{% if plan %}{% if last_name %}x{% else %}y{% endif %}{% endif %}", "y"),
        ("{{ first_name | default: &quot;there&quot; }}", "Ann"),
        ("100 % { of } it", "100 % { of } it"),
    ],
)
def test_what_a_tag_says(text: str, expected: str) -> None:
    assert fill(text, first_name="Ann", plan="pro", age="42", city="new york-on-sea") == expected


@pytest.mark.parametrize("blank", ["", "   ", "\u00a0", "\n"])
def test_a_blank_value_counts_as_missing(blank: str) -> None:
    text = '{{ first_name | default: "there" }}{% if first_name %}!{% endif %}{{ first_name }}'
    assert fill(text, first_name=blank) == "there" == fill(text)


@pytest.mark.parametrize("value", ["false", "False", " "])
def test_a_false_field_is_false_in_a_condition(value: str) -> None:
    assert fill("{% if plan %}yes{% else %}no{% endif %}", plan=value) == "no"


def test_a_number_that_is_none_compares_as_different() -> None:
    assert fill("{% if age > 3 %}a{% endif %}{% if age != 3 %}b{% endif %}", age="old") == "b"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ first_name.upper() }}",
        "{{ first_name['x'] }}",
        "{{ 'x' * 10 }}",
        "{{ 'a' ~ 'b' }}",
        "{{ 1 + 1 }}",
        "{{ -1 }}",
        "{{ [1, 2] }}",
        "{{ {'a': 1} }}",
        "{{ first_name | attr('x') }}",
        "{{ first_name | join(',') }}",
        "{{ range(3) }}",
        "{{ first_name is defined }}",
        "{% for x in y %}{% endfor %}",
        "{% set x = 1 %}",
        "{% include 'x' %}",
        "{% macro x() %}{% endmacro %}",
        "{% raw %}{{ x }}{% endraw %}",
        "{{ first_name | truncate: 10000000 }}",
        "{{ first_name | truncate: city }}",
        "{{ first_name | default }}",
        "{{ first_name | upper: 3 }}",
        "{{ first_name",
        "{% if first_name %}",
        "{% endif %}",
        "{% if first_name %}{% else %}{% elif plan %}{% endif %}",
        "{{ }}",
        "{{ it's }}",
        "{# note #}",
        "text }} more",
        "{{{ first_name }}}",
        "{{{first_name}}",
        "{{ " + "(" * 50 + "first_name" + ")" * 50 + " }}",
        "{{ first_name" + " | upper" * 500 + " }}",
        "{{ " + "not " * 130 + "first_name }}",
        "{{ 'a\\x20b' }}",
        "{% if a %}" * 20 + "{% endif %}" * 20,
        "{{ first_name }}" * 2_001,
    ],
)
def test_what_is_no_merge_tag_is_refused(text: str) -> None:
    with pytest.raises(MergeTagInvalid):
        merge.check(text, FIELDS)


def test_an_unknown_field_is_named_with_its_line_and_the_one_that_was_meant() -> None:
    with pytest.raises(MergeTagInvalid) as raised:
        merge.check("Hello\n\n{{ frist_name }}", FIELDS)
    assert raised.value.line == 3
    assert "frist_name" in raised.value.message
    assert "'first_name'" in raised.value.message


def test_the_line_of_a_broken_tag_counts_tags_that_span_lines() -> None:
    with pytest.raises(MergeTagInvalid) as raised:
        merge.check("{{ first_name\n | upper }}\nx\n{{ broken", FIELDS)
    assert raised.value.line == 4


def test_every_name_that_an_expression_reads_is_found() -> None:
    used = names_used("{{ a | default: b }}{% if c == 'd' %}{{ 'e' if f else g }}{% endif %}")
    assert used == {"a", "b", "c", "f", "g"}


@pytest.mark.parametrize(
    ("text", "kept", "removed"),
    [
        ("Hi {{ first_name }}, {{ company }}!", "Hi {{ first_name }}, !", 1),
        ("{% if plan %}x{% endif %}", "{% if plan %}x{% endif %}", 0),
        ("{% if nonsense %}x{% endif %}", "x", 2),
        ("{% for x in y %}{{ first_name }}{% endfor %}", "{{ first_name }}", 2),
        ("Hi {{ first_name", "Hi  first_name", 0),
        ("{# a #}b", "b", 1),
        ("{{{ first_name }}}", "", None),
    ],
)
def test_a_models_unknown_tags_are_removed(text: str, kept: str, removed: int | None) -> None:
    stripped, gone = merge.strip_unknown(text, FIELDS)
    merge.check(stripped, FIELDS)
    if removed is not None:
        assert stripped == kept
        assert len(gone) == removed


@given(st.text(alphabet="{}%# \n'\"|:xif", max_size=60))
def test_what_is_left_of_a_models_text_always_compiles(text: str) -> None:
    stripped, _ = merge.strip_unknown(text, FIELDS)
    filled = merge.compile_line(stripped, FIELDS, {}).merge({"first_name": "Ann"})
    assert "{{" not in filled
    assert "{%" not in filled


def test_template_injections_are_refused_or_stay_text() -> None:
    for line in corpus("template-injection.txt").splitlines():
        try:
            filled = fill(line)
        except MergeTagInvalid:
            pass
        else:
            # No tag of ours was in it: it arrives as it was written, nothing was computed.
            assert filled == " ".join(line.split("\t")).strip(), line
        stripped, _ = merge.strip_unknown(line, FIELDS)
        assert "{{" not in fill(stripped)
        assert "49" not in fill(stripped) or "49" in line


VALUES = st.text(max_size=40)
TEXTS = st.lists(
    st.one_of(
        st.text(alphabet="ab {}%#<&\n", max_size=6),
        st.sampled_from(
            ["{{first_name}}", "{{ plan | upper }}", "{% if plan %}", "{% else %}", "{% endif %}"]
        ),
    ),
    max_size=8,
).map("".join)


@given(TEXTS, VALUES, VALUES)
def test_no_brace_of_a_tag_reaches_a_reader(text: str, first_name: str, plan: str) -> None:
    try:
        template = merge.compile_line(text, FIELDS, {})
    except MergeTagInvalid:
        return
    filled = template.merge({"first_name": first_name, "plan": plan})
    assert "{{" not in filled
    assert "{%" not in filled


@given(VALUES)
def test_a_value_never_breaks_a_header_line(value: str) -> None:
    filled = fill("Hi {{ first_name }}!", first_name=value)
    assert filled.startswith("Hi")
    assert len(filled.splitlines()) == 1
    assert not {"\r", "\n", "\0", "\u202e", "\u2066"} & set(filled)


def test_naughty_strings_and_header_injections_stay_on_one_line() -> None:
    values = [*json.loads(corpus("naughty-strings.json")), *corpus("crlf.txt").splitlines()]
    values += ["Ann\r\nBcc: all@example.com", "Ann\u2028Bcc: x", "Ann\x85Bcc: x"]
    for value in values:
        filled = fill("{{ first_name }}", first_name=str(value))
        assert len(filled.splitlines()) <= 1, value
        filled.encode()  # No lone surrogate is left.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://example.com/a?b=1&c=ü", "https://example.com/a?b=1&amp;c=%C3%BC"),
        ("mailto:ann@example.com", "mailto:ann@example.com"),
        ("javascript:alert(1)", "#"),
        ("JaVaScRiPt:alert(1)", "#"),
        ("java\nscript:alert(1)", "#"),
        ("\x01javascript:alert(1)", "#"),
        ("data:text/html,x", "#"),
        ("//evil.example.com", "#"),
        ("/path", "#"),
        ("https://example.com/\"onclick='x'", "https://example.com/%22onclick=&#x27;x&#x27;"),
        ("", ""),
    ],
)
def test_a_value_that_is_a_link_needs_a_scheme_that_mails_may_hold(value: str, expected: str) -> None:
    assert escape(value, Place.URL) == expected


def test_a_value_inside_a_link_is_one_part_of_it() -> None:
    assert escape("a/b?c=d&e#f:g", Place.URL_PART) == "a%2Fb%3Fc%3Dd%26e%23f%3Ag"


def test_the_compiled_form_survives_json() -> None:
    text = "{% if age > 18 or not plan %}{{ first_name | default: 'x' | truncate: 9 }}"
    text += "{% else %}{{ plan }}{% endif %}!"
    template = merge.compile_line(text, FIELDS, {})
    again = MergeTemplate.from_json(json.loads(json.dumps(template.to_json())))
    assert again == template
    assert not again.is_plain
    assert again.merge({"age": "19"}) == "x!"


@pytest.mark.parametrize("data", [None, {}, [1], [["if"]], [["x", "y"]], [["t", ["|", "exec", "a"]]]])
def test_a_damaged_compiled_form_is_refused(data: object) -> None:
    with pytest.raises(ValueError):
        MergeTemplate.from_json(data)


def test_only_conditions_leave_the_fast_path() -> None:
    assert merge.compile_line("Hi {{ first_name | upper }}", FIELDS, {}).is_plain
    assert merge.compile_line("{% if a %}x{% endif %}", FIELDS | {"a"}, {"a": "1"}).is_plain
    assert not merge.compile_line("{% if plan %}x{% endif %}", FIELDS, {}).is_plain
