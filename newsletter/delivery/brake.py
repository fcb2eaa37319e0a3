"""Pauses a campaign by itself when too many of its mails bounce or draw complaints.

A list that was bought, or is years old, costs the sender its name with the mailbox providers
within minutes: Gmail and Yahoo ask for less than 0.3 % of complaints. Bounces and complaints
are counted on batches, and looked at when one has just been added, in the same transaction:
the worker that wrote it opens no further block.
"""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.models import Batch, Mailing, MailingKind, MailingStatus
from newsletter.kit import jobs
from newsletter.kit.db import db_now
from newsletter.kit.prepared import Prepared
from newsletter.settings import DeliverySettings

log = structlog.get_logger(__name__)

DOUBLE = 2.0
"""Who resumes in spite of a share accepts up to so many times it."""


@dataclass(frozen=True, slots=True)
class Health:
    """The books of bounces and complaints. ``tried``: mails that a server answered for good."""

    tried: int
    sent: int
    bounced: int
    complained: int

    @property
    def bounce_share(self) -> float:
        return self.bounced / self.tried if self.tried else 0.0

    @property
    def complaint_share(self) -> float:
        return self.complained / self.sent if self.sent else 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares, 0 to 1, above which a campaign pauses once it has tried so many mails."""

    after: int
    bounce: float
    complaint: float


# Made once, as both are asked at the end of each batch: see `newsletter.kit.jobs`.
_RUNNING = Prepared(
    lambda _: select(Mailing.bounce_limit, Mailing.complaint_limit).where(
        Mailing.id == bindparam("mailing_id"),
        Mailing.kind == MailingKind.campaign,
        Mailing.status == MailingStatus.running,
    )
)
_SUMS = Prepared(
    lambda _: select(
        *(
            func.coalesce(func.sum(column), 0)
            for column in (Batch.sent, Batch.failed, Batch.bounced, Batch.complained)
        )
    ).where(Batch.mailing_id == bindparam("mailing_id"))
)


async def apply(session: AsyncSession, mailing_id: UUID, settings: DeliverySettings) -> bool:
    """Pauses a running campaign that is above a limit, and tells it why; returns whether it did.

    Safe to call twice and from two workers: one of them finds it running.
    """
    found = await _RUNNING.rows(session, mailing_id=mailing_id)
    if not found:
        return False
    [(bounce, complaint)] = found
    reason = judge(await health(session, mailing_id), limits(bounce, complaint, settings))
    if reason is None:
        return False
    code, message = reason
    paused = (
        update(Mailing)
        .where(Mailing.id == mailing_id, Mailing.status == MailingStatus.running)
        .values(status=MailingStatus.paused, paused_at=db_now())
        .returning(Mailing.id)
    )
    if (await session.execute(paused)).first() is None:
        return False
    log.warning("a campaign pauses itself", mailing_id=str(mailing_id), code=code, reason=message)
    payload = {"mailing_id": str(mailing_id), "code": code, "message": message}
    await jobs.enqueue(session, "campaigns.on_mailing_paused", payload)
    return True


def limits(bounce: float | None, complaint: float | None, settings: DeliverySettings) -> Limits:
    return Limits(
        settings.pause_after_sends,
        bounce or settings.pause_bounce_percent / 100,
        complaint or settings.pause_complaint_percent / 100,
    )


async def health(session: AsyncSession, mailing_id: UUID) -> Health:
    [row] = await _SUMS.rows(session, mailing_id=mailing_id)
    sent, failed, bounced, complained = (int(number) for number in row)
    return Health(sent + failed, sent, bounced, complained)


def judge(now: Health, limits: Limits) -> tuple[str, str] | None:
    """The code and the message of what is wrong; None while all is well, or too little was tried."""
    if now.tried < limits.after:
        return None
    if now.bounce_share > limits.bounce:
        return "too_many_bounces", (
            f"{now.bounced:,} of {now.tried:,} mails bounced for good ({now.bounce_share:.1%}); "
            f"a campaign pauses above {limits.bounce:.1%}. Look at where the addresses come from."
        )
    if now.complaint_share > limits.complaint:
        return "too_many_complaints", (
            f"{now.complained:,} of {now.sent:,} readers reported spam ({now.complaint_share:.2%}); "
            f"a campaign pauses above {limits.complaint:.2%}. Look at who agreed to get it."
        )
    return None


async def release(session: AsyncSession, mailing: Mailing, settings: DeliverySettings) -> None:
    """For a customer who resumes: a share that is above its limit now is accepted until it doubles."""
    now = await health(session, mailing.id)
    allowed = limits(mailing.bounce_limit, mailing.complaint_limit, settings)
    if now.bounce_share > allowed.bounce:
        mailing.bounce_limit = DOUBLE * now.bounce_share
    if now.complaint_share > allowed.complaint:
        mailing.complaint_limit = DOUBLE * now.complaint_share
