"""Signed links: whom they name, what they lead to, and that no letter of them may change."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.delivery.links import MAX_TRACKED, Click, Links, MessageRef
from newsletter.kit import ids
from newsletter.kit.tokens import BadToken, Signer

KEY = "k" * 32
LINKS = Links(Signer([KEY]), "https://news.example.com", "https://t.example.com")
REF = MessageRef(UUID(int=1 << 100 | 5), 7, UUID(int=9))
URL = "https://www.example.org/lamps?ref=autumn&page=2#prices"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

uuids = st.binary(min_size=16, max_size=16).map(lambda raw: UUID(bytes=raw))
refs = st.builds(
    MessageRef, uuids, st.integers(1, 2**32 - 1), st.none() | uuids.filter(lambda one: one.int != 0)
)


def parts_of(tracked: str) -> tuple[str, str]:
    base, recipient, link = tracked.rsplit("/", 2)
    assert base == "https://t.example.com/c"
    return recipient, link


@given(ref=refs, path=st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), max_size=100))
def test_a_tracked_link_tells_the_message_and_the_address(ref: MessageRef, path: str) -> None:
    url = f"https://www.example.org/{path}"
    click = LINKS.read_click(*parts_of(LINKS.tracked(ref, url)))
    assert MessageRef.unpack(click.packed) == ref
    assert click.url.isascii()
    assert not set(click.url) & set(" \r\n\t\0")
    if url.isascii():
        assert click.url == url


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://münchen.example/straße?q=ä", "https://xn--mnchen-3ya.example/stra%C3%9Fe?q=%C3%A4"),
        ("https://user@M%C3%BCnchen.example:8080/a", "https://user@xn--mnchen-3ya.example:8080/a"),
        ("https://例え.テスト?a#b", "https://xn--r8jz45g.xn--zckzah?a#b"),
        ("https://[2001:db8::1]/ä", "https://[2001:db8::1]/%C3%A4"),
        ("https://-ä-.example/", "https://-%C3%A4-.example/"),
    ],
)
def test_a_host_of_other_letters_is_followed_by_its_ascii_name(url: str, location: str) -> None:
    ref = MessageRef(UUID(int=1), 1, None)
    assert LINKS.read_click(*parts_of(LINKS.tracked(ref, url))).url == location


@given(ref=refs)
def test_the_pixel_tells_the_message(ref: MessageRef) -> None:
    base, _, token = LINKS.opened(ref).rpartition("/")
    assert base == "https://t.example.com/o"
    assert MessageRef.unpack(LINKS.read_opened(token)) == ref


def test_the_end_of_a_tracked_link_is_the_same_for_all_recipients() -> None:
    other = MessageRef(REF.mailing_id, 8, ids.uuid7())
    assert parts_of(LINKS.tracked(REF, URL))[1] == parts_of(LINKS.tracked(other, URL))[1]
    assert parts_of(LINKS.tracked(REF, URL))[0] != parts_of(LINKS.tracked(other, URL))[0]


def _altered(token: str) -> list[str]:
    """Each letter as each other one, each bit flipped, the token shorter and longer."""
    letters = [
        token[:place] + other + token[place + 1 :]
        for place, letter in enumerate(token)
        for other in ALPHABET
        if other != letter
    ]
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    flipped = [
        urlsafe_b64encode((int.from_bytes(raw) ^ 1 << bit).to_bytes(len(raw))).rstrip(b"=").decode()
        for bit in range(len(raw) * 8)
    ]
    return [*letters, *flipped, token[:-1], token[1:], token + "A", "A" + token, "", token + "=", "é"]


@pytest.mark.parametrize("which", ["recipient", "link", "open", "unsubscribe", "view"])
def test_every_flipped_byte_is_refused(which: str) -> None:
    recipient, link = parts_of(LINKS.tracked(REF, URL))
    tokens: dict[str, tuple[str, Callable[[str], object]]] = {
        "recipient": (recipient, lambda token: LINKS.read_click(token, link)),
        "link": (link, lambda token: LINKS.read_click(recipient, token)),
        "open": (LINKS.opened(REF).rpartition("/")[2], LINKS.read_opened),
        "unsubscribe": (LINKS.unsubscribe(REF).rpartition("/")[2], LINKS.read_unsubscribe),
        "view": (LINKS.view(REF).rpartition("/")[2], LINKS.read_view),
    }
    token, read = tokens[which]
    read(token)
    for other in _altered(token):
        with pytest.raises(BadToken):
            read(other)


def test_a_token_of_one_purpose_serves_no_other() -> None:
    recipient, link = parts_of(LINKS.tracked(REF, URL))
    opened, unsubscribe, view = (
        url.rpartition("/")[2] for url in (LINKS.opened(REF), LINKS.unsubscribe(REF), LINKS.view(REF))
    )
    for token in (recipient, link, unsubscribe, view):
        with pytest.raises(BadToken):
            LINKS.read_opened(token)
    for token in (opened, recipient, link, view):
        with pytest.raises(BadToken):
            LINKS.read_unsubscribe(token)
    for token in (opened, unsubscribe, view, link):
        with pytest.raises(BadToken):
            LINKS.read_click(token, link)
    for token in (opened, unsubscribe, view, recipient):
        with pytest.raises(BadToken):
            LINKS.read_click(recipient, token)


def test_a_link_of_another_mailing_is_no_open_redirect() -> None:
    recipient, _ = parts_of(LINKS.tracked(REF, URL))
    _, foreign = parts_of(LINKS.tracked(MessageRef(ids.uuid7(), 7, REF.subscriber_id), "https://evil.test/"))
    with pytest.raises(BadToken):
        LINKS.read_click(recipient, foreign)


def test_links_sent_before_a_rotation_work_after_it() -> None:
    rotated = Links(Signer(["n" * 32, KEY]), LINKS.public_url, "https://t.example.com")
    assert rotated.read_click(*parts_of(LINKS.tracked(REF, URL))) == Click(REF.pack(), URL)
    assert rotated.read_opened(LINKS.opened(REF).rpartition("/")[2]) == REF.pack()


@pytest.mark.parametrize(
    "url",
    [
        LINKS.unsubscribe(REF),
        LINKS.view(REF),
        "mailto:sales@example.org",
        "tel:+4930123456",
        "#top",
        "",
        "javascript:alert(1)",
        "https://",
        "https://www.example.org/a b",
        "https://www.example.org/\r\nSet-Cookie: x=1",
        "https://www.example.org/" + "x" * MAX_TRACKED,
    ],
)
def test_what_is_no_link_to_the_web_or_our_own_stays_as_it_is(url: str) -> None:
    assert LINKS.tracked(REF, url) == url
