"""UTM parameters on links: which links get them, what stays, and that no recipient pays for them."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.accounts.schemas import UTM
from newsletter.delivery import utm
from newsletter.templates.branding import Branding
from newsletter.templates.compile import Compiled
from newsletter.templates.whole import compile_whole

ADDED = {"utm_source": "news", "utm_campaign": "March & April"}
QUERY = "utm_source=news&utm_campaign=March%20%26%20April"


def compiled(html: str | None, text: str | None = None, branding: Branding | None = None) -> Compiled:
    names = {"first_name", "city", "shop_url", "unsubscribe_url", "view_in_browser_url"}
    return compile_whole(subject="Hi", html=html, text=text, allowed=names, branding=branding)


def merged_html(html: str, **values: str) -> str:
    return utm.tagged(compiled(html), ADDED).merge(values).html


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org", f"https://example.org?{QUERY}"),
        ("https://example.org/?", f"https://example.org/?{QUERY}"),
        ("https://example.org/a?b=1", f"https://example.org/a?b=1&{QUERY}"),
        ("https://example.org/a?b=1&", f"https://example.org/a?b=1&{QUERY}"),
        ("https://example.org/a#part", f"https://example.org/a?{QUERY}#part"),
        ("https://example.org/a?b=1#part?c", f"https://example.org/a?b=1&{QUERY}#part?c"),
        ("HTTP://example.org/", f"HTTP://example.org/?{QUERY}"),
        # What the link says itself wins, however it is written.
        (
            "https://example.org/?utm_source=own",
            "https://example.org/?utm_source=own&utm_campaign=March%20%26%20April",
        ),
        ("https://example.org/?UTM_Source=a;utm_campaign", "https://example.org/?UTM_Source=a;utm_campaign"),
        (
            "https://example.org/?utm%5fsource=a&utm_campaign=",
            "https://example.org/?utm%5fsource=a&utm_campaign=",
        ),
        ("mailto:hello@example.org?subject=Hi", "mailto:hello@example.org?subject=Hi"),
        ("tel:+4912345", "tel:+4912345"),
        ("#part", "#part"),
        ("/relative", "/relative"),
        ("", ""),
    ],
)
def test_a_link_keeps_what_it_has(url: str, expected: str) -> None:
    assert utm.with_parameters(url, ADDED) == expected
    assert utm.with_parameters(expected, ADDED) == expected


@given(
    query=st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Z"], exclude_characters="#")),
    fragment=st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Z"])),
)
def test_nothing_of_any_link_is_lost(query: str, fragment: str) -> None:
    url = f"https://www.example.org/lamps?{query}#{fragment}"
    found, before = urlsplit(utm.with_parameters(url, ADDED)), urlsplit(url)
    assert (found.netloc, found.path, found.fragment) == (before.netloc, before.path, before.fragment)
    assert found.query.startswith(before.query.rstrip("&"))
    names = {name.lower() for name, _ in parse_qsl(found.query.replace(";", "&"), keep_blank_values=True)}
    assert names >= ADDED.keys()


def test_html_gets_them_escaped_and_keeps_the_rest_of_the_source() -> None:
    source = """<P Class=x>Hi <a title='a>b' href='https://example.org/?a=1&amp;b=2'>x</a> <img src="https://example.org/i.png"></P>"""
    escaped = QUERY.replace("&", "&amp;")
    assert merged_html(source) == source.replace(
        "'https://example.org/?a=1&amp;b=2'", f"'https://example.org/?a=1&amp;b=2&amp;{escaped}'"
    )


def test_parameters_that_look_like_entities_are_kept() -> None:
    source = '<a href="https://shop.example/?id=1&region=x&copy=2">x</a>'
    escaped = QUERY.replace("&", "&amp;")
    assert f'"https://shop.example/?id=1&amp;region=x&amp;copy=2&amp;{escaped}"' in merged_html(source)


def test_a_condition_inside_an_attribute_does_not_end_it() -> None:
    html = """<p title="{% if city %}<a href='https://example.org/'>{% endif %}">x</p>"""
    assert "href='https://example.org/?utm" in merged_html(html, city="Oslo")


def test_a_value_inside_a_link_stays_where_it_is() -> None:
    html = '<a href="https://example.org/{{ city }}?who={{ first_name }}#{{ city }}">x</a>'
    found = merged_html(html, city="A/B", first_name="Ada & Co")
    escaped = QUERY.replace("&", "&amp;")
    assert f'"https://example.org/A%2FB?who=Ada%20%26%20Co&amp;{escaped}#A%2FB"' in found


def test_links_that_a_value_or_a_condition_supplies_are_left_alone() -> None:
    html = (
        '<a href="{{ unsubscribe_url }}">leave</a><a href="{{ shop_url }}">shop</a>'
        '<a href="https://example.org/{% if city %}?c={{ city }}{% endif %}">c</a>'
    )
    values = {"unsubscribe_url": "https://news.example.com/u/t", "shop_url": "https://shop.example.org"}
    assert merged_html(html, **values, city="Oslo") == compiled(html).merge({**values, "city": "Oslo"}).html


def test_links_inside_a_condition_get_them() -> None:
    html = (
        '{% if city %}<a href="https://example.org/a">a</a>'
        '{% else %}<a href="https://example.org/b">b</a>{% endif %}'
    )
    assert "https://example.org/a?utm_source=news" in merged_html(html, city="Oslo")
    assert "https://example.org/b?utm_source=news" in merged_html(html)


def test_the_plain_text_that_is_made_of_it_has_the_same_links() -> None:
    html = (
        '<p>Read <a href="https://example.org/a#b">this</a>. '
        '<a href="https://example.org/my file.pdf">File</a>, <a href="https://example.org/list?">list</a>. '
        'Write to <a href="mailto:a@example.org">us</a>.</p>'
    )
    text = utm.tagged(compiled(html), ADDED).merge({}).text
    words = " ".join(text.split())
    assert f"this (https://example.org/a?{QUERY}#b)" in words
    assert f"File (https://example.org/my%20file.pdf?{QUERY})" in words
    assert f"list (https://example.org/list?{QUERY})" in words
    assert "a@example.org?" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See https://example.org/a.", f"See https://example.org/a?{QUERY}."),
        ("(https://example.org/a?b=1), then", f"(https://example.org/a?b=1&{QUERY}), then"),
        ("<https://example.org>", f"<https://example.org?{QUERY}>"),
        ("Is it https://example.org/?", f"Is it https://example.org/?{QUERY}?"),
        # A name may hold spaces and full stops: where this link ends is for its author to know.
        ("https://example.org/{{ first_name }} ok", "https://example.org/Ada ok"),
        ("{{ unsubscribe_url }}", "https://news.example.com/u/t"),
        ("mail a@example.org", "mail a@example.org"),
        ("(see https://example.org/a), then", f"(see https://example.org/a?{QUERY}), then"),
        ("https://example.org/Python_(language)", f"https://example.org/Python_(language)?{QUERY}"),
        ("https://example.org/o'neil", f"https://example.org/o'neil?{QUERY}"),
        (
            "{% if first_name %}https://example.org{% else %}https://example.com{% endif %}/path",
            "https://example.org/path",
        ),
    ],
)
def test_an_authors_own_text(text: str, expected: str) -> None:
    values = {"first_name": "Ada", "unsubscribe_url": "https://news.example.com/u/t"}
    assert utm.tagged(compiled(None, text), ADDED).merge(values).text.strip() == expected


def test_a_text_of_brackets_alone_is_read_once() -> None:
    """Counting anew at each bracket would take minutes."""
    text = "https://example.org/" + "(" * 200_000 + ")" * 200_001
    found = utm.tagged(compiled(None, text), ADDED).merge({}).text.strip()
    assert found == f"{text[:-1]}?{QUERY})"


def test_the_footer_of_marketing_is_left_alone() -> None:
    branding = Branding(brand_name="Acme", postal_address="1 Main Street")
    html = "<p>Hello</p>"
    plain, longer = compiled(html, branding=branding), utm.tagged(compiled(html, branding=branding), ADDED)
    values = {
        "unsubscribe_url": "https://news.example.com/u/t",
        "view_in_browser_url": "https://news.example.com/v/t",
    }
    assert longer.merge(values) == plain.merge(values)


def test_a_mail_stays_as_cheap_to_fill_as_it_was() -> None:
    """As many slots as before, and still no conditions: all was done when it was compiled."""
    before = compiled('<p>{{ first_name }} <a href="https://example.org/{{ city }}">x</a></p>')
    after = utm.tagged(before, ADDED)
    assert after.is_plain
    assert len(after.html.slots) == len(before.html.slots)
    assert Compiled.from_json(after.to_json()) == after
    assert utm.tagged(before, {}) is before


def test_the_nearest_wins_member_by_member_and_null_takes_away() -> None:
    project = {"source": "news", "medium": "email", "campaign": "{{ campaign_name }} / {{list_name}}"}
    own = {"source": "own", "medium": None, "term": "{{campaign_id}}"}
    values = {"campaign_name": "March", "list_name": "Readers", "campaign_id": "cmp_1"}
    assert utm.parameters(project, own, values=values) == {
        "utm_source": "own",
        "utm_campaign": "March / Readers",
        "utm_term": "cmp_1",
    }
    # Nobody knows a campaign of a single mail.
    assert utm.parameters({"campaign": "{{campaign_name}}"}) == {}
    assert list(UTM.model_fields) == ["source", "medium", "campaign", "term", "content"]


def test_a_value_is_cut_once_its_tokens_are_filled() -> None:
    """Two hundred characters may name a campaign of two hundred eleven times."""
    values = {"campaign_name": "x" * 199 + " y"}
    found = utm.parameters(
        {"term": "{{campaign_name}}" * 11, "content": "{{ campaign_name }}"}, values=values
    )
    assert found["utm_term"] == found["utm_content"] == "x" * 199


def test_a_mail_of_many_links_grows_by_no_more_than_its_limit() -> None:
    link = '<a href="https://example.org/">x</a>'
    added = {f"utm_{name}": "\N{WAVING HAND SIGN}" * 200 for name in UTM.model_fields}
    before = compiled(link * 2_000)
    after = utm.tagged(before, added)
    for one, two in ((before.html, after.html), (before.text, after.text)):
        grown = len(two.merge({})) - len(one.merge({}))
        assert utm.MAX_ADDED * 0.9 < grown < utm.MAX_ADDED * 1.01
    html = after.html.merge({})
    assert html.startswith('<a href="https://example.org/?utm_source=')
    assert html.endswith(link)
    # As many links as a mail of flesh and blood may have get all of theirs.
    usual = utm.tagged(compiled(link * 2_000), {"utm_source": "x" * 100})
    assert usual.html.merge({}).count("utm_source") == 2_000
