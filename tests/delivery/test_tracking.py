"""Which attributes of a page are links, what address stands in them, and that hostile pages take no time."""

import pytest

from newsletter.delivery import tracking


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Parameters that begin as old names of characters do, which need no semicolon in text.
        ("https://shop.example/?id=1&region=x", "https://shop.example/?id=1&region=x"),
        (
            "https://a.example/?a&param=1&currency=2&section=3&times=4&timestamp=5&notify=6&copy=7&lt=8&reg=9",
            "https://a.example/?a&param=1&currency=2&section=3&times=4&timestamp=5&notify=6&copy=7&lt=8&reg=9",
        ),
        ("/?a&copy2&reg9&lt", "/?a&copy2&reg9<"),
        ("/?a&amp;b&amp=1&amp;copy=2", "/?a&b&amp=1&copy=2"),
        ("/&notit;&notin;&reg;x&reg-", "/&notit;∉®x®-"),
        ("/&unknown;&Unknown&;&", "/&unknown;&Unknown&;&"),
        ("/&#38;&#x26;&#X26;&#0038&#38b", "/&&&&&b"),
        ("/&#1114112;&#0;&#xd800;&#", "/���&#"),
        (f"/&#{'9' * 5_000};&#x{'f' * 5_000};&#{'0' * 5_000}65;", "/��A"),
        (" /a\n", "/a"),
        # What takes the place of a stand-in may be a letter.
        ("/?a&reg\0000\0=1&amp;\0000\0", "/?a&reg\0000\0=1&\0000\0"),
    ],
)
def test_an_address_is_read_as_browsers_read_an_attribute(source: str, expected: str) -> None:
    assert tracking.address(source) == expected


MSO = '<!--[if mso]><a href="N"><![endif]--><!--[if !mso]><!--><a href="[L]"><!--<![endif]-->'
OPEN = '<!--><a href="[L]"><!---><a href="[L]"><!-- --!><a href="[L]">'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<a href="L">', '<a href="[L]">'),
        ("<A class=x HREF = 'L' id=y>", "<A class=x HREF = '[L]' id=y>"),
        ("<a href=L>", '<a href="[L]">'),
        ("<a href=http://a/ >", '<a href="[http://a/]" >'),
        ("<area\nhref=L/>", '<area\nhref="[L/]">'),
        ("<a/href=L>", '<a/href="[L]">'),
        # A link is what an attribute says, not what looks like one.
        ("""<a title=" href='http://a/'" href="L">""", """<a title=" href='http://a/'" href="[L]">"""),
        ("""<a title=a"b href="L">""", """<a title=a"b href="[L]">"""),
        ("""<a data-href="N" =href="N" href="L">""", """<a data-href="N" =href="N" href="[L]">"""),
        ('<a title=">" href="L">', '<a title=">" href="[L]">'),
        ('<a href="L" href="N">', '<a href="[L]" href="N">'),
        ('<!-- <a href="N"> --><a href="L">', '<!-- <a href="N"> --><a href="[L]">'),
        ('<!--[if mso]><a href="N"><![endif]--><!--[if !mso]><!--><a href="L"><!--<![endif]-->', MSO),
        ('<!--><a href="L"><!---><a href="L"><!-- --!><a href="L">', OPEN),
        ("""<img alt="<a href='N'>"><a href="L">""", """<img alt="<a href='N'>"><a href="[L]">"""),
        ("""</p title="<a href='N'>"><a href="L">""", """</p title="<a href='N'>"><a href="[L]">"""),
        (
            '<title><a href="N"></titles></title><a href="L">',
            '<title><a href="N"></titles></title><a href="[L]">',
        ),
        (
            '<style>a{content:"<a href=N>"}</STYLE ><a href=L>',
            '<style>a{content:"<a href=N>"}</STYLE ><a href="[L]">',
        ),
        ('<!doctype html "><?x "><a href="L">', '<!doctype html "><?x "><a href="[L]">'),
        ('1 < 2 <3 <> </> <a href="L">', '1 < 2 <3 <> </> <a href="[L]">'),
        ('<!-- <a href="N">', None),
        ('<script><a href="N">', None),
        ('<a href>x<a href=>y<abbr href="N"><a-b href="N"><img src="N">', None),
        ('<a title="x" href="N"', None),
        ('<a href="N', None),
    ],
)
def test_the_links_of_a_page_are_the_first_href_of_each_anchor(source: str, expected: str | None) -> None:
    assert tracking.rewrite(source, lambda value: f"[{value}]") == (expected or source)


def test_what_stays_as_it_was_keeps_its_source() -> None:
    source = "<a href=L><a href='L'>"
    assert tracking.rewrite(source, lambda value: value) == source


@pytest.mark.parametrize(
    "begin",
    [
        "<a ",
        '<a x="',
        "<a x='",
        "<a x=",
        "<a x" + " " * 100,
        "<a &",
        "<a x='\" ",
        "<a =\"'",
        "<p ",
        "<!-",
        "<!--",
        "<!",
        "</",
        "<title>",
        "<title></title x='>",
    ],
)
def test_tags_that_never_end_are_read_once(begin: str) -> None:
    """Each of them would take minutes if every beginning were read to the end of the text."""
    source = begin * (500_000 // len(begin))
    assert tracking.rewrite(source, lambda value: value) == source
