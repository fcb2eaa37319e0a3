"""How many blocks one process has on the wire."""

import asyncio
import time
from collections import Counter
from uuid import UUID

BLOCKS_IN_FLIGHT = 2
"""While one is on the wire, the books of the other are written. More would leave more messages
unknown when the process is killed, and gain nothing."""
TURN_SECONDS = 0.25
"""For how long a batch may keep a lane while one of another mailing waits. A lane that changes hands costs
a write of the books more: outcomes are on disk before another batch may open its block. Handed on
with each block, that was two writes a block, and the sender stood still for one of them."""


class Lane:
    """The right to have one block of a mailing on the wire."""

    def __init__(self, mailing_id: UUID) -> None:
        self.mailing_id = mailing_id
        self._since = time.monotonic()

    @property
    def is_long_held(self) -> bool:
        """Whether it is the turn of somebody else, if anybody waits."""
        return time.monotonic() - self._since >= TURN_SECONDS


class Lanes:
    """Shared by all batches that one process sends: the one that waits longest is next.

    Mailings take turns. Batches of one mailing follow each other, because nobody gains by
    having all of them half done, and each turn would be a write more.
    """

    def __init__(self, number: int = BLOCKS_IN_FLIGHT) -> None:
        self._lanes = asyncio.Semaphore(number)
        self._waiting = Counter[UUID]()

    @property
    def are_free(self) -> bool:
        """Whether `take` would return at once."""
        return not self._lanes.locked()

    def may_keep(self, lane: Lane) -> bool:
        """Whether its holder may open one more block in it."""
        return not self._waiting.keys() - {lane.mailing_id} or not lane.is_long_held

    async def take(self, mailing_id: UUID) -> Lane:
        self._waiting[mailing_id] += 1
        try:
            await self._lanes.acquire()
        finally:
            self._waiting[mailing_id] -= 1
            if not self._waiting[mailing_id]:
                del self._waiting[mailing_id]
        return Lane(mailing_id)

    def give_back(self) -> None:
        self._lanes.release()
