"""Single subscribers that come at the same time, each by a call of its own, share a transaction.

A call alone takes some ten statements and a commit. Here those of one key on one list queue while
a transaction runs, and the next one takes them all: each still waits until it is on disk, and
gets its own answer or its own error.
"""

from collections.abc import Sequence

from newsletter.audience import batch, single, straight
from newsletter.audience.batch import BatchResult, Sheet
from newsletter.audience.quota import SubscriberLimitReached
from newsletter.audience.single import Asked
from newsletter.audience.upsert import Result, Target
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.shared_steps import SharedSteps
from newsletter.settings import LimitSettings

CALLS_AT_ONCE = 200
"""Calls of one transaction: a bound on how long it holds the locks of its rows."""


class Intake(SharedSteps[Target, Asked, Result]):
    """One object serves one event loop."""

    def __init__(self, db: Database, vault: Vault, limits: LimitSettings) -> None:
        super().__init__(most=CALLS_AT_ONCE)
        self._db, self._vault, self._limits = db, vault, limits

    async def subscribe(self, target: Target, call: Asked) -> Result:
        """As `single.subscribe`, in a transaction of its own or of several calls."""
        result = await self.share(target, call)
        await self._db.on_disk()
        return result

    async def import_batch(self, target: Target, sheet: Sheet) -> BatchResult:
        """As `batch.import_batch`, in a transaction of its own. Raises `ValidationFailed`."""
        done = await straight.import_sheet(self._db, self._vault, target, sheet)
        if done is not None:
            await self._db.on_disk()
            return done
        async with self._db.unit_of_work() as session:
            return await batch.import_batch(session, self._vault, target, sheet, self._limits)

    async def carry_out(self, target: Target, calls: Sequence[Asked]) -> Sequence[Result | Exception]:
        entries = [call.entry for call in calls]
        done = await straight.subscribe_all(self._db, self._vault, target, entries)
        if done is not None:
            return [each or SubscriberLimitReached() for each in done]
        # The next transaction needs the same counter of the plan. It does not wait for the disk:
        # the callers of this one do, at the same time.
        async with self._db.early_unit_of_work() as session:
            return await single.subscribe_all(session, self._vault, target, calls, self._limits)
