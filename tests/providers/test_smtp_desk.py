"""Whose message a connection takes next."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from newsletter.providers.base import Envelope, ServerDown, never
from newsletter.providers.smtp.call import Call
from newsletter.providers.smtp.desk import OLDEST_EACH, Desk

ENVELOPE = Envelope("msg_1", "news@example.com", "ada@example.com", b"")

OPENED: list[Call] = []


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Its one worker takes nothing by itself."""

    async def wait() -> ServerDown | None:
        await asyncio.Event().wait()
        return None

    made = Desk(wait, 1)
    yield made
    for call in OPENED:
        await made.close(call)
    OPENED.clear()
    await made.end_work(within=0)


def opened(desk: Desk, messages: int) -> Call:
    call = Call([ENVELOPE] * messages, never)
    desk.open(call)
    OPENED.append(call)
    return call


def taken(desk: Desk, messages: int) -> list[Call]:
    found = [desk.take() for _ in range(messages)]
    return [each[0] for each in found if each is not None]


async def test_one_mail_is_taken_before_the_rest_of_a_block(desk: Desk) -> None:
    opened(desk, 64)
    taken(desk, 3)
    one = opened(desk, 1)
    assert one in taken(desk, 2)


async def test_calls_of_few_without_a_pause_leave_a_block_its_share(desk: Desk) -> None:
    block = opened(desk, 64)
    seen: list[Call] = []
    for _ in range(10):
        opened(desk, 8)
        seen += taken(desk, 8)
    assert seen.count(block) == 80 // OLDEST_EACH
