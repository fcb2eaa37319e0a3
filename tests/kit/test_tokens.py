"""URL tokens: no other bytes, no other purpose, no other spelling."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.kit.crypto import key_id
from newsletter.kit.tokens import BadToken, Signer

OLD, NEW = "old-" * 8, "new-" * 8
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(purpose=st.text(), payload=st.binary(max_size=80))
def test_a_token_gives_its_payload_back_and_is_safe_in_a_path(purpose: str, payload: bytes) -> None:
    try:
        purpose.encode()
    except UnicodeEncodeError:
        return
    signer = Signer([NEW])
    token = signer.sign(purpose, payload)
    assert signer.verify(purpose, token) == payload
    assert set(token) <= set(ALPHABET)
    assert token == Signer([NEW]).sign(purpose, payload)


def test_every_altered_character_and_every_altered_bit_fails() -> None:
    signer = Signer([NEW])
    token = signer.sign("unsubscribe", b"recipient-1234")
    for place, letter in enumerate(token):
        for other in ALPHABET:
            if other != letter:
                with pytest.raises(BadToken):
                    signer.verify("unsubscribe", token[:place] + other + token[place + 1 :])
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for bit in range(len(raw) * 8):
        altered = (int.from_bytes(raw) ^ 1 << bit).to_bytes(len(raw))
        with pytest.raises(BadToken):
            signer.verify("unsubscribe", urlsafe_b64encode(altered).rstrip(b"=").decode())


def test_a_token_of_another_purpose_fails() -> None:
    signer = Signer([NEW])
    for purpose in ("click", "", "unsubscrib", "unsubscribe "):
        with pytest.raises(BadToken):
            signer.verify(purpose, signer.sign("unsubscribe", b"1"))
    # Nor may a letter wander from the purpose into the payload.
    raw = urlsafe_b64decode(signer.sign("ab", b"cde") + "=" * 4)
    assert raw[1:4] == b"cde"
    wandered = urlsafe_b64encode(raw[:1] + b"b" + raw[1:]).rstrip(b"=").decode()
    with pytest.raises(BadToken):
        signer.verify("a", wandered)


def test_a_bound_token_is_good_only_beside_what_it_is_bound_to() -> None:
    signer = Signer([NEW, OLD])
    token = signer.sign("link", b"payload", bound_to=b"one")
    assert signer.verify("link", token, bound_to=b"one") == b"payload"
    assert Signer([NEW]).sign("link", b"payload", bound_to=b"one") == token
    for other in (b"two", b"", b"on", None):
        with pytest.raises(BadToken):
            signer.verify("link", token, bound_to=other)
    with pytest.raises(BadToken):
        signer.verify("link", signer.sign("link", b"payload"), bound_to=b"")
    # Nor may a letter wander from the binding into the payload.
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    wandered = urlsafe_b64encode(raw[:1] + b"e" + raw[1:]).rstrip(b"=").decode()
    with pytest.raises(BadToken):
        signer.verify("link", wandered, bound_to=b"on")


def test_links_sent_before_a_rotation_work_after_it() -> None:
    old, both = Signer([OLD]), Signer([NEW, OLD])
    assert both.verify("view", old.sign("view", b"1")) == b"1"
    with pytest.raises(BadToken):
        old.verify("view", both.sign("view", b"1"))
    with pytest.raises(BadToken):
        Signer([NEW]).verify("view", old.sign("view", b"1"))


def test_two_secrets_with_one_key_id_are_both_tried() -> None:
    twin = next(key for n in range(10_000) if key_id(key := f"{n:032}") == key_id(OLD))
    assert Signer([twin, OLD]).verify("view", Signer([OLD]).sign("view", b"1")) == b"1"


@pytest.mark.parametrize("size", range(8))
def test_other_spellings_of_the_same_bytes_are_refused(size: int) -> None:
    signer = Signer([NEW])
    token = signer.sign("view", b"x" * size)
    spellings = [
        token + "=",
        token + "==",
        token + "\n",
        " " + token,
        token[:5] + "!" + token[5:],
        token + "A",
    ]
    spellings += [token[:-1] + other for other in ALPHABET if other != token[-1]]
    for spelling in spellings:
        with pytest.raises(BadToken):
            signer.verify("view", spelling)


@pytest.mark.parametrize("text", ["", "A", "AA", "é" * 30, "=" * 40, "\0" * 40, "A" * 22])
def test_anything_else_is_a_bad_token(text: str) -> None:
    with pytest.raises(BadToken):
        Signer([NEW]).verify("view", text)


def test_a_signer_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Signer([])


FAMILY = ("unsubscribe", "view", "click", "open")


@given(payload=st.binary(max_size=80))
def test_a_family_signs_together_what_it_signs_one_by_one(payload: bytes) -> None:
    family = Signer([NEW]).family(FAMILY)
    tokens = [token.decode("ascii") for token in family.sign_all(payload)]
    assert tokens == [family.sign(purpose, payload) for purpose in FAMILY]
    assert [family.verify(*pair) for pair in zip(FAMILY, tokens, strict=True)] == [payload] * 4
    assert set("".join(tokens)) <= set(ALPHABET)


def test_a_token_of_a_family_is_good_for_its_own_purpose_in_its_own_family() -> None:
    signer = Signer([NEW])
    family = signer.family(FAMILY)
    others = [signer.family(FAMILY[::-1]), signer.family((*FAMILY[:3], "open "))]
    for purpose in FAMILY:
        token = family.sign(purpose, b"1")
        for wrong in set(FAMILY) - {purpose}:
            with pytest.raises(BadToken):
                family.verify(wrong, token)
        for other in others:
            if purpose != "open":
                with pytest.raises(BadToken):
                    other.verify(purpose, token)
        with pytest.raises(BadToken):
            signer.verify(purpose, token)
        with pytest.raises(BadToken):
            family.verify(purpose, signer.sign(purpose, b"1"))


def test_every_altered_bit_of_a_family_s_token_fails() -> None:
    family = Signer([NEW]).family(FAMILY)
    raw = urlsafe_b64decode(family.sign("click", b"recipient-1234") + "=" * 3)
    for bit in range(len(raw) * 8):
        altered = (int.from_bytes(raw) ^ 1 << bit).to_bytes(len(raw))
        with pytest.raises(BadToken):
            family.verify("click", urlsafe_b64encode(altered).rstrip(b"=").decode())


def test_a_family_outlives_a_rotation_of_keys() -> None:
    old, both = Signer([OLD]).family(FAMILY), Signer([NEW, OLD]).family(FAMILY)
    assert both.verify("view", old.sign("view", b"1")) == b"1"
    with pytest.raises(BadToken):
        old.verify("view", both.sign("view", b"1"))
    twin = next(key for n in range(10_000) if key_id(key := f"{n:032}") == key_id(OLD))
    assert Signer([twin, OLD]).family(FAMILY).verify("view", old.sign("view", b"1")) == b"1"


@pytest.mark.parametrize("purposes", [("a", "b", "c", "d", "e"), ("a", "a")])
def test_a_family_has_room_for_four_different_purposes(purposes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="at most four"):
        Signer([NEW]).family(purposes)
