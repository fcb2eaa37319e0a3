"""Messages on one connection: what was sent, which reply answers it, what became of it.

Three modes differ in what they write before which reply is in: `lockstep`, `pipeline`, `chunks`.
The wire calls in here with each reply; nothing awaits.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar, Protocol

from newsletter.providers.base import Envelope, Permanent, Receipt, Result, ServerDown, Unknown
from newsletter.providers.smtp.call import Call
from newsletter.providers.smtp.config import Timeouts
from newsletter.providers.smtp.desk import Desk
from newsletter.providers.smtp.transaction import Step, Transaction, is_out_of_step
from newsletter.providers.smtp.wire import Reply, Wire

RSET = b"RSET\r\n"
# Looked up once: a member of an enumeration costs 0.1 µs each time that it is named (Python 3.11).
_RESET, _MAIL, _RCPT, _MESSAGE, _NOTHING = Step.reset, Step.mail, Step.rcpt, Step.message, Step.nothing
_BEFORE_ANY_ANSWER = (Step.reset, Step.mail)
LEFT = "nobody waits for the result any more"
_GOODBYE = 5.0
"""Seconds that a server has to close the connection after it said 421."""


class Carrier(Protocol):
    """What a transfer asks of, and leaves to, the session that it works for."""

    is_in_transaction: bool
    """Whether the server must be told RSET before the next MAIL."""
    went_stale: bool
    """Whether it had served before and ended before it answered MAIL: others that were kept beside
    it are likely to be dead as well."""
    carries: int
    """Messages that it may be used for from now on."""
    window: int
    """Messages that may wait for their answers at the same time, where BDAT is used."""

    def prepare(self, call: Call, index: int, envelope: Envelope) -> Transaction:
        """Raises `Permanent` for what cannot be sent here."""


class Transfer(ABC):
    """Made for one `run`."""

    def __init__(self, session: Carrier, wire: Wire, desk: Desk, timeouts: Timeouts) -> None:
        self._session = session
        self._wire = wire
        self._desk = desk
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._expected: deque[Step] = deque()
        """What the replies to come will answer, in their order: all about the first message in flight,
        then all about the second. A lone dot (`Step.nothing`) is about none."""
        self._in_flight: deque[Transaction] = deque()
        self._is_closing = self._is_over = False
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._since = 0.0
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self.down: ServerDown | None = None
        """The server turned out not to be there for anyone."""

    async def run(self) -> None:
        """Until no call has more, or the connection is of no further use; then every message it took is
        settled or given back. When cancelled, the connection is dropped."""
        self._wire.listener = self
        self._desk.carriages.add(self)
        try:
            self._begin()
            if not self._expected:
                return
            if (reason := self._wire.unfit) is not None:
                self.lost(reason)
            self._since = self._loop.time()
            self._watch(self._shortest)
            await self._over
        finally:
            self._wire.listener = None
            self._desk.carriages.discard(self)
            if self._timer is not None:
                self._timer.cancel()

    # What a mode decides

    _heeds: ClassVar[tuple[Step, ...]]
    """Whose answers `_advance` waits for; most answers only need to be noted."""

    @abstractmethod
    def _begin(self) -> None:
        """Writes the first commands."""

    @abstractmethod
    def _advance(self, transaction: Transaction, step: Step, reply: Reply) -> None:
        """Writes what may be written now that ``step`` was answered. Whether it was refused stands
        in the transaction."""

    @abstractmethod
    def _make_room(self) -> None:
        """Goes on after the kernel took all that was written."""

    # What modes are made of

    def _take(self) -> Transaction | None:
        """The next message that can be sent at all, on this connection."""
        session = self._session
        while not self._is_over and self.down is None and not self._wire.is_lost and session.carries:
            taken = self._desk.take()
            if taken is None:
                return None
            call, index, envelope = taken
            try:
                transaction = session.prepare(call, index, envelope)
            except Permanent as refusal:
                call.settle(index, refusal)
                continue
            self._in_flight.append(transaction)
            return transaction
        return None

    def _write(self, *parts: bytes) -> None:
        self._wire.write(*parts)
        self._note_unsent()

    def _write_message(self, transaction: Transaction, *parts: bytes, behind: bytes = b"") -> None:
        """The parts are the message with what begins and ends it; behind it come commands."""
        wire = self._wire
        wire.write_message(*parts, behind)
        transaction.end = wire.written - len(behind)
        self._note_unsent()

    def _note_unsent(self) -> None:
        """After each write: less of it is a sign of life."""
        if self._wire.is_paused:
            self._unsent = self._wire.unsent

    def _settle(self, transaction: Transaction) -> None:
        """A message that was refused before its content was sent."""
        refusal = transaction.refusal
        assert refusal is not None
        self._session.is_in_transaction = transaction.sender_is_taken
        self._in_flight.popleft()
        self._hand_over(transaction, refusal)

    def _hand_over(self, transaction: Transaction, result: Result) -> None:
        if isinstance(result, ServerDown):
            self.down = result
            transaction.call.give_back(transaction.index)
        else:
            transaction.call.settle(transaction.index, result)

    def _drop(self, step: Step, reason: str) -> None:
        """Ends the connection while the reply to ``step`` of the first message in flight is missing."""
        self._wire.abort()
        # The last one first: what is given back must keep its order.
        while self._in_flight:
            transaction = self._in_flight.pop()
            result = transaction.outcome_without(step, reason, has_left=self._has_left(transaction))
            if result is None:
                transaction.call.give_back(transaction.index)
            else:
                self._hand_over(transaction, result)
        self._end()

    def _has_left(self, transaction: Transaction) -> bool:
        return transaction.end is not None and self._wire.has_left(transaction.end)

    def _end(self) -> None:
        self._is_over = True
        self._expected.clear()
        self._wire.listener = None
        if not self._over.done():
            self._over.set_result(None)

    # What the desk tells

    def forget(self, call: Call) -> None:
        """What is on the way for others is waited for; what was not written of this call is dropped with
        the connection when its turn comes (`Pipeline`; the other modes have nothing else on the way then).
        """
        in_flight = self._in_flight
        if in_flight and not self._is_over and all(each.call is call for each in in_flight):
            self._drop(self._expected[0] if self._expected else _MESSAGE, LEFT)

    # What the wire tells

    def takes(self, data: bytes) -> bool:
        return False

    def replied(self, code: int, raw: bytes) -> None:
        expected = self._expected
        if not expected:
            self._drop(Step.message, f"the server spoke out of turn: {Reply(code, raw).text}")
            return
        step = expected.popleft()
        if step is _NOTHING:
            self._pass_over(code)
            return
        transaction = self._in_flight[0]
        if code == 250 and expected and step not in self._heeds:
            # Two of the four replies to nearly each message: what all of the below would do, in a
            # third of the time.
            if step is _MAIL:
                transaction.sender_is_taken = True
                return
            if step is _RCPT:
                transaction.recipient_is_taken = True
                return
        reply = Reply(code, raw)
        if code == 421:
            self._close(transaction, step, reply)
            return
        if step is _MESSAGE:
            self._conclude(transaction, reply)
        elif not transaction.has_passed(step, reply) and (step is _RESET or is_out_of_step(reply)):
            self._drop(step, f"{step.value} was answered {reply.text}")
        if self._is_over:
            return
        if step in self._heeds:
            self._advance(transaction, step, reply)
        if not expected:
            self._end()

    def _conclude(self, transaction: Transaction, reply: Reply) -> None:
        has_left = not self._wire.is_paused or self._has_left(transaction)
        result = transaction.outcome(reply, has_left=has_left)
        self._session.is_in_transaction = False
        self._in_flight.popleft()
        if type(result) is Receipt:
            transaction.call.settle(transaction.index, result)
            return
        self._hand_over(transaction, result)
        if isinstance(result, Unknown) or not has_left:
            self._drop(Step.mail, f"out of step: {reply.text}")

    def _pass_over(self, code: int) -> None:
        """The answer to a lone dot says nothing of any message."""
        if code == 421:
            self._await_silence()
        elif not self._expected:
            self._end()

    def _close(self, transaction: Transaction, step: Step, reply: Reply) -> None:
        if step in _BEFORE_ANY_ANSWER and not transaction.is_first:
            self._session.went_stale = True
        else:
            self._in_flight.popleft()
            if step is not _MESSAGE:
                transaction.has_passed(step, reply)
            self._hand_over(transaction, transaction.outcome(reply, has_left=True))
        self._await_silence()

    def _await_silence(self) -> None:
        """421 is the last that the server says, and answers the command that it read last (RFC 5321
        §3.8): it did not read what was sent after that.

        Where that is a whole message, only its silence proves it. So its end is waited for: one
        that says more has gone on reading.
        """
        if any(each.end is not None for each in self._in_flight):
            self._expected.clear()
            self._is_closing = True
            if self._timer is not None:
                self._timer.cancel()
            self._watch(_GOODBYE)
        else:
            self._wire.abort()
            self._give_all_back()

    def _give_all_back(self) -> None:
        while self._in_flight:
            transaction = self._in_flight.pop()
            transaction.call.give_back(transaction.index)
        self._end()

    def heard(self) -> None:
        self._since = self._loop.time()

    def resumed(self) -> None:
        self._since = self._loop.time()
        if self._is_closing:
            return
        self._make_room()
        if not self._expected:
            self._end()

    def lost(self, reason: str) -> None:
        if self._is_over:
            return
        if self._is_closing:
            self._give_all_back()
            return
        step = self._expected[0]
        if step in _BEFORE_ANY_ANSWER and not self._in_flight[0].is_first:
            self._session.went_stale = True
        self._drop(step, reason)

    def failed(self, error: Exception) -> None:
        self._wire.abort()
        if not self._over.done():
            self._over.set_exception(error)
        self._end()

    # Time-outs: one timer for all steps; a reply only notes the time. A timer for each would cost
    # as much as the reply itself.

    @property
    def _shortest(self) -> float:
        return min(self._timeouts.command, self._timeouts.data, self._timeouts.final)

    def _within(self, step: Step) -> float:
        if step is Step.data:
            return self._timeouts.data
        return self._timeouts.final if step in (Step.message, Step.nothing) else self._timeouts.command

    def _watch(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        if self._is_over:
            return
        if self._is_closing:
            self._drop(Step.message, "the server said 421 and did not close the connection")
            return
        now = self._loop.time()
        step, first = self._expected[0], self._in_flight[0] if self._in_flight else None
        if first is not None and first.end is not None and not self._wire.has_left(first.end):
            within = self._timeouts.data
            reason = f"the server took nothing of the message for {within:g} s"
            unsent = self._wire.unsent
            if unsent < self._unsent:
                self._unsent, self._since = unsent, now
        else:
            within = self._within(step)
            reason = f"no answer within {within:g} s"
        left = self._since + within - now
        if left <= 0:
            self.lost(reason)
        else:
            self._watch(min(left, self._shortest))


def on_one_line(reply: bytes) -> str:
    """What a `Receipt` says of a reply on one line of printable ASCII, as `Reply.text` would have it."""
    text = reply.rstrip(b"\r").decode("ascii")
    return text if len(text) <= 500 and "  " not in text and text[-1] != " " else " ".join(text.split())[:500]
