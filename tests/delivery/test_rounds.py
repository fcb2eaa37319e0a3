"""The short way of a round, on either database, and its steps one by one leave the same books."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, inspect, select, update
from sqlalchemy.orm import Mapper

from newsletter.accounts.project import Project
from newsletter.audience.models import Status, Subscriber
from newsletter.delivery import batches, rounds
from newsletter.delivery.ledger import Decision, LostBatch
from newsletter.delivery.models import (
    Batch,
    Mailing,
    MailingStatus,
    Message,
    MessageAttempt,
    Outcome,
)
from newsletter.delivery.rounds import Gate, Round
from newsletter.events.models import Event
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.plans.models import Counter
from newsletter.providers.base import Purpose
from newsletter.runtime import Runtime
from newsletter.settings import DeliverySettings
from newsletter.suppressions import queries as suppressions
from newsletter.suppressions import service as suppressing
from newsletter.suppressions.models import Reason, Suppression
from newsletter.tallies.models import Metric, Tally
from tests.delivery.conftest import Launch, Sent

SERVER = UUID(int=7)
CLOCKS = {"due_at", "renewed_at", "lease_until", "claimed_at", "next_attempt_at", "decided_at", "at"}
"""Of these it is only compared whether they are set."""

FIRST = [1, 2, 3, 4, 5, 6, 7]
ANSWERS = [
    Decision(1, Outcome.sent, attempt=1, server_id=SERVER),
    Decision(2, Outcome.failed, "550 no", attempt=1, code=550, enhanced="5.7.1", server_id=SERVER),
    Decision(3, Outcome.deferred, "451 later", retry_after=300, attempt=1, code=451),
    Decision(4, Outcome.unknown, "lost after the dot", attempt=1),
    Decision(5, Outcome.pending, "server down", attempt=1),
    Decision(6, Outcome.pending, "throttled", retry_after=60, attempt=1),
    Decision(7, Outcome.deferred, "421 busy", retry_after=300, attempt=1, code=421, server_id=SERVER),
    Decision(9, Outcome.skipped, rounds.LEFT),
    # Never opened, so nothing can have been sent: the books refuse it.
    Decision(20, Outcome.sent, attempt=1),
]
SECOND = [8, 10, 11, 12, 13]


async def rows(sent: Sent) -> dict[str, list[dict[str, Any]]]:
    """All that a round may change, without what tells two campaigns apart."""
    mailing = await sent.mailing()
    found: dict[str, list[dict[str, Any]]] = {}
    owner = Counter.owner_id == mailing.quota_owner_id
    async with sent.runtime.db.read() as session:
        for table, mine, left_out in (
            (Batch, Batch.mailing_id == mailing.id, {"id", "mailing_id"}),
            (Message, Message.mailing_id == mailing.id, {"mailing_id", "subscriber_id"}),
            (MessageAttempt, MessageAttempt.mailing_id == mailing.id, {"mailing_id"}),
            (Counter, owner, {"owner_id"}),
        ):
            mapper: Mapper[Any] = inspect(table)
            columns = [each for each in mapper.columns if each.name not in left_out]
            statement = select(*columns).where(mine).order_by(*mapper.primary_key)
            found[str(table.__tablename__)] = [
                {name: value is not None if name in CLOCKS else value for name, value in row._mapping.items()}
                for row in await session.execute(statement)
            ]
        # The steps may write in two changes what the statement writes in one.
        what = (Tally.metric, Tally.server_id)
        counted = select(*what, func.sum(Tally.number)).where(Tally.mailing_id == mailing.id).group_by(*what)
        rows_of_tallies = (await session.execute(counted.order_by(*what))).all()
        found["tallies"] = [
            {"metric": metric, "server_id": server_id, "number": number}
            for metric, server_id, number in rows_of_tallies
        ]
    return found


class Path:
    """A campaign whose first batch goes through the rounds of one of the two ways."""

    def __init__(self, sent: Sent, claimed: batches.Claim, project: Project, *, is_short: bool) -> None:
        self.sent, self.claimed, self.project, self.is_short = sent, claimed, project, is_short
        self.db = sent.runtime.db
        mailing = claimed.mailing
        self.gate = Gate(mailing.project_id, mailing.list_id, "acme.example.com", DeliverySettings())

    async def round(self, decisions: Sequence[Decision], wanted: Sequence[int]) -> Round:
        books = self.claimed.books
        if self.is_short:
            assert (self.db.direct or self.db.visits) is not None
            return await rounds.write(self.db, books, self.gate, decisions, wanted)
        async with self.db.unit_of_work() as session:
            return await rounds._step_by_step(session, books, self.gate, decisions, wanted)

    async def suppress(
        self, seq: int, reason: Reason = Reason.complaint, *, everywhere: bool = False
    ) -> None:
        of_list = suppressions.list_scope(ids.private("lst", self.sent.list_id))
        async with self.db.unit_of_work() as session:
            await suppressing.suppress(
                session,
                project_id=self.project.id,
                scope=suppressions.project_scope(self.project.id) if everywhere else of_list,
                address_keys=[(await self.sent.messages())[seq - 1].address_key],
                reason=reason,
                source="test",
            )

    async def leave(self, seq: int) -> None:
        gone = update(Subscriber).where(Subscriber.id == (await self.sent.messages())[seq - 1].subscriber_id)
        async with self.db.unit_of_work() as session:
            await session.execute(gone.values(status=Status.unsubscribed))

    async def erase(self, seq: int) -> None:
        await self._change(seq, address="#gone", address_key=f"#gone{seq}", subscriber_id=None)

    async def write_to_the_address(self, seq: int) -> None:
        """As a test send does, to which no subscription belongs."""
        await self._change(seq, subscriber_id=None)

    async def _change(self, seq: int, **values: object) -> None:
        mine = Message.mailing_id == self.claimed.mailing.id, Message.seq == seq
        async with self.db.unit_of_work() as session:
            await session.execute(update(Message).where(*mine).values(values))

    async def set(self, table: type[Batch] | type[Mailing], **values: object) -> None:
        mine = Batch.mailing_id if table is Batch else Mailing.id
        async with self.db.unit_of_work() as session:
            await session.execute(update(table).where(mine == self.claimed.mailing.id).values(values))


async def story(path: Path) -> list[object]:
    """Everything that can come between two blocks; what is told and what the books hold."""
    told: list[object] = []
    books = path.claimed.books
    opened = await path.round((), FIRST)
    told += [opened, await rows(path.sent)]
    await path.suppress(10)
    await path.leave(11)
    await path.suppress(11, Reason.unsubscribe)
    await path.erase(12)
    await path.leave(13)
    await path.write_to_the_address(13)
    told += [await path.round(ANSWERS, SECOND), await rows(path.sent)]
    # The answer to that commit was lost: the very same again.
    told += [await path.round(ANSWERS, SECOND), await rows(path.sent)]
    # A deferred message is tried again and taken; whoever was deferred by a server may be suppressed by now.
    await path.suppress(7)
    told += [await path.round((), [3, 7]), await rows(path.sent)]
    told += [await path.round([Decision(3, Outcome.sent, attempt=2)], [5])]
    await path.set(Mailing, status=MailingStatus.paused)
    told += [await path.round([Decision(8, Outcome.sent, attempt=1)], [14, 15]), await rows(path.sent)]
    await path.set(Mailing, status=MailingStatus.cancelled)
    told += [await path.round((), [14, 15]), await rows(path.sent)]
    await path.set(Mailing, status=MailingStatus.running)
    await path.set(Batch, token=books.token + 1)
    before = await rows(path.sent)
    with pytest.raises(LostBatch):
        await path.round([Decision(13, Outcome.sent, attempt=1)], [14])
    assert await rows(path.sent) == before
    return told


@pytest.fixture
async def make_path(launch: Launch, live: Project, runtime: Runtime) -> Any:
    async def make(*, is_short: bool) -> Path:
        # One batch of 20 and the books of an account without other mail in them.
        sent = await launch(20)
        async with runtime.db.unit_of_work() as session:
            mailing = await sent.mailing()
            first, second = await sent.batches()
            await session.execute(update(Batch).where(Batch.id == first.id).values(last_seq=20))
            await session.execute(update(Batch).where(Batch.id == second.id).values(first_seq=21))
            await session.execute(
                update(Counter).where(Counter.owner_id == mailing.quota_owner_id, Counter.resource == "mails")
                .values(used=0, reserved=20)
            )  # fmt: skip
            # Of other campaigns' people and quota, nothing shall show.
            await session.execute(update(Counter).where(Counter.resource != "mails").values(used=0))
        claimed = await batches.claim(runtime.db, first.id, 30, 3, 10)
        assert claimed is not None
        return Path(sent, claimed, live, is_short=is_short)

    return make


async def test_the_steps_of_a_round_do_what_is_promised(make_path: Any) -> None:
    path: Path = await make_path(is_short=False)
    told = await story(path)
    assert told[0] == Round(MailingStatus.running, frozenset(FIRST))
    assert told[2] == Round(MailingStatus.running, frozenset({8, 13}))
    assert told[4] == told[2]
    assert told[5] == told[3]
    assert told[6] == Round(MailingStatus.running, frozenset({3}))
    assert told[9] == Round(MailingStatus.paused, frozenset())
    outcomes = [row["outcome"].value for row in (await rows(path.sent))["messages"]]
    assert outcomes[:15] == [
        *("sent", "failed", "sent", "unknown", "sending", "pending", "suppressed", "sent", "skipped"),
        *("suppressed", "suppressed", "skipped", "sending", "pending", "pending"),
    ]
    # It met no server when it was suppressed; its tries still tell of the one that deferred it.
    assert (await path.sent.messages())[6].server_id is None
    reasons = [row["reason"] for row in (await rows(path.sent))["messages"]]
    assert reasons[8:12] == [rounds.LEFT, rounds.SUPPRESSED, rounds.UNSUBSCRIBED, rounds.LEFT]
    [batch, _] = (await rows(path.sent))["batches"]
    assert [batch[name] for name in ("sent", "failed", "suppressed", "skipped", "unknown")] == [3, 1, 3, 2, 1]
    [mails] = [row for row in (await rows(path.sent))["plan_counters"] if row["resource"] == "mails"]
    assert (mails["used"], mails["reserved"]) == (4, 10)
    tallies = (await rows(path.sent))["tallies"]
    by_server = {(row["metric"], row["server_id"]): row["number"] for row in tallies}
    assert by_server == {
        (Metric.sent, SERVER): 1,
        (Metric.sent, None): 2,
        (Metric.failed, SERVER): 1,
        (Metric.suppressed, None): 3,
        (Metric.skipped, None): 2,
        (Metric.unknown, None): 1,
    }


async def test_the_short_way_leaves_the_same_books_as_the_steps(make_path: Any) -> None:
    short = await story(await make_path(is_short=True))
    steps = await story(await make_path(is_short=False))
    for one, other in zip(short, steps, strict=True):
        assert one == other


def to_nobodys_list(gate: Gate) -> Gate:
    return replace(gate, list_id=None)


def transactional(gate: Gate) -> Gate:
    return replace(gate, list_id=None, purpose=Purpose.transactional)


def campaign(gate: Gate) -> Gate:
    return gate


LEFT_EVERYTHING, LEFT_BY_LINK, REFUSES_ALL, REFUSES_THE_LIST, ACTIVE = 1, 2, 3, 4, 5


@pytest.mark.parametrize(
    ("of", "barred"),
    [
        (
            campaign,
            {
                LEFT_EVERYTHING: rounds.LEFT,
                LEFT_BY_LINK: rounds.UNSUBSCRIBED,
                REFUSES_ALL: rounds.SUPPRESSED,
                REFUSES_THE_LIST: rounds.SUPPRESSED,
            },
        ),
        (
            to_nobodys_list,
            {
                LEFT_EVERYTHING: rounds.UNSUBSCRIBED,
                LEFT_BY_LINK: rounds.UNSUBSCRIBED,
                REFUSES_ALL: rounds.SUPPRESSED,
            },
        ),
        (transactional, {REFUSES_ALL: rounds.SUPPRESSED}),
    ],
)
@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "steps"])
async def test_who_is_barred_depends_on_what_the_mail_is_for_and_on_its_list(
    make_path: Any, of: Callable[[Gate], Gate], barred: dict[int, str], is_short: bool
) -> None:
    path: Path = await make_path(is_short=is_short)
    path.gate = of(path.gate)
    await path.leave(LEFT_EVERYTHING)
    await path.suppress(LEFT_BY_LINK, Reason.unsubscribe, everywhere=True)
    await path.suppress(REFUSES_ALL, everywhere=True)
    await path.suppress(REFUSES_THE_LIST)
    wanted = [LEFT_EVERYTHING, LEFT_BY_LINK, REFUSES_ALL, REFUSES_THE_LIST, ACTIVE]
    if path.gate.list_id is None:
        # A single mail is to an address; no subscription of a list goes with it.
        for seq in wanted:
            await path.write_to_the_address(seq)

    done = await path.round((), wanted)

    assert done.opened == frozenset(wanted) - barred.keys()
    assert {row.seq: row.reason for row in await path.sent.messages() if row.reason is not None} == barred


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "steps"])
async def test_who_is_suppressed_between_two_tries_of_a_round_is_not_opened_by_the_second(
    make_path: Any, is_short: bool
) -> None:
    path: Path = await make_path(is_short=is_short)
    await path.round((), [1, 2])
    await path.suppress(1)

    assert (await path.round((), [1, 2])).opened == {2}

    # The first try may have promised the wire to it: it is taken back untried, and then suppressed.
    withdrawn = Decision(1, Outcome.pending, rounds.WITHDRAWN)
    told = []
    for decisions, wanted in (((), ()), ([withdrawn], ()), ((), [1])):
        await path.round(decisions, wanted)
        message = (await path.sent.messages())[0]
        told.append((message.outcome, message.attempts))
    assert told == [(Outcome.sending, 1), (Outcome.pending, 0), (Outcome.suppressed, 0)]


async def test_a_bad_address_is_counted_and_suppressed_by_whichever_way(make_path: Any) -> None:
    path: Path = await make_path(is_short=True)
    await path.round((), [1, 2])
    no_such = Decision(
        1, Outcome.failed, "550 who?", is_bad_address=True, attempt=1, code=550, enhanced="5.1.1"
    )

    await path.round([no_such, Decision(2, Outcome.sent, attempt=1)], ())

    [batch, _] = await path.sent.batches()
    assert (batch.sent, batch.failed, batch.bounced) == (1, 1, 1)
    [address_key, *_] = [row.address_key for row in await path.sent.messages()]
    async with path.db.read() as session:
        held = select(Suppression.reason).where(Suppression.address_key == address_key)
        assert list(await session.scalars(held)) == [Reason.hard_bounce]


async def test_what_is_listened_to_is_announced_by_whichever_way(make_path: Any) -> None:
    path: Path = await make_path(is_short=True)
    path.gate = replace(path.gate, listened=frozenset({EventType.message_accepted}))
    await path.round((), [1, 2])

    await path.round([Decision(1, Outcome.sent, attempt=1, server_id=SERVER)], ())

    async with path.db.read() as session:
        told = await session.scalars(select(Event.type).where(Event.project_id == path.project.id))
        assert list(told).count(EventType.message_accepted) == 1
