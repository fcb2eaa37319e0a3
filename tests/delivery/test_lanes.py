"""Who may have a block on the wire, and for how long."""

import asyncio
from uuid import uuid4

import pytest

from newsletter.delivery import lanes
from newsletter.delivery.lanes import Lanes

MAILING, ANOTHER = uuid4(), uuid4()


async def test_a_lane_changes_hands_only_after_its_turn_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TURN_SECONDS", 3600.0)
    both = Lanes(1)
    mine = await both.take(MAILING)
    waiting = asyncio.create_task(both.take(ANOTHER))
    await asyncio.sleep(0)
    assert both.may_keep(mine)
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.0)
    assert not both.may_keep(mine)
    both.give_back()
    theirs = await waiting
    assert both.may_keep(theirs)


async def test_a_batch_goes_on_while_others_of_its_mailing_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.0)
    both = Lanes(1)
    mine = await both.take(MAILING)
    waiting = [asyncio.create_task(both.take(each)) for each in (MAILING, ANOTHER)]
    await asyncio.sleep(0)
    assert not both.may_keep(mine), "another mailing's turn is not put off by a batch that waits as well"
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    assert both.may_keep(mine)
    both.give_back()
    assert both.may_keep(await waiting[0])


async def test_nobody_waits_so_a_lane_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.0)
    both = Lanes(2)
    mine = await both.take(MAILING)
    assert both.are_free
    assert both.may_keep(mine)
