"""Which mail goes first: single mails never wait behind a campaign (ADR 79).

A campaign to 100,000 is a hundred batches that are rung for at once, and of a server that takes ten mails a
second it holds every thread for hours. So batches of single mails are jobs of another name, which has
queues and threads of its own, and their blocks have lanes of their own on the wire.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.models import MailingKind
from newsletter.kit import jobs

SEND_BATCH = "delivery.send_batch"
SEND_SINGLE = "delivery.single.send_batch"

_URGENT = {MailingKind.transactional, MailingKind.test}


def is_urgent(kind: MailingKind) -> bool:
    """Whether somebody waits for it: single mails, and test sends, which go with them."""
    return kind in _URGENT


async def enqueue(
    session: AsyncSession, kind: MailingKind, batch_ids: Iterable[UUID], *, run_at: datetime | None = None
) -> None:
    """Has batches of such a mailing sent, now or at ``run_at``."""
    name = SEND_SINGLE if is_urgent(kind) else SEND_BATCH
    payloads = [{"batch_id": str(batch_id)} for batch_id in batch_ids]
    await jobs.enqueue_many(session, name, payloads, run_at=run_at)
