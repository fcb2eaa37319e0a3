"""Calls that come at the same time share a step, and nobody else's trouble."""

import asyncio
from collections.abc import Sequence

import pytest

from newsletter.kit.together import MOST_TURNS, Together


class Steps:
    """Doubles what it is given; the first step waits until it is let go."""

    def __init__(self) -> None:
        self.taken: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.taken.append(list(items))
        await self.go.wait()
        if 13 in items:
            raise OSError("all of it")
        return [ValueError("this one") if item < 0 else item * 2 for item in items]


@pytest.fixture
def steps() -> Steps:
    return Steps()


async def started(together: Together[int, int], *items: int) -> list[asyncio.Task[int]]:
    async def call(item: int) -> int:
        return await together(item)

    tasks = [asyncio.create_task(call(item)) for item in items]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_a_call_alone_begins_at_once_and_those_behind_it_share_the_next_step(steps: Steps) -> None:
    together = Together(steps, most=10)
    first = await started(together, 1)
    others = await started(together, 2, 3, 4)
    assert steps.taken == [[1]]
    steps.go.set()

    assert await asyncio.gather(*first, *others) == [2, 4, 6, 8]
    assert steps.taken == [[1], [2, 3, 4]]
    assert together.is_idle


async def test_a_step_of_many_waits_for_those_of_the_same_moment(steps: Steps) -> None:
    together = Together(steps, most=10)
    steps.go.set()
    first = await started(together, 1, 2)
    others = await started(together, 3)
    await asyncio.gather(*first, *others)
    again = await started(together, 4)
    later = await started(together, 5)
    await asyncio.gather(*again, *later)

    assert steps.taken == [[1, 2, 3], [4, 5]]


async def test_who_comes_without_end_does_not_hold_up_a_step(steps: Steps) -> None:
    together = Together(steps, most=1_000)
    tasks = await started(together, 1, 2)
    for number in range(20, 20 + MOST_TURNS):  # One in each turn or two.
        tasks += await started(together, number)
    begun = len(steps.taken)
    steps.go.set()
    await asyncio.gather(*tasks)

    assert begun == 1


async def test_after_a_call_alone_the_next_one_begins_at_once(steps: Steps) -> None:
    together = Together(steps, most=10)
    steps.go.set()
    for number in range(5):
        [task] = await started(together, number)
        assert steps.taken[number:] == [[number]]
        await task


async def test_a_step_takes_so_many_and_no_more(steps: Steps) -> None:
    together = Together(steps, most=2)
    tasks = await started(together, 1, 2, 3, 4, 5)
    steps.go.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert steps.taken == [[1, 2], [3, 4], [5]]


async def test_an_error_goes_to_the_call_that_it_is_about(steps: Steps) -> None:
    together = Together(steps, most=10)
    steps.go.set()
    answers = await asyncio.gather(*await started(together, 1, -1, 2), return_exceptions=True)

    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 4


async def test_what_a_step_raises_reaches_all_its_calls_and_none_of_the_next(steps: Steps) -> None:
    together = Together(steps, most=2)
    tasks = await started(together, 13, 1, 2)
    steps.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(answer) for answer in answers] == [OSError, OSError, int]


async def test_who_gives_up_in_the_queue_takes_the_call_back(steps: Steps) -> None:
    together = Together(steps, most=10)
    first = await started(together, 1)
    others = await started(together, 2, 3)
    others[0].cancel()
    steps.go.set()

    assert await asyncio.gather(*first, others[1]) == [2, 6]
    assert steps.taken == [[1], [3]]


async def test_who_gives_up_during_the_step_spoils_it_for_nobody(steps: Steps) -> None:
    together = Together(steps, most=10)
    tasks = await started(together, 1, 2)
    tasks[0].cancel()
    steps.go.set()

    assert await tasks[1] == 4
    assert tasks[0].cancelled()
