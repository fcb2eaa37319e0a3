"""Which mail goes first: a single one waits behind no campaign (ADR 79) and no call to many (ADR 80).

A campaign to 100,000 is a hundred batches that are rung for at once, and of a server that takes ten mails a
second it holds every thread for hours. So batches of single mails are jobs of another name, which has
queues and threads of its own, and their blocks have lanes of their own on the wire. Calls to many, and
marketing, are jobs of a third name: they stand behind no campaign, and share its lanes.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.models import MailingKind
from newsletter.kit import jobs
from newsletter.providers.base import Purpose

SEND_BATCH = "delivery.send_batch"
SEND_BULK = "delivery.bulk.send_batch"
SEND_SINGLE = "delivery.single.send_batch"
JOBS = (SEND_BATCH, SEND_BULK, SEND_SINGLE)

FEW = 50
"""The most recipients of a call whose mails go first: as many as one mail may have by default."""


def of_call(purpose: Purpose, *, is_to_many: bool) -> str:
    """The job that sends the batches of a call; ``is_to_many``: it names more than `FEW` recipients."""
    return SEND_BULK if is_to_many or purpose is Purpose.marketing else SEND_SINGLE


def of_mailing(kind: MailingKind) -> str:
    """The job that sends the batches of a mailing that no call made. Somebody waits for a test send, too."""
    return SEND_SINGLE if kind is MailingKind.test else SEND_BATCH


async def enqueue(
    session: AsyncSession, job: str, batch_ids: Iterable[UUID], *, run_at: datetime | None = None
) -> None:
    """Has the batches sent by that job, now or at ``run_at``."""
    payloads = [{"batch_id": str(batch_id)} for batch_id in batch_ids]
    await jobs.enqueue_many(session, job, payloads, run_at=run_at)
