"""Why a batch opens no further block, and how soon its worker learns of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum, auto
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.models import Mailing, MailingStatus
from newsletter.kit.prepared import Prepared

LOOK_EVERY = 0.4
"""Seconds between two looks at the mailing, and at who of its readers left, while their mails are on
the wire. Each block reads both anyway; but a slow server takes minutes for one, and a pause or an
unsubscribe must hold within a second."""


class Halt(Enum):
    """Why no further block is opened."""

    cancelled = auto()
    paused = auto()
    stopping = auto()
    outage = auto()
    expired = auto()


BY_STATUS = {MailingStatus.cancelled: Halt.cancelled, MailingStatus.paused: Halt.paused}


# Made once: each batch in hand asks this several times a second.
_STATUS = Prepared(lambda _: select(Mailing.status).where(Mailing.id == bindparam("mailing_id")))


async def asked_for(session: AsyncSession, mailing_id: UUID) -> Halt | None:
    """What a customer, or the mailing's own bounces, asked for."""
    [(status,)] = await _STATUS.rows(session, mailing_id=mailing_id)
    return BY_STATUS.get(status)


async def is_paused(session: AsyncSession, mailing_id: UUID) -> bool:
    """Whether it is paused, and stays so until this transaction ends.

    A batch is given back without a job only under this lock: a resume either finds the batch
    waiting, or is seen here. Two transactions that go on to close the mailing must not both
    hold it.
    """
    held = select(Mailing.status).where(Mailing.id == mailing_id).with_for_update(read=True)
    return (await session.execute(held)).scalar_one() is MailingStatus.paused


@contextlib.asynccontextmanager
async def watching(look: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Calls ``look`` again and again while the block runs.

    A database that is away is no news here: the lease runs out by itself.
    """

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            with contextlib.suppress(DBAPIError, OSError, PoolTimeout):
                await look()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
