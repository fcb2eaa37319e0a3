"""Public ids: one spelling each, and nothing else is one."""

import secrets

import pytest

from newsletter.kit import ids

RAW = bytes.fromhex("0199d3b61e687c05b5aa310cd0db1fe5")
PUBLIC = ids.encode("sub", RAW)


@pytest.mark.parametrize("size", [16, 20])
def test_what_is_written_is_read(size: int) -> None:
    for raw in (bytes(size), b"\xff" * size, *(secrets.token_bytes(size) for _ in range(100))):
        assert ids.decode("msg", ids.encode("msg", raw), size) == raw


def test_a_fresh_id_is_that_of_a_new_uuid() -> None:
    before, made, after = ids.uuid7(), ids.private("req", ids.fresh("req")), ids.uuid7()

    assert made.version == 7
    assert before < made < after


@pytest.mark.parametrize("letter", [chr(code) for code in range(128)] + ["\x80", "é", "\u0661", "\ud800"])
def test_no_other_letter_passes_for_one(letter: str) -> None:
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    for place in (4, 17, 29):
        text = PUBLIC[:place] + letter + PUBLIC[place + 1 :]
        if letter not in alphabet or (place == 4 and letter > "7"):
            with pytest.raises(ValueError, match="an id that begins with 'sub_'"):
                ids.decode("sub", text)
        else:
            assert ids.encode("sub", ids.decode("sub", text)) == text
