"""Which links count as given, and which only look like it."""

from pathlib import Path

import pytest

from newsletter.copywriting.links import WRITTEN_OUT, KnownLinks, without_trailing

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpora" / "open-redirects.txt"

KNOWN = KnownLinks(
    [
        "See https://acme.example/autumn?a=1&b=2#top, (or www.acme.example/shop).",
        "Our shop is at lamps.example! Also http://bücher.example/käse and https://acme.example/a(b).",
        "Write to Help@acme.example.",
    ],
    ["https://Acme.example/", "https://acme.example:8443/port", "mailto:press@acme.example"],
)


@pytest.mark.parametrize(
    ("link", "given"),
    [
        ("https://acme.example", "https://Acme.example/"),
        ("HTTPS://ACME.example./", "https://Acme.example/"),
        ("http://acme.example:80", "https://Acme.example/"),
        ("//acme.example/", "https://Acme.example/"),
        ("acme.example", "https://Acme.example/"),
        ("https://acme.example/./x/../", "https://Acme.example/"),
        ("https://acme.example/%61utumn?a=1&b=2#top", "https://acme.example/autumn?a=1&b=2#top"),
        ("https://acme.example/autumn/?a=1&b=2#top", "https://acme.example/autumn?a=1&b=2#top"),
        ("https://www.acme.example/shop", "https://www.acme.example/shop"),
        ("https://lamps.example", "https://lamps.example"),
        ("https://acme.example/a(b)", "https://acme.example/a(b)"),
        ("https://xn--bcher-kva.example/k%C3%A4se", "http://bücher.example/käse"),
        ("http://BÜCHER.example/käse", "http://bücher.example/käse"),
        ("https://acme.example:8443/port", "https://acme.example:8443/port"),
        ("mailto:help@ACME.example", "mailto:Help@acme.example"),
        ("help@acme.example", "mailto:Help@acme.example"),
        ("mailto:press@acme.example?subject=x&bcc=all@evil.test", "mailto:press@acme.example"),
    ],
)
def test_another_spelling_of_a_given_link_becomes_the_given_one(link: str, given: str) -> None:
    assert KNOWN.find(link) == given


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.test/",
        "https://acme.example/other",
        "https://acme.example/autumn",
        "https://acme.example/autumn?a=1&b=2",
        "https://acme.example/autumn?a=1&b=2&utm_source=x#top",
        "https://acme.example/AUTUMN?a=1&b=2#top",
        "https://acme.example/?next=https://evil.test",
        "https://acme.example#evil",
        "https://sub.acme.example/",
        "https://acme.example.evil.test/",
        "https://acme.example@evil.test/",
        "https://user:pw@acme.example/",
        "https://evil.test\\@acme.example/",
        "https:\\\\acme.example/",
        "https://acme.example:444/",
        "https://acme.example:99999/",
        "https://\u0430cme.example/",  # a Cyrillic letter that looks like an a
        "https://[::1/",
        "https:///acme.example/",
        "https:acme.example",
        "java\tscript:alert(1)",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://acme.example/",
        "tel:+431234",
        "mailto:everyone@evil.test",
        "mailto:help@acme.example,all@evil.test",
        "https://acme.example/%2e%2e%2fadmin",
        "#",
        "/shop",
        "",
        "https://acme.example/" + "a" * 5_000,
    ],
)
def test_no_other_link_is_known(link: str) -> None:
    assert KNOWN.find(link) is None


def test_all_given_links_can_be_listed() -> None:
    assert list(KNOWN) == [
        "https://Acme.example/",
        "https://acme.example:8443/port",
        "https://acme.example/autumn?a=1&b=2#top",
        "https://www.acme.example/shop",
        "http://bücher.example/käse",
        "https://acme.example/a(b)",
        "https://lamps.example",
        "mailto:press@acme.example",
        "mailto:Help@acme.example",
    ]


def test_public_redirect_tricks_are_foreign() -> None:
    if not CORPUS.exists():
        pytest.skip("the corpora are not at ../shared/corpora")
    tricks = [line for line in CORPUS.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(tricks) > 100
    known = KnownLinks(["www.whitelisteddomain.tld"], [])
    for trick in tricks:
        for link in (trick, "https:" + trick, "https://www.whitelisteddomain.tld" + trick):
            found = known.find(link)
            # What is found is written as it was given, whatever the trick said.
            assert found in (None, "https://www.whitelisteddomain.tld"), link


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.test/x",
        "HTTPS:/evil.test",
        "www.evil.test",
        "evil.test/login",
        "ftp://evil.test",
        "a@evil.test",
    ],
)
def test_what_a_mail_program_would_link_is_seen(text: str) -> None:
    match = WRITTEN_OUT.search(f"Go to {text}. Now")
    assert match is not None
    assert without_trailing(match.group()) == text


@pytest.mark.parametrize(
    "text",
    ["Node.js is fine", "and/or", "at 10.30/11.30", "e.g. this", "Booking.com grows", "index.html/x", "a@b"],
)
def test_names_are_no_links(text: str) -> None:
    assert WRITTEN_OUT.search(text) is None


def test_long_texts_are_searched_in_linear_time() -> None:
    for text in (
        "a" * 200_000,
        "a." * 100_000,
        "a@" * 100_000,
        "a-" * 100_000,
        "https:" * 30_000,
        "www" * 60_000,
    ):
        assert len(list(WRITTEN_OUT.finditer(text))) <= 1
