"""The signed name of a message: what proves it, and what does not."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from newsletter.delivery.queries import public_id
from newsletter.delivery.return_path import ReturnPaths
from newsletter.kit.tokens import SEAL, Signer

MAILING = UUID(int=0x01A2156B4F337000BF1F52DF18F56EEB)
OLD, NEW = "o" * 32, "n" * 32
PATHS = ReturnPaths(Signer([OLD]), "bounces.example.com")
NAMES = PATHS.of("news@example.com")
messages = st.builds(public_id, st.just(MAILING), st.integers(0, 2**32 - 1))


@given(messages)
@settings(max_examples=200)
def test_each_name_fits_its_place_and_leads_back_to_its_message(message_id: str) -> None:
    names = NAMES(message_id)
    local, _, domain = names.return_path.partition("@")
    assert (len(local), domain) == (60, "bounces.example.com")
    assert local == local.lower() == local.strip("-.")
    for text in (
        names.return_path,
        names.return_path.swapcase(),
        f"Message-ID: <{names.sealed}@example.com>",
    ):
        assert PATHS.message_in(text) == message_id
    assert PATHS.is_ours(names.return_path)
    assert not PATHS.is_ours(f"{local}@example.com")


@given(messages, st.integers(0, 31 + 1 + SEAL), st.sampled_from("0123456789abcdef"))
@settings(max_examples=300)
def test_a_name_with_one_other_letter_names_nothing(message_id: str, place: int, letter: str) -> None:
    sealed = NAMES(message_id).sealed.removeprefix("msg_")
    forged = f"msg_{sealed[:place]}{letter}{sealed[place + 1 :]}"
    assert PATHS.message_in(forged) == (message_id if forged == f"msg_{sealed}" else None)


@given(
    st.text() | st.text("0123456789abcdef", min_size=58, max_size=58).map("b-{}@bounces.example.com".format)
)
@settings(max_examples=200)
def test_no_other_text_names_anything(text: str) -> None:
    assert PATHS.message_in(text) is None
    assert not PATHS.is_ours(text)


def test_names_outlive_a_rotation_of_keys_and_no_longer() -> None:
    names = NAMES(public_id(MAILING, 7))
    rotated = ReturnPaths(Signer([NEW, OLD]), "bounces.example.com")
    assert rotated.message_in(names.sealed) == public_id(MAILING, 7)
    assert rotated.of("x@example.com")(public_id(MAILING, 7)).sealed != names.sealed
    assert ReturnPaths(Signer([NEW]), "bounces.example.com").message_in(names.sealed) is None


def test_of_a_long_list_of_forged_names_only_the_first_are_looked_at() -> None:
    ours = NAMES(public_id(MAILING, 7)).sealed
    forged = f"{ours[:-1]}{'0' if ours[-1] != '0' else '1'} "
    assert PATHS.message_in(forged * 49 + ours) == public_id(MAILING, 7)
    assert PATHS.message_in(forged * 50 + ours) is None
    assert PATHS.message_of([None, "", forged, ours]) == public_id(MAILING, 7)
