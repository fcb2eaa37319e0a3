"""The turn of an endpoint: what is due there is called side by side, and what became of it written in sets.

Transactions of one delivery alone took eight times as long as its call, so a turn reads many at once, and
a few times a second it stores how those ended that were called since. An endpoint may get a call twice
with one ``webhook-id``: a process that dies after the call and before its result is stored leaves the job to
be run again. The next event of a message is only called once the one before it is in the books.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.events import queries as events
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database, insist
from newsletter.kit.http import GuardedClient
from newsletter.kit.jobs import PATIENCE
from newsletter.kit.planning import plan_anew
from newsletter.settings import WebhookSettings
from newsletter.webhooks import outcomes, queries, turns
from newsletter.webhooks.calls import Call, Notice, Target, call
from newsletter.webhooks.outcomes import Outcome
from newsletter.webhooks.queries import Due
from newsletter.webhooks.silence import Silence
from newsletter.webhooks.turns import Held, Turn

log = structlog.get_logger(__name__)

DUE_AT_ONCE = 100
"""Calls that are read in one go; more are when half of them are made."""
RECORD_SECONDS = 0.25
"""For so long what ended waits to be stored, unless all calls ended, or half of `DUE_AT_ONCE`. With 0.05 s a
busy process, whose calls take longer, had a transaction for each."""
STAFF_SECONDS = 0.05
"""Between two looks whether one more call at a time is wanted."""
LOOK_SECONDS = 0.5
"""For so long no call may end before it is looked whether more is due."""
SILENT_SECONDS = 0.5
"""Without any answer for so long, a turn leaves its place to others and goes on waiting without one."""
TURN_SECONDS = 10.0
"""Then others get the place, if any wait for one."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What calls are made with."""

    db: Database
    egress: GuardedClient
    vault: Vault
    settings: WebhookSettings
    silence: Silence
    is_stopping: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call that is to be made."""

    number: int
    delivery_ids: Sequence[UUID]
    """The first one's, and of those that go in the same call."""
    notices: Sequence[Notice]
    """None where the events are no longer kept, as of a dead letter that is replayed late."""

    def ended(self, call: Call | None) -> Outcome:
        return Outcome(self.delivery_ids, self.number, call)


async def deliver(tools: Tools, endpoint_id: UUID, job_id: UUID) -> None:
    """Delivers what is due at the endpoint, and leaves a job for what is due later. Does nothing while
    that is another job's turn. The same job may run again: it goes on with its turn."""
    at_work = _Delivering(tools, endpoint_id, job_id)
    try:
        await at_work.run()
    finally:
        await at_work.stop()


class _Delivering:
    def __init__(self, tools: Tools, endpoint_id: UUID, job_id: UUID) -> None:
        self._tools, self._endpoint_id, self._job_id = tools, endpoint_id, job_id
        self._turn: Turn | None = None
        """None until it is taken, which is done with the first look."""
        self._target: Target | None = None
        """None while the endpoint is switched off."""
        self._waiting: deque[Wanted] = deque()
        self._callers: set[asyncio.Task[None]] = set()
        self._ended: list[Outcome] = []
        self._in_hand: set[UUID] = set()
        """Deliveries that were read, and whose outcome is not stored."""
        self._unanswered = 0
        """Calls in a row that were not answered in time."""
        self._has_answered = False
        self._is_ending = False
        self._until = time.monotonic() + TURN_SECONDS
        self._project_id: UUID | None = None
        """Known with the turn."""
        self._heard_at = time.monotonic()
        self._has_left_its_place = False

    async def run(self) -> None:
        """To the end of the turn."""
        while await insist(self._record, seconds=PATIENCE):
            self._staff()
            began = time.monotonic()
            while self._callers and not self._is_time_to_record(time.monotonic() - began):
                done, self._callers = await asyncio.wait(self._callers, timeout=STAFF_SECONDS)
                for caller in done:
                    caller.result()
                self._staff()
                self._leave_place()

    def _leave_place(self) -> None:
        """Once, when the endpoint says nothing."""
        is_silent = time.monotonic() - self._heard_at >= SILENT_SECONDS
        if is_silent and self._callers and self._project_id is not None and not self._has_left_its_place:
            self._has_left_its_place = self._tools.silence.begin(self._project_id, self._job_id)

    def _is_time_to_record(self, seconds: float) -> bool:
        """So long after it was done last."""
        if len(self._ended) >= DUE_AT_ONCE // 2:
            return True
        return seconds >= (RECORD_SECONDS if self._ended else LOOK_SECONDS)

    async def stop(self) -> None:
        """Whoever cancels the turn cancels its calls."""
        if self._has_left_its_place and self._project_id is not None:
            self._tools.silence.end(self._project_id)
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    async def _record(self) -> bool:
        """Stores what ended and finds what else is due, in one transaction; False at the end of the turn.

        Safe to repeat: what it stored it does not store again, and what it found counts after its commit.
        """
        if self._must_end():
            # They stay due, for whose turn is next.
            self._is_ending = True
            self._waiting.clear()
        ended, found = tuple(self._ended), list[Wanted]()
        async with self._tools.db.unit_of_work() as session:
            await plan_anew(session)
            turn = self._turn or await turns.take(session, self._endpoint_id, self._job_id)
            held = await turns.hold(session, turn) if turn is not None else None
            if held is None:
                return False
            await outcomes.store(session, self._tools.settings, held, ended)
            if not self._is_ending and len(self._waiting) <= DUE_AT_ONCE // 2:
                found = await self._find(session, held, ended)
            is_over = not (self._callers or self._waiting or found)
            if is_over:
                is_silent = self._unanswered > 0 and not self._has_answered
                await turns.leave(session, held, is_silent=is_silent)
        if self._turn is None:
            self._turn, self._project_id, self._heard_at = turn, held.endpoint.project_id, time.monotonic()
        del self._ended[: len(ended)]
        self._in_hand -= {each for outcome in ended for each in outcome.delivery_ids}
        self._in_hand |= {each for wanted in found for each in wanted.delivery_ids}
        self._target = Target.of(held.endpoint) if held.endpoint.is_active else None
        self._waiting += found
        self._give_up()
        return not is_over

    def _must_end(self) -> bool:
        return (
            self._is_ending
            or self._unanswered >= self._tools.settings.calls_at_once
            or self._tools.is_stopping()
            or time.monotonic() >= self._until
        )

    async def _find(self, session: AsyncSession, held: Held, stored: Sequence[Outcome]) -> list[Wanted]:
        """What is due and not in hand. What has to wait for another of its message loses its time."""
        in_hand = self._in_hand - {each for outcome in stored for each in outcome.delivery_ids}
        due = await queries.due(session, held.endpoint.id, held.now, DUE_AT_ONCE + len(in_hand))
        due = [each for each in due if each.id not in in_hand]
        if held.endpoint.group_size == 1:
            await outcomes.hold_back(session, [each.id for each in due if each.has_to_wait])
            due = [each for each in due if not each.has_to_wait]
        return await _wanted(session, due)

    def _give_up(self) -> None:
        """Ends what cannot be called: a replay can take it up again."""
        kept = [each for each in self._waiting if each.notices and self._target is not None]
        if len(kept) < len(self._waiting):
            self._ended += [each.ended(None) for each in self._waiting if each not in kept]
            self._waiting = deque(kept)

    def _staff(self) -> None:
        """Twice as many callers as there are, where more waits: an endpoint that answers soon needs one, and
        no connections but its own. One that does not answer gets fewer calls, until it does."""
        most = self._tools.settings.calls_at_once - self._unanswered
        wanted = min(max(1, 2 * len(self._callers)), most) - len(self._callers)
        for _ in range(min(wanted, len(self._waiting))):
            self._callers.add(asyncio.create_task(self._call()))

    async def _call(self) -> None:
        """Calls one after the other of what waits, for as long as there are answers."""
        while self._waiting and self._target is not None and not self._must_end():
            wanted = self._waiting.popleft()
            tools = self._tools
            made = await call(
                tools.egress, tools.vault, self._target, wanted.notices, tools.settings.kept_answer_bytes
            )
            log.info(
                "webhook called",
                delivery_id=str(wanted.delivery_ids[0]),
                events=len(wanted.notices),
                attempt=wanted.number,
                status=made.status_code,
                is_acknowledged=made.is_acknowledged,
                elapsed_ms=made.elapsed_ms,
            )
            self._ended.append(wanted.ended(made))
            if made.is_unanswered:
                self._unanswered += 1
                return
            self._unanswered, self._has_answered, self._heard_at = 0, True, time.monotonic()


async def _wanted(session: AsyncSession, due: Sequence[Due]) -> list[Wanted]:
    """With the events that they are about, and those that go in the same calls."""
    members = {each.id: [(each.id, each.event_id)] for each in due}
    leads = [each.id for each in due if each.is_lead]
    for row in await queries.led_by(session, leads) if leads else ():
        assert row.lead_id is not None
        members[row.lead_id].append((row.id, row.event_id))
    event_ids = [event_id for group in members.values() for _, event_id in group]
    happened = {event.id: event for event in await events.by_ids(session, event_ids)} if due else {}
    return [
        Wanted(
            each.attempt_count + 1,
            [delivery_id for delivery_id, _ in members[each.id]],
            [
                Notice(event.id, delivery_id, event.project_id, event.type, event.created_at, event.data)
                for delivery_id, event_id in members[each.id]
                if (event := happened.get(event_id)) is not None
            ],
        )
        for each in due
    ]
