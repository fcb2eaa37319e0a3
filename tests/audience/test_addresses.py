"""Addresses and names of the world, of the standards' corner cases, and of attackers."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from newsletter.kit import address
from tests.client import Client

CORPORA = Path(__file__).parents[2].parent / "shared" / "corpora"

VALID = {
    "user.name+tag@example.com": "user.name+tag@example.com",
    "USER@EXAMPLE.COM": "user@example.com",
    "用户@例子.test": "用户@xn--fsqu00a.test",
    "δοκιμή@παράδειγμα.test": "δοκιμή@xn--hxajbheg2az3al.test",
    "JÖRG@Bücher.example": "jörg@xn--bcher-kva.example",
    "#!$%&'*+-/=?^_`{}|~@example.org": "#!$%&'*+-/=?^_`{}|~@example.org",
}


def corpus(name: str) -> Path:
    path = CORPORA / name
    if not path.exists():
        pytest.skip(f"the corpus {name} is not on this machine")
    return path


async def test_addresses_of_the_world_are_taken_as_they_are_spelled(client: Client, list_id: str) -> None:
    for spelling, key in VALID.items():
        made = await client.data("POST", "/subscribers", 201, json={"email": spelling, "list_id": list_id})
        assert made["email"] == spelling
        assert address.parse(spelling).key == key
    assert (await client.get("/subscribers")).json()["meta"]["total"] == len(VALID)


def isemail_cases() -> list[tuple[str, str]]:
    cases = []
    for test in ElementTree.parse(corpus("addresses-isemail.xml")).iter("test"):
        written = test.findtext("address") or ""
        # The file writes control characters as their pictures, U+2400 and on.
        text = "".join(chr(ord(each) - 0x2400) if 0x2400 <= ord(each) < 0x2421 else each for each in written)
        cases.append((text, test.findtext("category") or ""))
    return cases


def test_the_isemail_corpus_is_read_without_a_crash_and_agreed_on_where_it_matters() -> None:
    """Mail is sent to what is accepted: none of it may be an error in the corpus's eyes."""
    accepted, refused = {}, {}
    for text, category in isemail_cases():
        try:
            parsed = address.parse(text)
        except ValueError:
            refused[text] = category
            continue
        accepted[text] = category
        again = address.parse(parsed.spelling)
        assert again == parsed
        assert address.parse(parsed.key).key == parsed.key
    assert len(accepted) + len(refused) > 100
    # Surrounding white space is trimmed before we look; the corpus holds it to be an error or worse.
    wrong = {
        text for text, category in accepted.items() if category == "ISEMAIL_ERR" and text == text.strip()
    }
    assert wrong == set()
    missed = {text for text, category in refused.items() if category == "ISEMAIL_VALID_CATEGORY"}
    # Quoted local parts and bare host names are refused on purpose.
    assert all('"' in text or "." not in text.rpartition("@")[2] for text in missed), missed


async def test_naughty_strings_are_kept_or_refused_and_never_break_anything(
    client: Client, list_id: str
) -> None:
    strings: list[str] = json.loads(corpus("naughty-strings.json").read_text(encoding="utf-8"))
    rows = [
        {"email": f"u{number}@example.com", "first_name": each[:200], "custom_fields": {"note": each[:1000]}}
        for number, each in enumerate(strings)
    ]
    rows += [{"email": each} for each in strings if each]
    body = {"list_id": list_id, "subscribers": rows[:1000]}
    done = await client.data("POST", "/subscribers/batch", json=body)
    assert done["created"] > 400
    assert done["invalid"] > 0
    stored = {
        row["custom_fields"].get("note")
        for page in range(1, 7)
        for row in (await client.get("/subscribers", params={"page": page, "per_page": 100})).json()["data"]
    }
    assert len(stored & {each[:1000] for each in strings}) > 400


labels = st.text("abcXYZ019-", min_size=1, max_size=12)
tops = st.sampled_from(
    [
        "com",
        "org",
        "test",
        "invalid",
        "local",
        "localhost",
        "example",
        "onion",
        "arpa",
        "alt",
        "c",
        "co1",
        "COM",
    ]
)
locals_ = st.text("abZ09.+-_'!#$%&*/=?^`{|}~@\" é\u0130\u212a", min_size=0, max_size=70)


@given(
    local=locals_,
    domain=st.lists(labels, min_size=0, max_size=4),
    top=tops,
    ends=st.sampled_from(["", " ", "\n", "."]),
)
@example(local="a" * 64, domain=["b" * 63, "c" * 63, "d" * 57], top="com", ends="")
@example(local="a" * 64, domain=["b" * 63, "c" * 63, "d" * 58], top="com", ends="")
@example(local="a" * 65, domain=["b"], top="com", ends="")
@example(local="a", domain=["b" * 64], top="com", ends="")
@example(local="a", domain=["xn--bcher-kva"], top="example", ends="")
@example(local="a", domain=["ab--cd"], top="com", ends="")
def test_the_short_way_says_what_the_long_way_says(
    local: str, domain: list[str], top: str, ends: str
) -> None:
    text = f"{local}@{'.'.join([*domain, top])}{ends}"

    def said(way: Callable[[str], address.Address], given_text: str) -> address.Address | str:
        try:
            return way(given_text)
        except ValueError as error:
            return str(error)

    assert said(address.parse, text) == said(address.parse_fully, text.strip())


@pytest.mark.parametrize("label", ["ü", "xn--tda", "XN--TDA"])
@pytest.mark.parametrize("dot", [".", "\u3002", "\uff0e", "\uff61"])
def test_of_a_domain_of_very_many_foreign_labels_none_is_encoded(
    dot: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of them would keep everybody else waiting while they are."""
    few = dot.join([label] * address.MOST_FOREIGN_LABELS) + ".test"
    assert address.parse_anew(f"a@{few}").key.count("xn--") == address.MOST_FOREIGN_LABELS
    parsed = list[str]()
    monkeypatch.setattr(address, "validate_email", lambda text, **how: parsed.append(text))
    with pytest.raises(ValueError, match="at most 10 parts"):
        address.parse_anew(f"a@{dot.join([label] * 30)}.test")
    assert parsed == []
