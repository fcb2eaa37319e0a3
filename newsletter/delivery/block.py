"""The recipients whose outcomes are written in one transaction: their mails, and what is on the wire."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from newsletter.delivery.headers import HeaderInvalid
from newsletter.delivery.lanes import Lane
from newsletter.delivery.ledger import Decision
from newsletter.delivery.letter import Copy, Writer
from newsletter.delivery.models import Outcome
from newsletter.delivery.reading import Recipient
from newsletter.providers.base import Envelope

SLOW = 1.0
"""Seconds after which the outcomes of a block do not wait for its end any more."""


@dataclass(frozen=True, slots=True)
class Block:
    """Recipients whose mails are written, but not begun; ``skipped`` get none."""

    recipients: dict[int, Recipient]
    envelopes: dict[int, Envelope]
    skipped: list[Decision]


@dataclass(slots=True)
class Delivery:
    """A block on the wire, and what is known of it so far."""

    lane: Lane
    recipients: Mapping[int, Recipient]
    left: dict[int, Envelope]
    """Not decided yet."""
    decisions: list[Decision] = field(default_factory=list)
    written: int = 0
    """How many of the decisions are in the books already."""
    withdrawn: set[int] = field(default_factory=set)
    """Of those left, who must not be mailed after all. While there are any, no message is begun."""
    task: asyncio.Task[None] = field(init=False)
    begun_at: float = field(default_factory=time.monotonic)

    @property
    def is_slow(self) -> bool:
        return time.monotonic() - self.begun_at >= SLOW

    @property
    def unwritten(self) -> Sequence[Decision]:
        """What is known and not in the books yet. To write some of it twice is harmless."""
        return self.decisions[self.written :]


def written(letter: Writer, copies: Mapping[int, Copy], skipped: list[Decision]) -> dict[int, Envelope]:
    """A value that no header may hold fails its own recipient, and keeps nobody else waiting."""
    try:
        return dict(zip(copies, letter.write_block(list(copies.values())), strict=True))
    except HeaderInvalid as error:
        if len(copies) == 1:
            [seq] = copies
            skipped.append(Decision(seq, Outcome.failed, f"cannot be written: {error}"))
            return {}
    envelopes = dict[int, Envelope]()
    for seq, copy in copies.items():
        envelopes |= written(letter, {seq: copy}, skipped)
    return envelopes
