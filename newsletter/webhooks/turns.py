"""Whose turn it is to call an endpoint: one job's at a time, in the whole installation.

So what befalls its deliveries has one author, and an endpoint that hangs takes one place of a process.
A turn belongs to a job that is there, and ends in the transaction that looked once more for what is due.
Whoever finds it taken has nothing to do: that job sees what is in the database by then. A job that runs
again, after a crash or an error, goes on with its own; what it was before may still breathe, and writes
nothing, as each of its writes begins with the turn's token.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.db import db_now
from newsletter.kit.jobs import Job
from newsletter.webhooks import service
from newsletter.webhooks.models import Endpoint, WebhookDelivery
from newsletter.webhooks.queries import OPEN

REST = timedelta(seconds=5)
"""So long an endpoint that did not answer is left alone, so that many of them cannot take all places."""


@dataclass(frozen=True, slots=True)
class Turn:
    endpoint_id: UUID
    job_id: UUID
    token: int


@dataclass(frozen=True, slots=True)
class Held:
    """The endpoint, locked in this transaction against other changes."""

    endpoint: Endpoint
    now: datetime
    """By the database's clock."""
    has_waiting: bool
    """Whether anything open waits at it for another of its message."""


# Made once: a statement like these takes about 1 ms to make, as long as the database takes for it.
_IS_FREE = or_(
    Endpoint.turn_job_id.is_(None),
    Endpoint.turn_job_id == bindparam("job_id"),
    # Nobody ends the turn of a job that somebody deleted.
    ~select(Job.id).where(Job.id == Endpoint.turn_job_id).exists(),
)
_IS_RESTED = or_(Endpoint.rests_until.is_(None), Endpoint.rests_until <= db_now())
_TAKE = (
    update(Endpoint)
    .where(Endpoint.id == bindparam("endpoint_id"), _IS_FREE, _IS_RESTED)
    .values(turn_job_id=bindparam("job_id"), turn_token=Endpoint.turn_token + 1, rests_until=None)
    .returning(Endpoint.turn_token)
    .execution_options(synchronize_session=False)
)
_WAITING = [
    select(WebhookDelivery.id)
    .where(
        WebhookDelivery.endpoint_id == Endpoint.id,
        WebhookDelivery.status == status,
        WebhookDelivery.next_attempt_at.is_(None),
    )
    .exists()
    for status in OPEN
]
_HOLD = (
    select(Endpoint, db_now(), or_(*_WAITING))
    .where(
        Endpoint.id == bindparam("endpoint_id"),
        Endpoint.turn_job_id == bindparam("job_id"),
        Endpoint.turn_token == bindparam("token"),
    )
    # Who only refers to the endpoint, as a fan-out does, need not wait.
    .with_for_update(of=Endpoint, key_share=True)
)
_NEXT = select(func.min(WebhookDelivery.next_attempt_at)).where(
    WebhookDelivery.endpoint_id == bindparam("endpoint_id"), WebhookDelivery.next_attempt_at.is_not(None)
)


async def take(session: AsyncSession, endpoint_id: UUID, job_id: UUID) -> Turn | None:
    """None while it is another's turn, while the endpoint rests, and when it was deleted."""
    named = {"endpoint_id": endpoint_id, "job_id": job_id}
    token = (await session.execute(_TAKE, named)).scalar_one_or_none()
    return None if token is None else Turn(endpoint_id, job_id, token)


async def hold(session: AsyncSession, turn: Turn) -> Held | None:
    """To be called first in each transaction of the turn. None when it is over: the endpoint was
    deleted, or the job runs again elsewhere."""
    named = {"endpoint_id": turn.endpoint_id, "job_id": turn.job_id, "token": turn.token}
    found = (await session.execute(_HOLD, named)).one_or_none()
    return None if found is None else Held(*found)


async def leave(session: AsyncSession, held: Held, *, is_silent: bool) -> None:
    """Ends the turn, and has the next begin when something is due; an endpoint that ``is_silent`` rests, and
    the next begins after that."""
    endpoint = held.endpoint
    endpoint.turn_job_id = None
    endpoint.rests_until = held.now + REST if is_silent else None
    await session.flush()
    # The lock is held since before this looks: what comes later finds the turn free. What comes in its rest
    # has no turn, and so there is one at its end, whatever is due by then.
    next_at = (await session.execute(_NEXT, {"endpoint_id": endpoint.id})).scalar_one()
    await service.serve_later(session, endpoint.id, endpoint.rests_until or next_at, held.now)
