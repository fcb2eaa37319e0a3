"""A loop that is closed does not hold up the process."""

import asyncio
import threading

import pytest

from newsletter.kit.eventloop import EventLoop, within


def test_a_loop_runs_and_is_closed_once_for_all() -> None:
    loop = EventLoop()
    assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    loop.close()
    assert loop.is_closed()


def test_what_never_ends_is_waited_for_no_longer_than_that() -> None:
    never = threading.Event()
    assert not within(0.01, never.wait)
    never.set()


def test_what_goes_wrong_is_said() -> None:
    loop = EventLoop()

    async def close() -> None:
        with pytest.raises(RuntimeError, match="running"):
            loop.close()

    loop.run_until_complete(close())
    loop.close()
