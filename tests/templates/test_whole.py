"""Where a merge tag stands in HTML that is its author's own, and what reading it may cost."""

import time

import pytest

from newsletter.templates import extent
from newsletter.templates.merge import MergeTagInvalid
from newsletter.templates.whole import compile_whole

MOST = 500_000
"""Characters, about as many as a mail may have."""


def merged(html: str) -> str:
    compiled = compile_whole(subject="Hi", html=html, text=None, allowed=["email"])
    return compiled.html.merge({"email": "a\"b'<c"})


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>{{ email }}</p>", "<p>a&quot;b&#x27;&lt;c</p>"),
        ("<p title='{{ email }}'>x", "<p title='a&quot;b&#x27;&lt;c'>x"),
        (
            "<!--[if mso]><p>{{ email }}</p><![endif]-->",
            "<!--[if mso]><p>a&quot;b&#x27;&lt;c</p><![endif]-->",
        ),
        ("<style>p{margin:0}</style >{{ email }}", "<style>p{margin:0}</style >a&quot;b&#x27;&lt;c"),
        ("<!-- without end {{ email }}", "<!-- without end a&quot;b&#x27;&lt;c"),
        ("1 <b and {{ email }}", "1 <b and a&quot;b&#x27;&lt;c"),
    ],
)
def test_a_value_is_harmless_where_it_stands(html: str, expected: str) -> None:
    assert merged(html) == expected


@pytest.mark.parametrize(
    ("html", "place"),
    [
        ("<style>{{ email }}</style>", "in a style sheet or script"),
        ("<style>p{} {{ email }}", "in a style sheet or script"),
        ("<SCRIPT src='x'>{{ email }}", "in a style sheet or script"),
        ("<p {{ email }}>", "inside an HTML tag"),
        ("<p class={{ email }}>", "in an attribute without quotes"),
        ("<p onclick='{{ email }}'>", "in the attribute 'onclick'"),
        ("<!-- <p {{ email }}> -->", "inside an HTML tag"),
    ],
)
def test_a_tag_is_refused_where_no_escaping_helps(html: str, place: str) -> None:
    with pytest.raises(MergeTagInvalid, match=place):
        merged(html)


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "<a b",
        "<a '",
        '<a "',
        "<style ",
        "<style a='",
        "<script>x",
        "<!--",
        "<!-- >",
        "</style ",
        "'\"<a ",
    ],
)
def test_no_source_is_read_from_each_place_to_its_end(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which would refuse some of them before they are read.
    monkeypatch.setattr(extent, "require_few", lambda html: None)
    started = time.process_time()
    merged("{{ email }}" + piece * (MOST // len(piece)))
    assert time.process_time() - started < 30  # A second at most; the square took hours.


def test_nor_is_a_tag() -> None:
    started = time.process_time()
    with pytest.raises(MergeTagInvalid):
        merged("<a {{ email }} " + "b" * MOST + ">")
    assert time.process_time() - started < 30
