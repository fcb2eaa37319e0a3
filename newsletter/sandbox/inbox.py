"""Keeps the mail of test projects instead of sending it.

Three personas at ``sandbox.test`` answer as the mail world does: ``delay@`` refuses the
first try with 451, ``bounce@`` accepts and then bounces hard, ``complaint@`` accepts and
then reports spam. Every other address accepts.
"""

import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from email import message_from_bytes
from email.policy import default as modern
from email.utils import parseaddr
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit import clock, ids, jobs
from newsletter.kit.db import Database, insert
from newsletter.providers.base import Envelope, Receipt, Result, Temporary, never
from newsletter.sandbox.models import SandboxMessage

DELAY, BOUNCE, COMPLAINT = (f"{name}@sandbox.test" for name in ("delay", "bounce", "complaint"))
_FEEDBACK = {BOUNCE: "bounced", COMPLAINT: "complained"}
_ROWS_PER_INSERT = 64
_HEADER_BYTES = 16_384


class SandboxProvider:
    """A `newsletter.providers.base.Provider` whose mailboxes are rows of one project."""

    name = "sandbox"

    def __init__(self, db: Database, project_id: UUID, keep: int) -> None:
        self._db, self._project_id, self._keep = db, project_id, keep

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncIterator[tuple[int, Result]]:
        """Takes a block in one transaction, so there is nothing to stop in between."""
        for start in range(0, len(envelopes), _ROWS_PER_INSERT):
            part = envelopes[start : start + _ROWS_PER_INSERT]
            taken = [each for each in part if not _is_delayed(each)]
            async with self._db.unit_of_work() as session:
                await self._store(session, taken)
            for index, each in enumerate(part, start=start):
                yield index, _refusal() if _is_delayed(each) else Receipt("250 2.0.0 kept in the sandbox")

    async def check(self) -> str:
        return "the sandbox inbox of this project"

    async def aclose(self) -> None:
        return None

    async def _store(self, session: AsyncSession, envelopes: Sequence[Envelope]) -> None:
        """A repeated delivery is kept once: the message id is unique."""
        if not envelopes:
            return
        now = clock.now()
        rows = [
            {
                "id": ids.uuid7(),
                "project_id": self._project_id,
                "message_id": each.message_id,
                "to_email": each.recipient,
                **_shown(each),
                "raw": zlib.compress(each.content, 1),
                "received_at": now,
            }
            for each in envelopes
        ]
        statement = insert(session, SandboxMessage).values(rows).on_conflict_do_nothing()
        kept = await session.execute(statement.returning(SandboxMessage.message_id))
        new = set(kept.scalars())
        reports = [
            {
                "message_id": each.message_id,
                "feedback": _FEEDBACK[each.recipient.lower()],
                "source": "sandbox",
            }
            for each in envelopes
            if each.message_id in new and each.recipient.lower() in _FEEDBACK
        ]
        await jobs.enqueue_many(session, "feedback.apply", reports)
        await self._prune(session)

    async def _prune(self, session: AsyncSession) -> None:
        mine = SandboxMessage.project_id == self._project_id
        newest = select(SandboxMessage.id).where(mine).order_by(SandboxMessage.id.desc())
        last_kept = newest.offset(self._keep).limit(1).scalar_subquery()
        await session.execute(delete(SandboxMessage).where(mine, SandboxMessage.id <= last_kept))


def _is_delayed(envelope: Envelope) -> bool:
    return envelope.recipient.lower() == DELAY and envelope.attempt == 1


def _refusal() -> Temporary:
    return Temporary("the mailbox is busy, try again later", code=451, enhanced="4.2.1")


def _shown(envelope: Envelope) -> dict[str, str]:
    """What a list of mails shows; the envelope's sender is an address for reports."""
    header = message_from_bytes(envelope.content[:_HEADER_BYTES], policy=modern)
    sender = parseaddr(str(header.get("From", "")))[1] or envelope.return_path
    return {"from_email": sender, "subject": str(header.get("Subject", ""))[:1000]}


async def forget(session: AsyncSession, project_id: UUID, address_key: str) -> None:
    """Erases a person's mails from the inbox of one project."""
    await session.execute(
        delete(SandboxMessage).where(
            SandboxMessage.project_id == project_id, func.lower(SandboxMessage.to_email) == address_key
        )
    )
