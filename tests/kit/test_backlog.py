"""Rows on their way from memory to the database, with more than one who sends them off."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from newsletter.kit.backlog import Backlog
from newsletter.kit.db import JSONObject
from newsletter.kit.spool import Spool


class Numbers(Backlog[int, int]):
    """Numbers, and a database that takes them once it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__("numbers", Spool(folder, 10_000), every=3600, block=2, most=100)
        self.written: list[int] = []
        self.begun, self.goes_on = asyncio.Event(), asyncio.Event()
        self.is_away = False

    def rows(self, block: Sequence[int]) -> Sequence[int]:
        return block

    async def write(self, rows: Sequence[int]) -> None:
        if self.is_away:
            raise OSError("away")
        await self.write_again(rows)

    async def write_again(self, rows: Sequence[int]) -> None:
        self.begun.set()
        await self.goes_on.wait()
        self.written += rows

    def packed(self, row: int) -> JSONObject:
        return {"number": row}

    def unpacked(self, packed: Any) -> int:
        number: int = packed["number"]
        return number


async def test_who_flushes_waits_for_what_another_has_begun_to_write(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path)
    numbers.note(1)
    first = asyncio.create_task(numbers.flush())
    await numbers.begun.wait()
    second = asyncio.create_task(numbers.flush())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not second.done()
    numbers.goes_on.set()
    await asyncio.gather(first, second)
    assert numbers.written == [1]
    await numbers.aclose()


async def test_a_caller_that_is_cancelled_takes_nothing_along(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path)
    for number in (1, 2, 3):
        numbers.note(number)
    flushing = asyncio.create_task(numbers.flush())
    await numbers.begun.wait()
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    numbers.goes_on.set()
    await numbers.aclose()
    assert numbers.written == [1, 2, 3]


async def test_what_comes_into_the_spool_while_it_is_replayed_is_not_removed_with_it(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path)
    numbers.is_away = True
    numbers.note(1)
    await numbers.flush()
    replaying = asyncio.create_task(numbers.replay())
    await numbers.begun.wait()
    numbers.note(2)
    flushing = asyncio.create_task(numbers.flush())
    # Without an order of the two the block is in the file by then, behind what was read of it.
    await asyncio.wait([flushing], timeout=0.2)
    numbers.goes_on.set()
    await asyncio.gather(replaying, flushing)
    await numbers.replay()
    assert numbers.written == [1, 2]
    await numbers.aclose()
