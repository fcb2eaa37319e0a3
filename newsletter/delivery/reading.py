"""Reads whom a batch has to write to, with what their mails may say of them."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, or_, select

from newsletter.audience import queries as audience
from newsletter.audience.queries import MergeRow
from newsletter.delivery.batches import Claim
from newsletter.delivery.models import Message, Outcome
from newsletter.delivery.queries import is_erased
from newsletter.kit.db import Database, db_now
from newsletter.kit.prepared import Prepared

PAGE = 512
"""Recipients that are read at once: a range of the key, with one join, instead of two queries for
each block. It bounds the memory of a batch, however large that is."""


class Recipient(NamedTuple):
    """``person`` is None for an address that is on no list, and for a subscriber who is gone."""

    seq: int
    subscriber_id: UUID | None
    address: str
    attempts: int
    person: MergeRow | None

    @property
    def is_reachable(self) -> bool:
        """False for who was erased, and for who left since the audience was frozen. That is asked
        again when the block is opened; here it saves writing the mail."""
        if is_erased(self.address):
            return False
        return self.subscriber_id is None or (self.person is not None and self.person.is_active)


_DUE = Prepared(
    lambda _: (
        audience.with_merge_data(
            select(Message.seq, Message.subscriber_id, Message.address, Message.attempts),
            Message.subscriber_id,
            bindparam("project_id"),
        )
        .where(
            Message.mailing_id == bindparam("mailing_id"),
            Message.seq > bindparam("after"),
            Message.seq <= bindparam("last"),
            or_(Message.outcome == Outcome.pending, Message.outcome == Outcome.deferred),
            Message.next_attempt_at.is_(None) | (Message.next_attempt_at <= db_now()),
        )
        .order_by(Message.seq)
        .limit(PAGE)
    )
)


async def due(db: Database, claimed: Claim, after: int) -> list[Recipient]:
    """The next `PAGE` of the batch behind the seq ``after``; fewer are the last."""
    async with db.read() as session:
        rows = await _DUE.rows(
            session,
            project_id=claimed.mailing.project_id,
            mailing_id=claimed.mailing.id,
            after=after,
            last=claimed.last_seq,
        )
        return [
            Recipient(seq, subscriber_id, address, attempts, audience.merge_row(*person))
            for seq, subscriber_id, address, attempts, *person in rows
        ]
