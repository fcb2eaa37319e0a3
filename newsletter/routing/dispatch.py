"""One block on its way through several servers, limits, probes and doors.

In rounds: each mail is with the first server of its order that has not passed it on; the mails of
one server go together, servers side by side. A server passes a mail on when it may not take it
now, is away, or refuses it for now. A mail that no server is left for ends with what says most:
a refusal of the mail itself, else when to come again, else that the servers are away.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from newsletter.providers.base import Envelope, Refusal, Result, ServerDown, Temporary, Throttled, Unknown
from newsletter.routing.breaker import State
from newsletter.routing.choice import Candidate, Tier, order
from newsletter.routing.outlet import Call, Outlet, domain_of
from newsletter.routing.shared import Shared
from newsletter.routing.throttle import HELD_SECONDS, Door, Throttle
from newsletter.settings import RoutingSettings

PROBED_SECONDS = 2.0
"""When to come again while another worker tries a server that failed."""
DOOR_SECONDS = 1.0
"""When to come again while another worker sends to a limited domain."""
NAP_SECONDS = 0.25
"""How often a worker that waits for a rate looks whether it must stop."""

LOOK_AGAIN_SECONDS = 3600.0
"""The longest that mail waits for a quota: another server or a larger quota may be there by then, or
the mailing be over."""


class Dispatch:
    def __init__(
        self,
        envelopes: Sequence[Envelope],
        tiers: Sequence[Tier],
        outlets: Mapping[UUID, Outlet],
        shared: Shared,
        settings: RoutingSettings,
        should_stop: Callable[[], bool],
    ) -> None:
        self._envelopes, self._tiers, self._outlets = envelopes, tiers, outlets
        self._shared, self._settings, self._should_stop = shared, settings, should_stop
        self._results: asyncio.Queue[tuple[int, Result] | None] = asyncio.Queue()
        self._left: dict[int, deque[Candidate]] = {}
        """The servers that each undecided mail may still go to, the next one first."""
        self._said: dict[int, Refusal] = {}
        """Of what servers said that passed a mail on, what says most."""

    async def run(self, indices: Sequence[int]) -> AsyncGenerator[tuple[int, Result], None]:
        """Yields each of the indices exactly once."""
        for index in indices:
            self._left[index] = deque(order(self._tiers, self._envelopes[index].message_id))
        task = asyncio.create_task(self._rounds(), name="dispatch")
        task.add_done_callback(lambda _: self._results.put_nowait(None))
        try:
            while (item := await self._results.get()) is not None:
                yield item
            task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _rounds(self) -> None:
        while self._left:
            groups: dict[Outlet, list[int]] = {}
            for index, candidates in self._left.items():
                groups.setdefault(self._outlets[candidates[0].server.id], []).append(index)
            async with asyncio.TaskGroup() as group:
                for outlet, indices in groups.items():
                    group.create_task(self._through(outlet, indices))

    # One server

    async def _through(self, outlet: Outlet, indices: list[int]) -> None:
        gate = outlet.gate()
        if gate.state is State.open:
            wait = max(0.0, gate.until - time.monotonic())
            self._pass_on(indices, _not_now(outlet, f"the server is left alone: {gate.reason}", wait))
            return
        if gate.state is State.half_open:
            indices = await self._probe(outlet, indices)
        free: list[int] = []
        limited: dict[str, list[int]] = {}
        for index in indices:
            domain = domain_of(self._envelopes[index]) if outlet.limited else ""
            if domain in outlet.limited:
                limited.setdefault(domain, []).append(index)
            else:
                free.append(index)
        async with asyncio.TaskGroup() as group:
            if free:
                group.create_task(self._by_limits(outlet, free))
            for domain, theirs in limited.items():
                group.create_task(self._through_door(outlet, domain, theirs))

    async def _probe(self, outlet: Outlet, indices: list[int]) -> list[int]:
        """One mail, by one worker, shows whether the server works again. Returns who may follow."""
        # A limited domain has rules of its own, which a probe must not break.
        first = [index for index in indices if domain_of(self._envelopes[index]) not in outlet.limited][:1]
        rest = [index for index in indices if index not in first]
        if not first or not await self._shared.take_probe(outlet):
            busy = _not_now(outlet, "another worker tries whether the server works", PROBED_SECONDS)
            self._pass_on(indices, busy)
            return []
        call = await self._once(outlet, first, patience=0)
        if call is None or call.untried:
            await self._shared.drop_probe(outlet)
            self._pass_on(rest, _not_now(outlet, "the server was not tried", PROBED_SECONDS))
            return []
        if call.failure is not None:
            await self._shared.trip(outlet, call.failure)
            wait = max(0.0, outlet.gate().until - time.monotonic())
            self._pass_on(rest, _not_now(outlet, f"the server is away: {call.failure}", wait))
            return []
        await self._shared.close(outlet)
        return rest

    async def _by_limits(self, outlet: Outlet, indices: list[int]) -> None:
        """As many at a time as quotas and rate allow, for as long as a block may be held."""
        give_up = time.monotonic() + self._settings.hold_seconds
        left = indices
        while left:
            call = await self._once(outlet, left, patience=max(0.0, give_up - time.monotonic()))
            left = [index for index in left if self._is_next(outlet, index)]
            if call is None or call.is_alarmed or call.was_asked:
                # What is left, if anything, has another look at the server in the next round.
                return

    async def _through_door(self, outlet: Outlet, domain: str, indices: list[int]) -> None:
        """No more at the same time than the domain takes, while nobody else sends to it."""
        known = outlet.limited[domain]
        wait = known.until - time.monotonic()
        if wait > 0:
            refusal = _not_now(outlet, f"{domain} takes nothing now: {known.reason}", wait)
            self._pass_on(indices, refusal)
            return
        door = await self._shared.take_door(outlet.server.id, domain)
        if door is None:
            busy = _not_now(outlet, f"another worker sends to {domain}, or it is blocked", DOOR_SECONDS)
            self._pass_on(indices, busy)
            return
        learned = Throttle(door.concurrency, outlet.most)
        give_up = time.monotonic() + self._settings.hold_seconds
        left = deque(indices)
        try:
            async with self._held(door):
                while left and not learned.blocked_for and time.monotonic() < give_up:
                    cohort = [left.popleft() for _ in range(min(learned.at_once, len(left)))]
                    call = await self._once(outlet, cohort, patience=0, door=domain)
                    if call is None:
                        break
                    learned = call.judge(domain, learned)
                    left.extendleft(index for index in reversed(cohort) if self._is_next(outlet, index))
                    if call.was_asked or call.failure is not None:
                        break
        finally:
            await self._shared.leave_door(outlet, door, learned)
        rest = [index for index in left if self._is_next(outlet, index)]
        wait = learned.blocked_for or DOOR_SECONDS
        self._pass_on(rest, _not_now(outlet, f"{domain} takes no more now: {learned.reason}", wait))

    @asynccontextmanager
    async def _held(self, door: Door) -> AsyncIterator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(HELD_SECONDS / 3)
                if not await self._shared.keep_door(door):
                    return

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # One call

    async def _once(
        self, outlet: Outlet, indices: list[int], *, patience: float, door: str | None = None
    ) -> Call | None:
        """Reserves what may go now, and sends it. None: nothing may, and the mails were passed on."""
        limits = outlet.server.limits
        if limits.are_none:
            return await self._send(outlet, indices, until=None, door=door)
        asked_at = time.monotonic()
        grant = await self._shared.reserve(outlet.server.id, limits, len(indices), patience)
        if not grant.count:
            wait = min(grant.retry_after, LOOK_AGAIN_SECONDS)
            self._pass_on(indices, _not_now(outlet, grant.reason, wait))
            return None
        await self._nap(grant.delay)
        until = None if grant.valid is None else asked_at + grant.delay + grant.valid
        call = await self._send(outlet, indices[: grant.count], until=until, door=door)
        await self._shared.give_back(outlet.server.id, grant.periods, grant.count - call.taken)
        return call

    async def _send(
        self, outlet: Outlet, indices: list[int], *, until: float | None, door: str | None
    ) -> Call:
        envelopes = [self._envelopes[index] for index in indices]
        call = Call(outlet, envelopes, self._settings, self._should_stop, until, door)
        silent = set(range(len(indices)))
        async for number, result in call.results():
            index = indices[number]
            silent.discard(number)
            if isinstance(result, Temporary | ServerDown | Throttled):
                self._pass_on([index], result)
            else:
                self._decide(index, result)
        if call.was_asked:
            for number in call.untried:
                self._decide(indices[number], ServerDown("the message was not tried"))
        for number in silent.difference(call.untried):
            self._decide(indices[number], Unknown("the server gave no answer at all"))
        await self._shared.settle(call)
        return call

    async def _nap(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._should_stop():
            left = end - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, NAP_SECONDS))

    # One mail

    def _is_next(self, outlet: Outlet, index: int) -> bool:
        """Whether the mail is still undecided, and with this server."""
        candidates = self._left.get(index)
        return candidates is not None and candidates[0].server.id == outlet.server.id

    def _decide(self, index: int, result: Result) -> None:
        del self._left[index]
        self._results.put_nowait((index, result))

    def _pass_on(self, indices: Sequence[int], refusal: Refusal) -> None:
        """``indices`` go to the next server of their order, or end with ``refusal`` where there is none."""
        for index in indices:
            said = self._said[index] = _more(self._said.get(index), refusal)
            self._left[index].popleft()
            if not self._left[index]:
                self._decide(index, said)


def _not_now(outlet: Outlet, text: str, seconds: float) -> Throttled:
    return Throttled(text, retry_after=seconds, server_id=outlet.server_id)


def _more(known: Refusal | None, new: Refusal) -> Refusal:
    """Of two reasons why a mail was passed on, the one that says more: that it was refused, then
    when to come again (the sooner), then that a server is away."""
    if known is None or isinstance(new, Temporary):
        return new
    if isinstance(known, Temporary):
        return known
    if isinstance(known, Throttled) and isinstance(new, Throttled):
        return known if known.retry_after <= new.retry_after else new
    return known if isinstance(known, Throttled) else new
