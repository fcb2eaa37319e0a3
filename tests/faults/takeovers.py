"""How long the batches of killed workers wait for another: read from the leases while a campaign runs."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from sqlalchemy import select

from newsletter.delivery.models import Batch, BatchStatus
from newsletter.kit.db import is_outage
from tests.faults.campaign import Campaign

EVERY = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Lease:
    token: int
    renewed_at: datetime
    lease_until: datetime


class Takeovers:
    """``async with Takeovers(campaign, lease) as seen``, then `seconds`.

    A batch was taken over when its token rises though its owner gave nothing back: the new owner
    came after the old lease had run out. The old one died, at the earliest, at the first kill
    after its last renewal, which is what the wait is counted from.
    """

    def __init__(self, campaign: Campaign, lease: float) -> None:
        self.seconds: list[float] = []
        self._campaign = campaign
        self._lease = lease
        self._leases: dict[UUID, Lease] = {}
        self._kills: list[datetime] = []
        self._task: asyncio.Task[None] | None = None

    def note_a_kill(self) -> None:
        """A worker died just now. (The database is on this machine: its clock is ours.)"""
        self._kills.append(datetime.now(UTC))

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        mailing_id = (await self._campaign.mailing()).id
        statement = select(Batch.id, Batch.token, Batch.renewed_at, Batch.lease_until).where(
            Batch.mailing_id == mailing_id, Batch.status == BatchStatus.leased
        )
        while True:
            await asyncio.sleep(EVERY)
            try:
                async with self._campaign.db.read() as session:
                    rows = (await session.execute(statement)).all()
            except Exception as error:
                if not is_outage(error):
                    raise
                continue
            for row in rows:
                if row.renewed_at is not None and row.lease_until is not None:
                    self._compare(row.id, Lease(row.token, row.renewed_at, row.lease_until))

    def _compare(self, batch_id: UUID, now: Lease) -> None:
        before = self._leases.get(batch_id)
        self._leases[batch_id] = now
        if before is None or before.token == now.token or now.renewed_at < before.lease_until:
            return
        died_at = next((kill for kill in self._kills if kill >= before.renewed_at), None)
        if died_at is not None and died_at < now.renewed_at:
            self.seconds.append((now.renewed_at - died_at).total_seconds())
