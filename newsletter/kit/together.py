"""Carries out calls that come at the same time in one step: group commit inside the process.

While a step runs, calls queue; the next step takes all that queued. A call on its own begins
at once, so nobody waits for a timer, and the busier the process, the more calls share a step.
Each caller waits for the step that its own call is part of, which began after the call came.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Step = Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]]


class Together(Generic[Item, Answer]):
    """``answer = await together(item)``.

    The step is given up to ``most`` items, in the order in which they came, and returns an
    answer for each; an exception among them is raised to that caller alone. What the step
    itself raises reaches all its callers. A caller that is cancelled while its item queues
    takes it back; once the step has begun the item is carried out.
    """

    def __init__(self, step: Step[Item, Answer], *, most: int) -> None:
        self._step, self._most = step, most
        self._queue: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return self._task is None

    async def __call__(self, item: Item) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((item, answer))
        if self._task is None:
            # In a context of its own: what a step logs belongs to no single request.
            self._task = asyncio.create_task(self._work(), context=Context())
        return await answer

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._run([self._queue.popleft() for _ in range(min(len(self._queue), self._most))])
        finally:
            self._task = None
            for _, answer in self._queue:  # Only when this task was cancelled: the loop is ending.
                answer.cancel()
            self._queue.clear()

    async def _run(self, taken: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        taken = [(item, answer) for item, answer in taken if not answer.done()]
        if not taken:
            return
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._step([item for item, _ in taken])
        except asyncio.CancelledError:
            for _, waiting in taken:
                waiting.cancel()
            raise
        except Exception as error:
            answers = [error] * len(taken)
        for (_, waiting), answer in zip(taken, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
