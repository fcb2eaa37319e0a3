"""What is kept of a try: nothing when it went well, a row when it was refused."""

from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

from sqlalchemy import select

from newsletter.delivery import sending
from newsletter.delivery.models import BatchStatus, MessageAttempt, Outcome
from newsletter.delivery.sending import Parts
from newsletter.kit import ids
from newsletter.providers.base import (
    Envelope,
    MailStream,
    Purpose,
    Receipt,
    Result,
    Temporary,
    Throttled,
    never,
)
from newsletter.runtime import Runtime
from newsletter.tallies.models import Metric, Tally
from tests.client import Client
from tests.delivery.conftest import Launch, Sent
from tests.jobs import make_due, run_due
from tests.smtp_sink import Sink

SERVER = ids.uuid7()


class Scripted:
    """A server that answers by the local part of the recipient; others are taken."""

    name = "scripted"

    def __init__(self, **answers: Result) -> None:
        self.answers = answers
        self.streams: list[MailStream] = []

    def __call__(self, stream: MailStream) -> "Scripted":
        self.streams.append(stream)
        return self

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncIterator[tuple[int, Result]]:
        for index, each in enumerate(envelopes):
            yield index, self.answers.get(each.recipient.partition("@")[0], Receipt("250 ok", SERVER))

    async def check(self) -> str:
        return "scripted"

    async def aclose(self) -> None:
        return None


async def attempts(sent: Sent) -> dict[str, list[MessageAttempt]]:
    seqs = {message.seq: message.address.partition("@")[0] for message in await sent.messages()}
    async with sent.runtime.db.read() as session:
        rows = await session.scalars(select(MessageAttempt).order_by(MessageAttempt.attempt))
        found: dict[str, list[MessageAttempt]] = {}
        for row in rows:
            found.setdefault(seqs[row.seq], []).append(row)
    return found


async def test_each_refused_try_keeps_what_the_server_said(
    launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    smtp_sink.refuse("u2@example.com", "451 4.3.0 later please", times=1)
    smtp_sink.refuse("u3@example.com", "550 5.7.1 not wanted here")
    sent = await launch(4)
    await run_due(runtime)
    await sent.let_time_pass()
    await make_due(runtime)
    await run_due(runtime)

    found = await attempts(sent)
    told = {
        name: [(row.attempt, row.outcome, row.code, row.enhanced, row.reason) for row in rows]
        for name, rows in found.items()
    }
    assert told == {
        "u2": [(1, Outcome.deferred, 451, "4.3.0", "451 4.3.0 later please")],
        "u3": [(1, Outcome.failed, 550, "5.7.1", "550 5.7.1 not wanted here")],
    }


async def test_the_books_name_the_server_that_took_or_refused_a_message(
    launch: Launch, runtime: Runtime
) -> None:
    other = ids.uuid7()
    server = Scripted(u2=Temporary("451 later", code=451, server_id=other))
    sent = await launch(3)
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, server, lambda: False)
    await sending.send_batch(parts, (await sent.batches())[0].id)

    by_name: dict[str, UUID | None] = {
        message.address.partition("@")[0]: message.server_id for message in await sent.messages()
    }
    assert by_name == {"u1": SERVER, "u2": other, "u3": SERVER}
    [row] = (await attempts(sent))["u2"]
    assert row.server_id == other


async def test_what_expires_is_counted_as_the_servers_that_deferred_it(
    launch: Launch, runtime: Runtime
) -> None:
    sent = await launch(1)
    server = Scripted(u1=Temporary("451 later", code=451, server_id=SERVER))
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, server, lambda: False)
    [batch] = await sent.batches()
    await sending.send_batch(parts, batch.id)
    await sent.expire()
    await sending.send_batch(parts, batch.id)

    [message] = await sent.messages()
    assert (message.outcome, message.reason, message.server_id) == (Outcome.failed, "expired", SERVER)
    async with runtime.db.read() as session:
        failed = select(Tally.server_id, Tally.number).where(Tally.metric == Metric.failed)
        assert (await session.execute(failed)).all() == [(SERVER, 1)]


async def test_a_provider_is_asked_for_with_what_routing_needs(launch: Launch, runtime: Runtime) -> None:
    server = Scripted()
    sent = await launch(1)
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, server, lambda: False)
    await sending.send_batch(parts, (await sent.batches())[0].id)
    mailing = await sent.mailing()
    [stream] = server.streams
    assert stream == MailStream(
        mailing.project_id, False, Purpose.marketing, ids.private("lst", sent.list_id), "acme.example.com"
    )


async def test_a_throttled_message_waits_without_a_try_while_the_others_go_out(
    launch: Launch, runtime: Runtime
) -> None:
    server = Scripted(u2=Throttled("60 an hour are enough", retry_after=90))
    sent = await launch(5)
    parts = Parts(runtime.db, runtime.letters, runtime.settings.delivery, server, lambda: False)
    batch_id = (await sent.batches())[0].id

    again = await sending.send_batch(parts, batch_id)

    assert again is not None
    assert 80 < again.seconds <= 90
    waiting = next(row for row in await sent.messages() if row.address.startswith("u2"))
    assert (waiting.outcome, waiting.attempts, waiting.reason) == (
        Outcome.pending,
        0,
        "60 an hour are enough",
    )
    assert list((await sent.outcomes()).values()).count(Outcome.sent) == 4
    assert await attempts(sent) == {}
    [batch] = await sent.batches()
    assert (batch.status, batch.outages) == (BatchStatus.waiting, 0)

    server.answers.clear()
    await sent.let_time_pass()
    assert await sending.send_batch(parts, batch_id) is None
    assert set((await sent.outcomes()).values()) == {Outcome.sent}


async def test_erasing_a_person_erases_what_servers_said_of_them(
    launch: Launch, runtime: Runtime, smtp_sink: Sink, live_client: Client
) -> None:
    smtp_sink.refuse("u2@example.com", "550 5.7.1 <u2@example.com> is not wanted here")
    sent = await launch(3)
    await run_due(runtime)
    found = await live_client.request("GET", "/subscribers", params={"search": "u2@"})
    await live_client.data("POST", f"/subscribers/{found.json()['data'][0]['id']}/erase", 200)
    await run_due(runtime)
    assert not any("u2" in (message.reason or "") for message in await sent.messages())
    rows = [row for rows in (await attempts(sent)).values() for row in rows]
    assert [(row.outcome, row.reason) for row in rows] == [(Outcome.failed, None)]
