"""Single subscribers that come at the same time, each by a call of its own, share a transaction.

A call alone takes some ten statements and a commit. Here those of one key on one list queue while
a transaction runs, and the next one takes them all: each still waits until it is on disk, and
gets its own answer or its own error. There are three ways to carry out a step, each shorter than the next and
for fewer cases: `newcomers`, `straight`, `single`. What a way does not take it leaves untouched to the next.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from newsletter.audience import batch, newcomers, single, straight
from newsletter.audience.batch import BatchResult, Sheet
from newsletter.audience.quota import SubscriberLimitReached
from newsletter.audience.single import Asked
from newsletter.audience.upsert import Entry, Result, Target
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.shared_steps import SharedSteps
from newsletter.settings import LimitSettings

CALLS_AT_ONCE = 200
"""Calls of one transaction: a bound on how long it holds the locks of its rows."""
LISTS_MET = 10_000
"""Lists that a process remembers to be of people it knows."""


class Done(NamedTuple):
    """What became of a call. Where it is not on disk yet, nobody may be told."""

    result: Result
    is_on_disk: bool


class Intake(SharedSteps[Target, Asked, Done]):
    """One object serves one event loop."""

    def __init__(self, db: Database, vault: Vault, limits: LimitSettings) -> None:
        super().__init__(most=CALLS_AT_ONCE)
        self._db, self._vault, self._limits = db, vault, limits
        self._met = set[UUID]()
        """Lists of which the last step met somebody known, as the next one is likely to."""

    async def subscribe(self, target: Target, call: Asked) -> Result:
        """As `single.subscribe`, in a transaction of its own or of several calls."""
        done = await self.share(target, call)
        if not done.is_on_disk:
            await self._db.on_disk()
        return done.result

    async def import_batch(self, target: Target, sheet: Sheet) -> BatchResult:
        """As `batch.import_batch`, in a transaction of its own. Raises `ValidationFailed`."""
        done = await straight.import_sheet(self._db, self._vault, target, sheet)
        if done is not None:
            await self._db.on_disk()
            return done
        async with self._db.unit_of_work() as session:
            return await batch.import_batch(session, self._vault, target, sheet, self._limits)

    async def carry_out(self, target: Target, calls: Sequence[Asked]) -> Sequence[Done | Exception]:
        entries = [call.entry for call in calls]
        if target.list_id not in self._met:
            added = await newcomers.subscribe_all(self._db, self._vault, target, entries)
            if added is not None:
                return [Done(each, is_on_disk=True) for each in added]
        results = await self._step_by_step(target, calls, entries)
        self._note(target.list_id, results)
        return [each if isinstance(each, Exception) else Done(each, is_on_disk=False) for each in results]

    async def _step_by_step(
        self, target: Target, calls: Sequence[Asked], entries: Sequence[Entry]
    ) -> Sequence[Result | Exception]:
        done = await straight.subscribe_all(self._db, self._vault, target, entries)
        if done is not None:
            return [each or SubscriberLimitReached() for each in done]
        # The next transaction needs the same counter of the plan. It does not wait for the disk:
        # the callers of this one do, at the same time.
        async with self._db.early_unit_of_work() as session:
            return await single.subscribe_all(session, self._vault, target, calls, self._limits)

    def _note(self, list_id: UUID, results: Sequence[Result | Exception]) -> None:
        if all(isinstance(each, Result) and each.is_new for each in results):
            self._met.discard(list_id)
            return
        if len(self._met) >= LISTS_MET:
            self._met.clear()
        self._met.add(list_id)
