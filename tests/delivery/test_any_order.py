"""Whatever happens to a campaign, in whatever order: nobody is mailed twice, and the books add up.

Hypothesis chooses what happens; a model beside it knows whom each mail reached.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from newsletter.accounts.project import Project
from newsletter.audience.models import Status, Subscriber
from newsletter.delivery import batches, ledger, sending, steering
from newsletter.delivery.models import Batch, BatchStatus, MailingStatus, Outcome
from newsletter.delivery.sending import Parts
from newsletter.kit import ids
from newsletter.plans.models import Counter as Quota
from newsletter.providers.base import (
    Envelope,
    MailStream,
    Permanent,
    Receipt,
    Result,
    ServerDown,
    Temporary,
    Throttled,
    Unknown,
    never,
)
from newsletter.runtime import Runtime
from newsletter.tallies.models import Metric
from tests.delivery.conftest import BATCH, BLOCK, Launch, Sent

READERS = 25
ANSWERS: dict[str, Callable[[], Result]] = {
    "taken": lambda: Receipt("250 ok"),
    "refused": lambda: Permanent("550 5.7.1 no", code=550, enhanced="5.7.1"),
    "later": lambda: Temporary("451 later", code=451),
    "lost": lambda: Unknown("lost after the dot"),
    "throttled": lambda: Throttled("enough for now", retry_after=60),
    "down": lambda: ServerDown("nobody there"),
}
REACHED = {"taken", "lost"}
"""After these the reader may have the mail: never again, whatever the books say."""


class Killed(BaseException):
    """The process is gone: nothing is written any more, by anyone in it."""


class World:
    """The server and its readers; ``script`` are its next answers, then it takes everything."""

    name = "world"

    def __init__(self) -> None:
        self.script: list[str] = []
        self.kill_after: int | None = None
        self.mails: Counter[str] = Counter()
        self.gone: set[str] = set()
        self.wrong: list[str] = []

    def __call__(self, stream: MailStream) -> "World":
        return self

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncIterator[tuple[int, Result]]:
        for index, each in enumerate(envelopes):
            if should_stop():
                yield index, ServerDown("asked to stop")
                continue
            answer = self.script.pop(0) if self.script else "taken"
            if answer in REACHED:
                self.mails[each.recipient] += 1
                if each.recipient in self.gone:
                    self.wrong.append(each.recipient)
            if self.kill_after is not None:
                self.kill_after -= 1
                if self.kill_after < 0:
                    raise Killed
            yield index, ANSWERS[answer]()

    async def check(self) -> str:
        return "the world"

    async def aclose(self) -> None:
        return None


class Campaign:
    """What can happen to it, each step in a transaction of its own as other processes write it."""

    def __init__(self, sent: Sent, project: Project, world: World) -> None:
        self.sent, self.project, self.world = sent, project, world
        self.runtime, self.db = sent.runtime, sent.runtime.db
        self.crashes = 0

    async def work(self, index: int, *, kill_after: int | None = None) -> None:
        """A worker takes a batch: to its end, or until it is killed after so many mails."""
        found = await self.sent.batches()
        batch = found[index % len(found)]
        self.world.kill_after = kill_after
        run = self.runtime.settings.delivery
        parts = Parts(self.db, self.runtime.letters, run, self.world, lambda: False)
        try:
            # A killed process writes nothing on its way out.
            with mock.patch.object(sending._BatchRun, "_save", _die):
                await sending.send_batch(parts, batch.id)
        except Killed:
            self.crashes += 1
        finally:
            self.world.kill_after = None

    async def pause(self) -> None:
        async with self.db.unit_of_work() as session:
            await steering.pause(session, self.project, (await self.sent.mailing()).id)

    async def resume(self) -> None:
        async with self.db.unit_of_work() as session:
            settings = self.sent.runtime.settings.delivery
            await steering.resume(session, self.project, (await self.sent.mailing()).id, settings)

    async def cancel(self) -> None:
        async with self.db.unit_of_work() as session:
            await steering.cancel(session, self.project, (await self.sent.mailing()).id)

    async def leave(self, number: int) -> None:
        email = f"u{number}@example.com"
        async with self.db.unit_of_work() as session:
            list_id = ids.private("lst", self.sent.list_id)
            gone = update(Subscriber).where(Subscriber.email == email, Subscriber.list_id == list_id)
            await session.execute(gone.values(status=Status.unsubscribed))
        self.world.gone.add(email)

    async def wait(self) -> None:
        """Leases run out, and what was deferred is due."""
        await self.sent.let_time_pass()

    async def check(self) -> None:
        """What holds at every moment at which no worker runs."""
        assert [name for name, count in self.world.mails.items() if count > 1] == []
        assert self.world.wrong == []
        mailing, rows = await self.sent.mailing(), await self.sent.messages()
        outcomes = Counter(row.outcome for row in rows)
        assert outcomes.total() == mailing.recipient_count == READERS
        reached = {
            row.address for row in rows if row.outcome in (Outcome.sent, Outcome.unknown, Outcome.sending)
        }
        assert set(self.world.mails) <= reached
        async with self.db.read() as session:
            assert {one: outcomes[one] for one in ledger.COUNTED} == await ledger.totals(session, mailing.id)
            quota = select(Quota).where(Quota.owner_id == mailing.quota_owner_id, Quota.resource == "mails")
            counted = (await session.scalars(quota)).one()
        told = {Metric(one.value): outcomes[one] for one in ledger.COUNTED if outcomes[one]}
        assert await self.sent.tallied() == told
        undecided = sum(outcomes[one] for one in ledger.OPEN)
        assert counted.reserved == undecided
        assert counted.used == outcomes[Outcome.sent] + outcomes[Outcome.unknown]
        doubtful = {Outcome.unknown, Outcome.sending}
        unsent = [row for row in rows if row.outcome in doubtful and row.address not in self.world.mails]
        assert len(unsent) <= self.crashes * 2 * BLOCK

    async def finish(self) -> None:
        """Left to itself the campaign ends, with everybody decided."""
        self.world.script.clear()
        await self.resume()
        for _ in range(200):
            await self.wait()
            async with self.db.unit_of_work() as session:
                waiting = Batch.status != BatchStatus.done
                await session.execute(update(Batch).where(waiting).values(outages=0))
            for index in range(len(await self.sent.batches())):
                await self.work(index)
            await batches.close_forgotten(self.db)
            if (await self.sent.mailing()).status is MailingStatus.closed:
                break
        mailing = await self.sent.mailing()
        assert mailing.status is MailingStatus.closed
        decided = mailing.sent + mailing.failed + mailing.suppressed + mailing.skipped + mailing.unknown
        assert decided == READERS


async def _die(run: sending._BatchRun) -> None:
    tasks = [delivery.task for delivery in run._on_the_wire]
    for task in filter(None, (*tasks, run._next)):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(run._lanes_held):
        run._lanes.give_back()


numbers = st.integers(1, READERS)
steps = st.one_of(
    st.tuples(st.just("work"), st.integers(0, 5)),
    st.tuples(st.just("kill"), st.integers(0, 5), st.integers(0, BATCH)),
    st.tuples(st.just("say"), st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=BATCH)),
    st.tuples(st.just("leave"), numbers),
    st.sampled_from([("pause",), ("resume",), ("wait",)]),
)


async def live_through(campaign: Campaign, story: Sequence[tuple[object, ...]], *, cancels: bool) -> None:
    for name, *values in story:
        match name, values:
            case "work", [int(index)]:
                await campaign.work(index)
            case "kill", [int(index), int(mails)]:
                await campaign.work(index, kill_after=mails)
            case "say", [list(answers)]:
                campaign.world.script += answers
            case "leave", [int(number)]:
                await campaign.leave(number)
            case _:
                await getattr(campaign, str(name))()
        await campaign.check()
    if cancels:
        await campaign.cancel()
        await campaign.check()
    await campaign.finish()
    await campaign.check()


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=st.lists(steps, min_size=3, max_size=12), cancels=st.booleans())
async def test_nobody_is_mailed_twice_and_the_books_add_up(
    launch: Launch, runtime: Runtime, live: Project, story: list[tuple[object, ...]], cancels: bool
) -> None:
    async with runtime.db.unit_of_work() as session:
        # What an example before this one left reserved, when it failed half-way, is not ours.
        await session.execute(update(Quota).where(Quota.resource == "mails").values(used=0, reserved=0))
    campaign = Campaign(await launch(READERS), live, World())
    await live_through(campaign, story, cancels=cancels)
