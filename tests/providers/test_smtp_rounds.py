"""What is read in one step leaves what its replies leave one by one, with DATA and in chunks."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, ClassVar, NamedTuple, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from newsletter.providers.base import Envelope, Receipt, Result, Unknown, never
from newsletter.providers.smtp.call import Call
from newsletter.providers.smtp.chunks import Chunks
from newsletter.providers.smtp.config import Limits, SMTPServer, Timeouts
from newsletter.providers.smtp.desk import Desk
from newsletter.providers.smtp.pipeline import Pipeline
from newsletter.providers.smtp.session import Session
from newsletter.providers.smtp.transfer import Transfer
from newsletter.providers.smtp.wire import Wire

MESSAGES = 8
QUEUED = b"250 2.0.0 Ok: queued as 4fXk2\r\n"
MAIL, RCPT, DATA = b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"354 End data with <CR><LF>.<CR><LF>\r\n"
RESET = b"250 2.0.0 Ok\r\n"
ROUND = (QUEUED, MAIL, RCPT, DATA)
ODD = st.sampled_from(
    [
        b"250 twice  spaced \r\n",
        b"250 a tab\there\r\n",
        b"250 " + b"long " * 120 + b"\r\n",
        "250 ångström\r\n".encode(),
        b"250\r\n",
        b"250 bare end\n",
        b"250-two\r\n250 lines\r\n",
        b"251 will forward\r\n",
        b"354 out of step\r\n",
        b"421 4.3.2 closing\r\n",
        b"451 4.7.1 later\r\n",
        b"550 5.7.1 never\r\n",
        b"554 5.5.1 no valid recipients\r\n",
        b"not SMTP\r\n",
        b"",
    ]
)


class Event(Enum):
    """What happens between two reads."""

    room = "the kernel takes what it had left"
    first_left = "nobody waits for the first call any more"
    second_left = "nor for the second"


class Answers(NamedTuple):
    """What a server says to the next commands that were written, to ``number`` of them at most."""

    number: int
    odd: bytes | None = None
    """What it says to the last of them instead."""
    late: int = 0
    """Bytes of it that come with the next answers."""


Read = bytes | Event | Answers


class ReplyByReply(Pipeline):
    """The plain twin."""

    def takes(self, data: bytes) -> bool:
        return False


class ChunksReplyByReply(Chunks):
    """The plain twin."""

    def takes(self, data: bytes) -> bool:
        return False


class Kernel(asyncio.Transport):
    """Takes what is written, but for the last bytes of some writes."""

    def __init__(self, kept: Sequence[int]) -> None:
        super().__init__()
        self.written = b""
        self._kept = iter(kept)
        self._left = 0
        self._is_closing = False
        self.socket, self._other = socket.socketpair()
        self.socket.setblocking(False)
        self.wire = Wire()
        self.wire.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self._left = min(next(self._kept, 0), len(data))
        if self._left:
            self.wire.pause_writing()

    def go_on(self) -> None:
        if self._left:
            self._left = 0
            self.wire.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self._left

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket

    def is_closing(self) -> bool:
        return self._is_closing

    def abort(self) -> None:
        self._is_closing = True

    def end(self) -> None:
        self.abort()
        self.wire.connection_lost(None)
        self.socket.close()
        self._other.close()


class ChunkingServer:
    """Answers what was written, in order."""

    _USUAL: ClassVar = {b"RSET": RESET, b"MAIL": MAIL, b"RCPT": RCPT, b"BDAT": QUEUED}

    def __init__(self) -> None:
        self._at = 0
        self._late = b""

    def says(self, written: bytes, answers: Answers) -> bytes:
        replies: list[bytes] = []
        while len(replies) < answers.number and self._at < len(written):
            line = written[self._at : written.index(b"\r\n", self._at) + 2]
            self._at += len(line) + (int(line.split()[1]) if line.startswith(b"BDAT") else 0)
            replies.append(self._USUAL[line[:4]])
        if replies and answers.odd is not None:
            replies[-1] = answers.odd
        said = self._late + b"".join(replies)
        on_time = max(len(said) - answers.late, 0)
        self._late = said[on_time:]
        return said[:on_time]


async def nobody() -> None:
    """Works at the desk."""


def envelopes(first: int = 0, end: int = MESSAGES) -> list[Envelope]:
    return [
        Envelope(
            f"msg_{n}", "news@example.com", f"reader{n}@example.com", b"Subject: %d\r\n\r\nHello\r\n" % n
        )
        for n in range(first, end)
    ]


def told(results: Sequence[tuple[int, Result]]) -> Iterator[tuple[object, ...]]:
    for index, result in results:
        if isinstance(result, Receipt):
            yield index, result
        else:
            yield index, type(result), result.text, result.code, result.enhanced


async def after_each(
    mode: type[Transfer], reads: Sequence[Read], kept: Sequence[int], first_call: int = MESSAGES
) -> list[tuple[object, ...]]:
    """All that can be seen of a transfer after each read. The connection ends behind the last. The messages
    are of two calls, ``first_call`` of them of the first.

    Each message has one result, and none is written once nobody waits for it.
    """
    kernel, server = Kernel(kept), ChunkingServer()
    session = Session(
        SMTPServer("mail.example.com", 25), kernel.wire, Timeouts(), Limits(messages=MESSAGES - 1)
    )
    mails = [envelopes(0, first_call), envelopes(first_call)]
    left: dict[Call, list[bytes]] = {}
    told_of: list[list[int]] = [[], []]
    desk = Desk(nobody, 0)
    calls = [Call(each, never) for each in mails]
    for call in calls:
        desk.open(call)
    transfer = mode(session, kernel.wire, desk, Timeouts())
    running = asyncio.create_task(transfer.run())
    await asyncio.sleep(0)
    seen: list[tuple[object, ...]] = []

    def look() -> None:
        results = tuple(tuple(told(call.settled())) for call in calls)
        for indexes, some in zip(told_of, results, strict=True):
            indexes += [cast(int, one[0]) for one in some]
        wire = kernel.wire
        seen.append(
            (results, kernel.written, wire.written, wire.unfit, session.is_in_transaction, session.went_stale)
        )

    for read in reads:
        if read is Event.room:
            kernel.go_on()
        elif isinstance(read, Event):
            which = read is Event.second_left
            if calls[which] not in left:
                unwritten = [mail.content for mail in mails[which] if mail.content not in kernel.written]
                left[calls[which]] = unwritten
                await desk.close(calls[which])
        elif not wire_is_over(kernel.wire):
            said = server.says(kernel.written, read) if isinstance(read, Answers) else read
            kernel.wire.data_received(said)
        look()
    kernel.end()
    await running
    look()
    untried = tuple(tuple(told(list(call.left()))) for call in calls)
    seen.append((transfer.down and transfer.down.text, untried))
    for indexes, some, of_call in zip(told_of, untried, mails, strict=True):
        assert sorted([*indexes, *(cast(int, one[0]) for one in some)]) == list(range(len(of_call)))
    assert not [content for unwritten in left.values() for content in unwritten if content in kernel.written]
    return seen


def wire_is_over(wire: Wire) -> bool:
    return wire.listener is None


@st.composite
def conversations(draw: st.DrawFn) -> list[Read]:
    """Round trips, in most of which all goes well, in reads that mostly hold just one."""
    said = [[MAIL, RCPT, DATA], *(list(ROUND) for _ in range(MESSAGES))]
    for _ in range(draw(st.integers(0, 3))):
        replies = said[draw(st.integers(0, MESSAGES))]
        replies[draw(st.integers(0, len(replies) - 1))] = draw(ODD)
    reads: list[Read] = [b"".join(replies) for replies in said]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(reads) - 1))
        read = cast(bytes, reads[at])
        if draw(st.booleans()) and at + 1 < len(reads):
            reads[at : at + 2] = [read + cast(bytes, reads[at + 1])]
        else:
            cut = draw(st.integers(0, len(read)))
            reads[at : at + 1] = [read[:cut], read[cut:]]
    for _ in range(draw(st.integers(0, 3))):
        reads.insert(draw(st.integers(0, len(reads))), draw(st.sampled_from(Event)))
    return reads


KEPT = st.lists(st.sampled_from([0, 0, 0, 1, 60, 90, 10**6]), max_size=MESSAGES + 1)
"""What the kernel leaves of each write."""


@settings(max_examples=300)
@given(
    conversations(),
    KEPT,
    st.integers(1, MESSAGES),
)
async def test_a_round_trip_in_one_step_is_its_four_replies(
    reads: list[Read], kept: list[int], first_call: int
) -> None:
    in_one_step = await after_each(Pipeline, reads, kept, first_call)
    assert in_one_step == await after_each(ReplyByReply, reads, kept, first_call)


ANSWERS = st.builds(
    Answers,
    st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16, 16, 16]),
    st.one_of(*[st.none()] * 4, ODD, st.sampled_from([b"", RESET, RCPT, QUEUED + RESET, QUEUED + RCPT])),
    st.sampled_from([0, 0, 0, 0, 1, 2, 9, 30, 40]),
)


UNDER_WAY: list[Read] = [Answers(2), Answers(1)]
"""The first message was taken, and four are on the way."""


@settings(max_examples=300)
@given(
    st.lists(st.one_of(*[ANSWERS] * 5, st.sampled_from(Event)), max_size=16).map(UNDER_WAY.__add__),
    KEPT,
    st.integers(1, MESSAGES),
)
@example([*UNDER_WAY, Answers(8), Answers(2)], [0, 0, 60], MESSAGES)
async def test_a_read_of_chunks_in_one_step_is_its_replies(
    reads: list[Read], kept: list[int], first_call: int
) -> None:
    in_one_step = await after_each(Chunks, reads, kept, first_call)
    assert in_one_step == await after_each(ChunksReplyByReply, reads, kept, first_call)


async def test_a_message_that_is_taken_in_one_step_after_its_recipient_was_refused_is_in_doubt() -> None:
    refused = Answers(3, odd=b"550 5.1.1 no\r\n")
    seen = await after_each(Chunks, [*UNDER_WAY, refused, Answers(1)], ())
    (results, _), *_ = cast(Any, seen[3])
    # And so are those behind it: the two sides no longer agree on where they are.
    assert [result[1] for result in results] == [Unknown] * 4


async def test_where_all_goes_well_each_read_of_chunks_is_one_step() -> None:
    steps = 0

    class Counted(Chunks):
        def takes(self, data: bytes) -> bool:
            nonlocal steps
            is_taken = super().takes(data)
            steps += is_taken
            return is_taken

    # The first message asks for its recipient alone; four are on the way then, and two at the end.
    reads = [Answers(2), Answers(1), Answers(16), Answers(16)]
    seen = await after_each(Counted, reads, ())
    assert steps == len(reads)
    assert seen == await after_each(ChunksReplyByReply, reads, ())
    assert sum(len(results) for look in seen[:-1] for results in cast(Any, look[0])) == MESSAGES - 1


async def test_what_a_read_makes_room_for_is_one_write() -> None:
    writes: list[int] = []

    class Counted(Chunks):
        def _fill(self) -> None:
            before = self._wire.written
            super()._fill()
            if self._wire.written > before:
                writes.append(len(self._in_flight))

    await after_each(Counted, [Answers(2), Answers(16), Answers(16)], ())
    # Three behind the first, then four, of which the last three are all that the connection carries.
    assert writes == [4, 3]


async def test_where_all_goes_well_each_round_trip_is_one_step() -> None:
    steps = 0

    class Counted(Pipeline):
        def takes(self, data: bytes) -> bool:
            nonlocal steps
            is_taken = super().takes(data)
            steps += is_taken
            return is_taken

    reads = [b"".join(ROUND[1:]), *[b"".join(ROUND)] * (MESSAGES - 2), QUEUED]
    seen = await after_each(Counted, reads, ())
    assert steps == MESSAGES - 2
    assert seen == await after_each(ReplyByReply, reads, ())
    assert (
        sum(isinstance(item[1], Receipt) for look in seen[:-1] for item in cast(Any, look[0])[0])
        == MESSAGES - 1
    )


OPENING = b"".join(ROUND[1:])


async def test_the_next_call_begins_behind_the_last_message_of_the_one_before() -> None:
    seen = await after_each(Pipeline, [OPENING], (), first_call=1)
    assert cast(bytes, seen[0][1]).endswith(
        b"Subject: 0\r\n\r\nHello\r\n.\r\nMAIL FROM:<news@example.com>\r\n"
        b"RCPT TO:<reader1@example.com>\r\nDATA\r\n"
    )


@pytest.mark.parametrize("mode", [Pipeline, ReplyByReply])
async def test_a_message_that_nobody_waits_for_is_not_written_and_disturbs_no_other(
    mode: type[Pipeline],
) -> None:
    seen = await after_each(mode, [OPENING, Event.second_left, b"".join(ROUND)], (), first_call=1)
    (first, _), written, *_ = cast(Any, seen[2])
    assert first == ((0, Receipt("250 2.0.0 Ok: queued as 4fXk2")),)
    assert b"Subject: 0" in written
    assert b"Subject: 1" not in written


async def test_where_nothing_else_is_on_the_way_a_message_that_nobody_waits_for_ends_the_connection() -> None:
    seen = await after_each(Pipeline, [OPENING, Event.first_left], ())
    assert [look[3] for look in seen[:2]] == [None, "the connection was dropped"]
