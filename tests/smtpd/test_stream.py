"""A body that arrives in pieces of any size, beside a plain reading of the whole."""

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from newsletter.smtpd.stream import Gone, Incoming

pieces = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"x", b"ab"]), max_size=40
)


def plainly(sent: bytes, keep: int) -> tuple[bytes, int, bytes] | None:
    """What was kept, how large it was, and what comes behind; None without a final dot."""
    whole = b"\r\n" + sent
    end = whole.find(b"\r\n.\r\n")
    if end < 0:
        return None
    return whole[: end + 2][: keep + 2].replace(b"\r\n.", b"\r\n")[2:], end, whole[end + 5 :]


async def in_pieces(sent: bytes, sizes: list[int], keep: int) -> tuple[bytes, int, bytes] | None:
    reader, rest = asyncio.StreamReader(), sent
    incoming = Incoming(reader)

    async def feed() -> None:
        nonlocal rest
        for size in [*sizes, len(rest) or 1]:
            reader.feed_data(rest[:size])
            rest = rest[size:]
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.create_task(feed())
    try:
        body = await incoming.body(keep)
        behind = bytearray()
        await feeding
        behind += incoming._held + await reader.read()
        return body.content, body.size, bytes(behind)
    except Gone:
        return None
    finally:
        await feeding


@given(pieces, st.lists(st.integers(1, 5), max_size=30), st.integers(0, 30))
@example([b"\r\n", b".", b"\r\n"], [1] * 9, 10)
@settings(max_examples=300)
def test_pieces_make_the_same_body(sent: list[bytes], sizes: list[int], keep: int) -> None:
    raw = b"".join(sent)
    assert asyncio.run(in_pieces(raw, sizes, keep)) == plainly(raw, keep)
