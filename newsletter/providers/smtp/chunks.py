"""Several messages on the way at once, each sized instead of ended by a dot (RFC 3030, BDAT).

Nothing waits for 354 and nothing is dot-stuffed, so one connection carries what four do with DATA.
"""

from newsletter.providers.smtp.transaction import Step, Transaction
from newsletter.providers.smtp.transfer import RSET, Transfer
from newsletter.providers.smtp.wire import Reply


class Chunks(Transfer):
    """At most ``session.window`` messages wait for their answers.

    One that is alone on the connection sends its content only after MAIL and RCPT were answered: a
    connection that died while it was kept shows itself there, while nothing is at stake. This
    costs a round trip a block, not a message.
    """

    _heeds = (Step.rcpt, Step.message)
    _of_recipient = _of_message = b""
    """The statuses of such answers, from when nothing else was on the way."""

    def _begin(self) -> None:
        self._fill()

    def _advance(self, transaction: Transaction, step: Step, reply: Reply) -> None:
        if step is Step.message:
            # What a failed BDAT leaves behind is for RSET to clear (RFC 3030 §2).
            self._session.is_in_transaction = not transaction.is_taken
            self._fill()
        elif transaction.end is None:
            self._of_recipient = reply.status
            if transaction.refusal is None:
                self._send(transaction, b"")
            else:
                self._settle(transaction)
            self._fill()

    def _conclude(self, transaction: Transaction, reply: Reply) -> None:
        """All answers here are 250, so that one too many would shift them unseen (with DATA, 354
        shows it). But most servers give each kind a status of its own, such as 2.1.5 and 2.0.0: a
        recipient's in the place of a message's accepts nothing.
        """
        if self._of_message and self._of_message != self._of_recipient == reply.status:
            self._drop(Step.message, f"out of step: {reply.text}")
            return
        self._of_message = self._of_message or reply.status
        super()._conclude(transaction, reply)

    def _fill(self) -> None:
        if not self._in_flight:
            transaction = self._take()
            if transaction is not None:
                self._write(self._envelope(transaction, is_alone=True))
            return
        while self._has_room:
            transaction = self._take()
            if transaction is None:
                return
            self._send(transaction, self._envelope(transaction, is_alone=False))

    @property
    def _has_room(self) -> bool:
        is_proven = self._in_flight[0].end is not None
        return is_proven and len(self._in_flight) < self._session.window and not self._wire.is_paused

    def _envelope(self, transaction: Transaction, *, is_alone: bool) -> bytes:
        """Behind a message whose fate is open comes RSET. Without it, after a refused RCPT, this
        message would join the recipients of that one."""
        reset = b""
        if self._session.is_in_transaction or not is_alone:
            reset = RSET
            self._expected.append(Step.reset)
        self._expected += (Step.mail, Step.rcpt)
        return reset + transaction.commands

    def _send(self, transaction: Transaction, envelope: bytes) -> None:
        size = b"BDAT %d LAST\r\n" % len(transaction.content)
        self._write_message(transaction, envelope + size, transaction.content)
        self._expected.append(Step.message)

    def _make_room(self) -> None:
        self._fill()
