"""Quoted-printable in segments: whatever the texts and values, it decodes to their join."""

import quopri

from hypothesis import example, given, settings
from hypothesis import strategies as st

from newsletter.delivery import segments
from newsletter.delivery.segments import Segments

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"),
        st.sampled_from("..=\n \t.é日\u202e😀"),
    ),
    max_size=200,
)


def decoded(encoded: bytes) -> str:
    for line in encoded.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.startswith(b".")
        assert not line.endswith((b" ", b"\t"))
        assert b"\n" not in line
        assert b"\r" not in line
        assert line.isascii()
    return quopri.decodestring(encoded).decode().replace("\r\n", "\n")


@settings(max_examples=300)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5), values=st.lists(TEXTS, min_size=4, max_size=4))
@example(texts=["a" * 76, "." * 80, ""], values=["", ".", "..", "="])
@example(texts=["\n.", ".\n.\n", " \n"], values=["é" * 40, "x" * 76, "x" * 75, " "])
@example(texts=["x" * 75 + " \n", "x" * 74 + " "], values=["y" * 74 + " \nz", "", "", ""])
@example(texts=["", "", "", ""], values=["", "", "", ""])
def test_segments_decode_to_the_texts_and_values_in_turn(texts: list[str], values: list[str]) -> None:
    slots = list(range(len(texts) - 1))
    parts = Segments.encoded(texts, slots).fill([segments.value(value) for value in values])
    expected = "".join(
        part for pair in zip(texts, [values[slot] for slot in slots] + [""], strict=True) for part in pair
    )
    assert decoded(b"".join(parts)) == expected + "\n"


@settings(max_examples=300)
@given(text=TEXTS)
@example(text="." * 200)
@example(text=".\n..\n...")
@example(text=("." + "x" * 75 + "\n") * 2)
@example(text="." + "=" * 40)
@example(text="x" * 74 + " ")
@example(text="x" * 75 + "\t\n" + "=" * 24 + "xx ")
def test_a_whole_text_comes_back(text: str) -> None:
    assert decoded(segments.whole(text)) == text + "\n"


def test_one_slot_may_be_filled_often() -> None:
    sheet = Segments.encoded(["a", "b", "c", "d"], [1, 0, 1])
    assert decoded(b"".join(sheet.fill([b"-", b"+"]))) == "a+b-c+d\n"
    assert decoded(b"".join(sheet.fill([b"", b"*"]))) == "a*bc*d\n"
