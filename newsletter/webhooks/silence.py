"""Endpoints of this process that say nothing, and whose turns go on without a place.

An endpoint that hangs costs a connection and a coroutine; what is scarce are the threads that take jobs.
Twenty of one project held all of them for 8 s at a time, in which no other project's events went out.
"""

from collections import Counter
from collections.abc import Callable
from uuid import UUID


class Silence:
    """One object serves one event loop."""

    def __init__(self, leave_place: Callable[[UUID], None], most: int, most_of_project: int) -> None:
        self._leave_place, self._most, self._most_of_project = leave_place, most, most_of_project
        self._waiting: Counter[UUID] = Counter()

    def begin(self, project_id: UUID, job_id: UUID) -> bool:
        """Lets another job have this one's place; False where too many have done so already."""
        if self._waiting.total() >= self._most or self._waiting[project_id] >= self._most_of_project:
            return False
        self._waiting[project_id] += 1
        self._leave_place(job_id)
        return True

    def end(self, project_id: UUID) -> None:
        """For each that began: its turn is over."""
        self._waiting[project_id] -= 1
        if not self._waiting[project_id]:
            del self._waiting[project_id]
