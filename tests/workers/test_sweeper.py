"""How the sweeper ends."""

import asyncio

import pytest

from newsletter.runtime import Runtime
from workers import sweeper
from workers.sweeper import Chore, Sweeper


async def started(runtime: Runtime, chore: Chore) -> Sweeper:
    made = Sweeper(runtime)
    made._chores = [chore]
    await made.start()
    return made


async def test_a_chore_that_is_under_way_ends_before_the_sweeper(runtime: Runtime) -> None:
    began, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def slow() -> None:
        began.set()
        await may_end.wait()
        ended.append(True)

    made = await started(runtime, Chore("slow", 0, slow))
    await began.wait()
    stopping = asyncio.create_task(made.stop())
    await asyncio.sleep(0)
    may_end.set()
    await stopping
    assert ended == [True], "it ended once, and no other was begun"


async def test_a_chore_that_does_not_end_holds_nobody_up(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "END_SECONDS", 0.01)
    began, cancelled = asyncio.Event(), []

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    made = await started(runtime, Chore("endless", 0, endless))
    await began.wait()
    await made.stop()
    assert cancelled == [True]
