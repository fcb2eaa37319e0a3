"""How many blocks one process has on the wire."""

import asyncio

BLOCKS_IN_FLIGHT = 2
"""While one is on the wire, the books of the other are written. More would leave more messages
unknown when the process is killed, and gain nothing."""


class Lanes:
    """Shared by all batches that one process sends, in turn: the one that waits longest is next."""

    def __init__(self, number: int = BLOCKS_IN_FLIGHT) -> None:
        self._lanes = asyncio.Semaphore(number)
        self._waiting = 0

    @property
    def are_free(self) -> bool:
        """Whether `take` would return at once."""
        return not self._lanes.locked()

    @property
    def are_wanted(self) -> bool:
        """Whether somebody waits for one."""
        return self._waiting > 0

    async def take(self) -> None:
        self._waiting += 1
        try:
            await self._lanes.acquire()
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        self._lanes.release()
