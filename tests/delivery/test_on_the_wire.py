"""What is on the wire stands in the books before, and never more than two blocks of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from sqlalchemy import func, select

from newsletter.delivery import sending
from newsletter.delivery.models import Message, Outcome
from newsletter.delivery.sending import Parts
from newsletter.kit.db import Database
from newsletter.providers.base import Envelope, MailStream, Receipt, Result, never
from newsletter.runtime import Runtime
from tests.delivery.conftest import BLOCK, Launch


class Witness:
    """A server that looks into the books, with a transaction of its own, before it takes a mail."""

    name = "witness"

    def __init__(self, db: Database) -> None:
        self._db = db
        self.begun = 0
        self.not_in_the_books: list[str] = []
        self.most_sending = 0

    def __call__(self, stream: MailStream) -> "Witness":
        return self

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncIterator[tuple[int, Result]]:
        for index, each in enumerate(envelopes):
            async with self._db.read() as session:
                outcome = select(Message.outcome).where(Message.address == each.recipient)
                is_sending = (await session.execute(outcome)).scalar_one() is Outcome.sending
                sending = select(func.count()).where(Message.outcome == Outcome.sending)
                self.most_sending = max(self.most_sending, (await session.execute(sending)).scalar_one())
            if not is_sending:
                self.not_in_the_books.append(each.recipient)
            self.begun += 1
            yield index, Receipt("250 ok")

    async def check(self) -> str:
        return "a witness"

    async def aclose(self) -> None:
        return None


async def test_no_mail_begins_before_the_books_say_so(launch: Launch, runtime: Runtime) -> None:
    sent = await launch(25)
    witness = Witness(runtime.db)
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, witness, lambda: False)
    for batch in await sent.batches():
        assert await sending.send_batch(parts, batch.id) is None
    assert witness.begun == 25
    assert witness.not_in_the_books == []


async def test_all_batches_of_a_process_together_have_two_blocks_on_the_wire(
    launch: Launch, runtime: Runtime
) -> None:
    sent = await launch(50)
    witness = Witness(runtime.db)
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, witness, lambda: False)
    batches = await sent.batches()
    await asyncio.gather(*(sending.send_batch(parts, batch.id) for batch in batches))
    assert witness.begun == 50
    assert BLOCK < witness.most_sending <= 2 * BLOCK
