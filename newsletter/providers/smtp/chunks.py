"""Several messages on the way at once, each sized instead of ended by a dot (RFC 3030, BDAT).

Nothing waits for 354 and nothing is dot-stuffed, so one connection carries what four do with DATA; what a
read makes room for goes out in one write.
"""

import re

from newsletter.providers.base import Receipt
from newsletter.providers.smtp.transaction import Step, Transaction
from newsletter.providers.smtp.transfer import RSET, Transfer, on_one_line
from newsletter.providers.smtp.wire import Reply

# Looked up once, see `transfer`.
_MAIL, _RCPT, _MESSAGE = Step.mail, Step.rcpt, Step.message
_BEHIND_ANOTHER = (Step.reset, _MAIL, _RCPT, _MESSAGE)
_JOINED = 256 * 1024
"""Bytes after which no message more joins a write. When the connection is reset while the kernel has not
taken all of it, nobody knows which of its messages were in it."""
_ALL_WELL = re.compile(rb"(?:250 [ -~]*\r?\n)+").fullmatch


class Chunks(Transfer):
    """At most ``session.window`` messages wait for their answers.

    The first one goes alone, and one behind a refusal that left the connection empty: its content is sent
    only after MAIL and RCPT were answered. A connection that died while it was kept shows itself there, while
    nothing is at stake. This costs a round trip each time that a connection is taken up, not a message.
    """

    _heeds = (_RCPT, _MESSAGE)
    _of_recipient = _of_message = b""
    """The statuses of the answers that let the last one pass that was alone, and the first message."""

    def takes(self, data: bytes) -> bool:
        """A read in which all went well, as in nearly all: whole replies, each of them 250 on one line.

        Does what `replied` does for them one by one and in a third of the processor time, and leaves to it
        what is not usual; `tests/providers/test_smtp_rounds.py` holds the two together.
        """
        expected, in_flight, wire = self._expected, self._in_flight, self._wire
        if _ALL_WELL(data) is None:
            return False
        replies = data.split(b"\n")
        del replies[-1]
        if len(replies) > len(expected):
            return False
        for reply in replies:
            if self._is_over:
                return True
            step, first = expected[0], in_flight[0]
            if step is _MESSAGE:
                if self._of_message == reply[4:9] and first.refusal is None and not wire.is_paused:
                    del expected[0]
                    in_flight.popleft()
                    self._session.is_in_transaction = False
                    first.call.settle(first.index, Receipt(on_one_line(reply)))
                    continue
            elif first.end is not None:
                del expected[0]
                if step is _MAIL:
                    first.sender_is_taken = True
                elif step is _RCPT:
                    first.recipient_is_taken = True
                continue
            self.replied(250, reply)
        self.heard()
        return True

    def heard(self) -> None:
        """What came at once makes room for as many messages at once."""
        super().heard()
        if not self._is_over and not self._is_closing:
            self._fill()
            if not self._expected:
                self._end()

    def _begin(self) -> None:
        transaction = self._take()
        if transaction is None:
            return
        reset = b""
        if self._session.is_in_transaction:
            reset = RSET
            self._expected.append(Step.reset)
        self._expected += (_MAIL, _RCPT)
        self._write(reset + transaction.commands)

    def _advance(self, transaction: Transaction, step: Step, reply: Reply) -> None:
        if step is _MESSAGE:
            # What a failed BDAT leaves behind is for RSET to clear (RFC 3030 §2).
            self._session.is_in_transaction = not transaction.is_taken
        elif transaction.end is None:
            if transaction.refusal is None:
                self._of_recipient = reply.status
                self._expected.append(_MESSAGE)
                self._write_message(transaction, _size(transaction), transaction.content)
            else:
                self._settle(transaction)
        if not self._expected:
            # Else there may be more to hear of: see `heard`.
            self._fill()

    def _conclude(self, transaction: Transaction, reply: Reply) -> None:
        """All answers here are 250, so that one too many would shift them unseen (with DATA, 354
        shows it). But most servers give each kind a status of its own, such as 2.1.5 and 2.0.0: a
        recipient's in the place of a message's accepts nothing.
        """
        if self._of_message and self._of_message != self._of_recipient == reply.status:
            self._drop(_MESSAGE, f"out of step: {reply.text}")
            return
        self._of_message = self._of_message or reply.status
        super()._conclude(transaction, reply)

    def _fill(self) -> None:
        in_flight, expected, wire = self._in_flight, self._expected, self._wire
        window = self._session.window
        if not in_flight and (self._session.is_in_transaction or not self._of_recipient):
            self._begin()  # A failed RSET puts no message in doubt then.
        if in_flight and in_flight[0].end is None:
            return  # The one that is alone, whose recipient was not answered yet.
        while len(in_flight) < window and not wire.is_paused:
            parts: list[bytes] = []
            start = end = wire.written
            while len(in_flight) < window and end - start < _JOINED:
                # Behind a message whose fate is open comes RSET. Without it, after a refused RCPT, this
                # message would join the recipients of that one.
                is_behind = bool(in_flight)
                transaction = self._take()
                if transaction is None:
                    break
                head = transaction.commands + _size(transaction)
                if is_behind:
                    head = RSET + head
                    expected += _BEHIND_ANOTHER
                else:
                    expected += _BEHIND_ANOTHER[1:]
                parts += (head, transaction.content)
                end += len(head) + len(transaction.content)
                transaction.end = end
            if not parts:
                return
            wire.write_message(*parts)
            self._note_unsent()

    def _make_room(self) -> None:
        self._fill()


def _size(transaction: Transaction) -> bytes:
    return b"BDAT %d LAST\r\n" % len(transaction.content)
