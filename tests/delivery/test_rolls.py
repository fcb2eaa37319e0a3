"""A large mailing waits on rolls, and who looks at its messages cannot tell. PostgreSQL alone has them."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, union_all

from newsletter.audience.models import Subscriber
from newsletter.delivery import batches, rolls
from newsletter.delivery.models import MailingStatus, Message, Outcome, Roll
from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.delivery.conftest import BATCH, Launch, Sent
from tests.jobs import run_due
from tests.smtp_sink import Sink

LENGTH = 4
"""No divisor of `BATCH`: some rolls reach into two batches."""


@pytest.fixture(autouse=True)
def _short_rolls(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    if runtime.db.is_sqlite:
        pytest.skip("SQLite writes a million messages in a second, and has no rolls")
    monkeypatch.setattr(rolls, "LENGTH", LENGTH)
    monkeypatch.setattr(rolls, "AT_ONCE", LENGTH)


async def lengths(sent: Sent) -> tuple[int, int]:
    """How many names are on rolls, and how many messages there are."""
    mailing = await sent.mailing()
    async with sent.runtime.db.read() as session:
        names = select(func.coalesce(func.sum(func.cardinality(Roll.address_keys)), 0))
        on_rolls = await session.scalar(names.where(Roll.mailing_id == mailing.id))
        written = await session.scalar(select(func.count()).where(Message.mailing_id == mailing.id))
    return int(on_rolls or 0), int(written or 0)


async def write_out(sent: Sent, first_seq: int, last_seq: int) -> None:
    mailing = await sent.mailing()
    async with sent.runtime.db.unit_of_work() as session:
        await rolls.write_out(session, mailing.id, first_seq, last_seq)


async def pages(client: Client, path: str, **asked: Any) -> list[Any]:
    rows: list[Any] = []
    cursor: str | None = None
    while True:
        given = asked | {"per_page": 3} | ({"cursor": cursor} if cursor else {})
        page = (await client.request("GET", path, params=given)).json()
        rows += page["data"]
        cursor = page["meta"]["next_cursor"]
        if cursor is None:
            return rows


async def everything(client: Client, sent: Sent) -> dict[str, Any]:
    """All that can be read of a mailing's messages."""
    recipients = f"/campaigns/{sent.id}/recipients"
    seen: dict[str, Any] = {
        "recipients": await pages(client, recipients),
        "one recipient": await pages(client, recipients, search="u7"),
        "pending": await pages(client, recipients, outcome="pending"),
        "gone out": await pages(client, recipients, outcome="sent"),
        "messages": await pages(client, "/messages"),
        "queued": await pages(client, "/messages", status="queued"),
        "sent": await pages(client, "/messages", status="sent"),
        "of a campaign": await pages(client, "/messages", campaign_id=sent.id),
        "to one address": await pages(client, "/messages", email="U7@example.com"),
    }
    seen["each"] = [await client.data("GET", f"/messages/{row['id']}") for row in seen["messages"]]
    return seen


async def test_what_is_on_rolls_reads_as_it_does_when_it_is_written_out(
    launch: Launch, live_client: Client
) -> None:
    sent = await launch(11)
    assert await lengths(sent) == (11, 0)
    seen = await everything(live_client, sent)
    assert len(seen["recipients"]) == len(seen["messages"]) == len(seen["queued"]) == 11
    assert [len(seen[name]) for name in ("one recipient", "to one address", "gone out", "sent")] == [
        1,
        1,
        0,
        0,
    ]
    await write_out(sent, 6, 7)
    assert await lengths(sent) == (7, 4)
    assert await everything(live_client, sent) == seen, "half of it on rolls"
    await write_out(sent, 1, 11)
    assert await lengths(sent) == (0, 11)
    assert await everything(live_client, sent) == seen


async def test_another_project_reads_nothing_of_a_roll(
    launch: Launch, live_client: Client, make_client: Any, make_project: Any
) -> None:
    await launch(6)
    [first, *_] = await pages(live_client, "/messages")
    stranger = await make_client(await make_project(is_test=False))
    await stranger.expect_error("GET", f"/messages/{first['id']}", 404, "not_found")
    assert await pages(stranger, "/messages") == []
    assert await pages(stranger, "/messages", email="u1@example.com") == []


async def test_each_reader_gets_one_mail_and_the_books_balance(
    launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    sent = await launch(2 * BATCH + 3)
    await run_due(runtime)
    assert sorted(smtp_sink.recipients) == sorted(f"u{n}@example.com" for n in range(1, 2 * BATCH + 4))
    mailing = await sent.mailing()
    assert (mailing.status, mailing.sent, mailing.recipient_count) == (MailingStatus.closed, 23, 23)
    assert [row.seq for row in await sent.messages()] == list(range(1, 24))
    assert await lengths(sent) == (0, 23)


async def test_a_cancelled_mailing_is_skipped_to_its_last_name(
    launch: Launch, runtime: Runtime, live_client: Client, smtp_sink: Sink
) -> None:
    sent = await launch(2 * BATCH + 3)
    await live_client.data("POST", f"/campaigns/{sent.id}/cancel", 200, json={})
    await run_due(runtime)
    mailing = await sent.mailing()
    assert (mailing.status, mailing.skipped) == (MailingStatus.closed, 23)
    assert smtp_sink.recipients == []


async def test_two_workers_write_a_roll_out_once(launch: Launch, runtime: Runtime) -> None:
    """The third roll holds the last two of the first batch, and the first two of the second."""
    sent = await launch(2 * BATCH)
    first, second = await sent.batches()
    both = await asyncio.gather(
        *(
            batches.claim(runtime.db, batch.id, lease=30, max_crashes=3, max_crashes_alone=10)
            for batch in (first, second)
        )
    )
    assert all(both)
    assert [row.seq for row in await sent.messages()] == list(range(1, 21))
    assert await lengths(sent) == (0, 20)


async def test_who_is_erased_while_on_a_roll_gets_no_mail(
    launch: Launch, runtime: Runtime, live_client: Client, smtp_sink: Sink
) -> None:
    sent = await launch(11)
    [person] = (await live_client.request("GET", "/subscribers", params={"search": "u7@"})).json()["data"]
    await live_client.data("POST", f"/subscribers/{person['id']}/erase")
    await run_due(runtime, but="delivery.send_batch")
    assert await lengths(sent) == (11, 0)
    async with runtime.db.read() as session:
        names = [name for roll in await session.scalars(select(Roll)) for name in roll.addresses]
        gone = [each for roll in await session.scalars(select(Roll)) for each in roll.subscriber_ids]
    assert not [name for name in names if "u7" in name]
    assert gone.count(None) == 1
    await run_due(runtime)
    assert sorted(smtp_sink.recipients) == sorted(f"u{n}@example.com" for n in range(1, 12) if n != 7)
    assert {row.outcome for row in await sent.messages() if "@" not in row.address} == {Outcome.skipped}
    assert (await sent.mailing()).status is MailingStatus.closed


async def test_an_address_that_a_query_names_twice_is_on_a_roll_once(
    launch: Launch, runtime: Runtime
) -> None:
    await launch(6)
    mailing_id = ids.uuid7()
    people = select(Subscriber.id, Subscriber.email, Subscriber.address_key)
    twice = union_all(people, people).subquery()
    async with runtime.db.unit_of_work() as session:
        assert await rolls.freeze(session, mailing_id, select(*twice.c), megabytes=1) == 6
        found = await session.scalars(select(Roll).where(Roll.mailing_id == mailing_id))
        names = [name for roll in found for name in roll.address_keys]
    assert sorted(names) == [f"u{number}@example.com" for number in range(1, 7)]
