"""Single mails that come at the same time, each by a call of its own, share a transaction and a mailing.

Alone, a call is some dozen statements and a commit, and makes its worker claim and close a mailing
for one mail. Here those of one key queue while a transaction runs, and the next one takes them
all, as if they had come as one bulk: each still waits until it is on disk, and gets its own answer
or its own error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from newsletter.accounts.project import Principal
from newsletter.kit.db import Database
from newsletter.kit.errors import NewsletterError
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data
from newsletter.kit.shared_steps import SharedSteps
from newsletter.transactional import service
from newsletter.transactional.answers import Sent
from newsletter.transactional.schemas import Send
from newsletter.transactional.service import Office

CALLS_AT_ONCE = 100
"""Calls of one transaction: a bound on how long the others wait for it."""
LARGE = 65_536
"""Characters of HTML and text from which on a mail goes alone: it may take a second to compile."""


@dataclass(frozen=True, slots=True)
class Call:
    """One mail, and the key of its call."""

    body: Send
    once: Once

    @property
    def goes_alone(self) -> bool:
        """What takes long, and what is sent later: the mails of a mailing are given up together."""
        body = self.body
        size = len(body.html or "") + len(body.text or "")
        return size >= LARGE or bool(body.attachments) or body.scheduled_at is not None


class Postbox(SharedSteps[Principal, Call, Data[Sent]]):
    """One object serves one event loop."""

    def __init__(self, db: Database, office: Office) -> None:
        super().__init__(most=CALLS_AT_ONCE)
        self._db, self._office = db, office

    async def send(self, principal: Principal, body: Send, once: Once) -> Data[Sent]:
        """As `service.prepare` and `service.post`, in a transaction of its own or of several calls."""
        call = Call(body, once)
        sent = await (self._alone(principal, call) if call.goes_alone else self.share(principal, call))
        await self._db.on_disk()
        return sent

    async def _alone(self, principal: Principal, call: Call) -> Data[Sent]:
        [sent] = await self.carry_out(principal, [call])
        if isinstance(sent, Exception):
            raise sent
        return sent

    async def carry_out(
        self, principal: Principal, calls: Sequence[Call]
    ) -> Sequence[Data[Sent] | Exception]:
        bodies = [[call.body] for call in calls]
        prepared = await service.prepare(self._db, principal, self._office, bodies)
        mails = [
            (call.once, item)
            for call, item in zip(calls, prepared, strict=True)
            if not isinstance(item, NewsletterError)
        ]
        sent: list[Data[Sent]] = []
        if mails:
            # The next transaction needs the same counter of the plan. It does not wait for the disk:
            # the callers of this one do, at the same time.
            async with self._db.early_unit_of_work() as session:
                items = [item for _, item in mails]
                posted = await service.post(session, principal, items, self._office.settings)
                sent = [Data[Sent](data=Sent.of(each)) for each in posted]
                for (once, _), out in zip(mails, sent, strict=True):
                    await once.keep(session, 202, out)
        answers = iter(sent)
        return [each if isinstance(each, NewsletterError) else next(answers) for each in prepared]
