"""The event loop of a thread, which ends when it is told to."""

import threading
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

log = structlog.get_logger(__name__)

CLOSE_SECONDS: Final = 1.0
"""What the sockets that are still open get."""


class EventLoop(uvloop.Loop):
    """uvloop's, whose ``close`` goes on until the last socket is gone. On a busy machine one was seen that
    never went: a worker had ended all its work, and waited for ever. Not for the main thread, whose signals
    only it may put back."""

    def close(self) -> None:
        """Returns within `CLOSE_SECONDS`; what is left then ends with the process."""
        if not within(CLOSE_SECONDS, super().close):
            log.warning("a socket did not close in time")


def within(seconds: float, work: Callable[[], object]) -> bool:
    """Whether it ended in time, in a thread that no exit of the process waits for; its error is raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="close", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return not thread.is_alive()
