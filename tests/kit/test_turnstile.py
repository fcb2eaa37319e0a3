"""The fair lock of SQLite's writers."""

import asyncio
import threading

import pytest

from newsletter.kit.turnstile import Turnstile


async def test_turns_are_taken_in_the_order_of_arrival() -> None:
    turnstile, order = Turnstile(), []

    async def pass_through(number: int) -> None:
        async with turnstile.turn():
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(pass_through(number) for number in range(20)))
    assert order == list(range(20))


async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    turnstile, passed = Turnstile(), []

    async def pass_through(name: str) -> None:
        async with turnstile.turn():
            passed.append(name)

    async with turnstile.turn():
        impatient = asyncio.create_task(pass_through("impatient"))
        patient = asyncio.create_task(pass_through("patient"))
        await asyncio.sleep(0)
        impatient.cancel()
    await patient
    assert passed == ["patient"]


async def test_who_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    turnstile = Turnstile()

    async def pass_through() -> None:
        async with turnstile.turn():
            pass

    async with turnstile.turn():
        unlucky = asyncio.create_task(pass_through())
        next_one = asyncio.create_task(pass_through())
        await asyncio.sleep(0)
    # The turn is on its way to the first one, which does not live to take it.
    unlucky.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unlucky
    await asyncio.wait_for(next_one, 60)


def test_loops_of_several_threads_share_it() -> None:
    turnstile, inside, most = Turnstile(), 0, 0

    async def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            async with turnstile.turn():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, inside) == (1, 0)
