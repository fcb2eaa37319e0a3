"""Who may have a block on the wire, and for how long."""

import asyncio

import pytest

from newsletter.delivery import lanes
from newsletter.delivery.lanes import Lanes


async def test_a_lane_changes_hands_only_after_its_turn_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TURN_SECONDS", 3600.0)
    both = Lanes(1)
    mine = await both.take()
    waiting = asyncio.create_task(both.take())
    await asyncio.sleep(0)
    assert both.may_keep(mine)
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.0)
    assert not both.may_keep(mine)
    both.give_back()
    theirs = await waiting
    assert both.may_keep(theirs)


async def test_nobody_waits_so_a_lane_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.0)
    both = Lanes(2)
    mine = await both.take()
    assert both.are_free
    assert both.may_keep(mine)
