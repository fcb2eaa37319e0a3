"""Calls of one key that come at the same time, carried out in one transaction: `kit.together`, by key."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

from newsletter.kit.db import is_outage
from newsletter.kit.together import Together

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class SharedSteps(ABC, Generic[Key, Item, Answer]):
    """One object serves one event loop. Items of different keys never share a step."""

    def __init__(self, *, most: int) -> None:
        """``most``: items of one step, a bound on how long it holds its locks and the others wait."""
        self._most = most
        self._queues: dict[Key, Together[Item, Answer]] = {}

    @abstractmethod
    async def carry_out(self, key: Key, items: Sequence[Item]) -> Sequence[Answer | Exception]:
        """The step: all of it, or nothing and an error."""

    async def share(self, key: Key, item: Item) -> Answer:
        """Has the item carried out, by itself or with others; its own answer, or its own error."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Together(partial(self.step, key), most=self._most)
        try:
            return await queue(item)
        finally:
            if queue.is_idle:
                self._queues.pop(key, None)

    async def step(self, key: Key, items: Sequence[Item]) -> Sequence[Answer | Exception]:
        """What was there at one moment: together, and where that fails each alone."""
        try:
            return await self.carry_out(key, items)
        except Exception as error:
            if len(items) == 1 or is_outage(error):
                raise
        # There is no room for all of them, or one of them is what the database refuses: each tries by
        # itself, and fails alone.
        return [await self._tried(key, item) for item in items]

    async def _tried(self, key: Key, item: Item) -> Answer | Exception:
        try:
            [answer] = await self.carry_out(key, [item])
        except Exception as error:
            return error
        return answer
