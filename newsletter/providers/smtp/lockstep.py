"""One command at a time, for servers that announce no PIPELINING: four round trips a message.

The plain twin of `pipeline` and `chunks`: for the same answers, the same results.
"""

from newsletter.providers.smtp.transaction import Step, Transaction
from newsletter.providers.smtp.transfer import RSET, Transfer
from newsletter.providers.smtp.wire import Reply


class LockStep(Transfer):
    _heeds = tuple(Step)

    def _begin(self) -> None:
        transaction = self._take()
        if transaction is not None:
            is_dirty = self._session.is_in_transaction
            self._ask(transaction, Step.reset if is_dirty else Step.mail)

    def _advance(self, transaction: Transaction, step: Step, reply: Reply) -> None:
        if step is Step.message:
            self._begin()
        elif transaction.refusal is not None:
            self._settle(transaction)
            self._begin()
        elif step is Step.data:
            self._write_message(transaction, transaction.content, b".\r\n")
            self._expected.append(Step.message)
        else:
            self._ask(transaction, _NEXT[step])

    def _ask(self, transaction: Transaction, step: Step) -> None:
        mail, rcpt = transaction.commands.splitlines(keepends=True)
        commands = {Step.reset: RSET, Step.mail: mail, Step.rcpt: rcpt, Step.data: b"DATA\r\n"}
        self._write(commands[step])
        self._expected.append(step)

    def _make_room(self) -> None:
        """The next command waits for a reply, not for room."""


_NEXT = {Step.reset: Step.mail, Step.mail: Step.rcpt, Step.rcpt: Step.data}
