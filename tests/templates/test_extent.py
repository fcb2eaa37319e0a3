"""How much HTML there is, is known before a parser sees it."""

import pytest

from newsletter.templates.extent import MAX_ATTRIBUTES, elements, require_few
from newsletter.templates.merge import MergeTagInvalid
from newsletter.templates.sanitise import sanitise_body
from newsletter.templates.whole import compile_whole

MANY = " ".join(f"a{number}=1" for number in range(5_000))


@pytest.mark.parametrize(
    "html",
    [
        f"<p>x</p>\n<a {MANY}>y</a>",
        f"<a {MANY.replace('=1', '')}>y</a>",
        f"<a/{MANY.replace('=1', '').replace(' ', '/')}>y</a>",
        # What another reader might take for the end of the tag, or for the beginning of a value.
        "<a " + MANY.replace("a7=1", "a7='>'").replace("a5=1", 'a5="<b>"') + ">y</a>",
        f"<a == {MANY}>y</a>",
        f'<!-- <a title=" --><a {MANY}>y</a> "',
        f"<a title=x'y {MANY} z='>",
        f"<A\t{MANY}",
    ],
)
def test_a_tag_of_thousands_of_attributes_is_refused(html: str) -> None:
    with pytest.raises(MergeTagInvalid, match=f"more than {MAX_ATTRIBUTES} attributes"):
        require_few(html)


def test_mails_of_any_length_pass() -> None:
    row = (
        '<tr><td style="a: b; c: d" class="x y z" title="1 > 2 <b">words without a tag, and more</td></tr>\n'
    )
    require_few(row * 4_000)
    require_few("word " * 100_000)
    require_few("<" * 400_000)


def test_both_ways_to_compile_refuse_it_by_its_line() -> None:
    html = f"<p>x</p>\n<a {MANY}>y</a>"
    with pytest.raises(MergeTagInvalid, match="attributes") as refused:
        compile_whole(subject="x", html=html, text=None, allowed=())
    assert (refused.value.line, refused.value.part) == (2, "body")
    with pytest.raises(MergeTagInvalid, match="attributes"):
        sanitise_body(html)


def test_elements_are_counted_wherever_they_stand() -> None:
    assert elements("<p>a</p><br><B/>x <!-- <i> --> 1 < 2 <") == 4
