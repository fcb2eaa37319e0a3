"""Opens and clicks end in the message's counters and in the campaign's, each once."""

import csv
import io
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from newsletter.delivery import queries as delivery
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import Mailing, Message
from newsletter.delivery.queries import public_id
from newsletter.feedback import engagement
from newsletter.feedback.classing import Request
from newsletter.feedback.engagement import Entry
from newsletter.feedback.models import MessageEngagement
from newsletter.kit import ids
from newsletter.kit.clock import rfc3339
from newsletter.kit.db import Database
from newsletter.runtime import Runtime
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Tally
from tests.client import Client
from tests.mailbox import send_campaign, subscribed_list

READER = Request("GET", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", None, None)
SCANNER = READER._replace(method="HEAD")
NAMES = tuple(MessageEngagement.__table__.columns.keys())
SHOP = "https://shop.example.org/"


class Sent:
    """A campaign to Ada and Grace, and what they and machines make of it."""

    def __init__(self, client: Client, db: Database, campaign_id: str, refs: Sequence[MessageRef]) -> None:
        self.client, self.db, self.campaign_id = client, db, campaign_id
        self.ada, self.grace = refs

    async def see(self, *entries: Entry, too_soon: float = 2.0) -> None:
        async with self.db.unit_of_work() as session:
            await engagement.record(session, entries, too_soon=too_soon)

    async def fold(self) -> int:
        return await tallies.fold(self.db, delivery.abouts)

    async def counters(self, ref: MessageRef) -> dict[str, Any]:
        async with self.db.read() as session:
            found = await session.get(MessageEngagement, (ref.mailing_id, ref.seq))
            return {} if found is None else {name: getattr(found, name) for name in NAMES}

    async def shown(self) -> tuple[int, int]:
        """The opens and clicks of the campaign, which its page and the list agree on."""
        one = await self.client.data("GET", f"/campaigns/{self.campaign_id}")
        [listed] = await self.client.data("GET", "/campaigns")
        assert (one["opens"], one["clicks"]) == (listed["opens"], listed["clicks"])
        return one["opens"], one["clicks"]


@pytest.fixture
async def sent(client: Client, runtime: Runtime, db: Database) -> Sent:
    list_id = await subscribed_list(client, "Ada", "Grace")
    campaign = await send_campaign(client, runtime, list_id, html="<p>Hello</p>")
    async with db.read() as session:
        rows = (await session.scalars(select(Message).order_by(Message.seq))).all()
    refs = [MessageRef(row.mailing_id, row.seq, row.subscriber_id) for row in rows]
    return Sent(client, db, campaign["id"], refs)


def entry(
    ref: MessageRef, url: str | None = None, request: Request = READER, at: float | None = None
) -> Entry:
    return Entry(ids.uuid7(), time.time() if at is None else at, ref, url, request)


async def test_people_and_machines_are_counted_apart_and_people_once(sent: Sent) -> None:
    start = time.time()
    await sent.see(
        entry(sent.ada, at=start), entry(sent.ada, at=start + 60), entry(sent.ada, request=SCANNER)
    )
    await sent.see(entry(sent.ada, at=start + 90), entry(sent.ada, SHOP), entry(sent.grace, SHOP, SCANNER))

    ada, grace = await sent.counters(sent.ada), await sent.counters(sent.grace)
    assert (ada["opens"], ada["machine_opens"], ada["clicks"], ada["machine_clicks"]) == (3, 1, 1, 0)
    assert (grace["opens"], grace["clicks"], grace["machine_clicks"]) == (0, 0, 1)
    assert ada["first_opened_at"].timestamp() == pytest.approx(start, abs=0.001)
    assert ada["last_opened_at"].timestamp() == pytest.approx(start + 90, abs=0.001)
    assert ada["first_clicked_at"] is not None
    assert (grace["first_clicked_at"], grace["last_clicked_at"]) == (None, None)
    assert await sent.shown() == (1, 1)


async def test_each_message_and_each_recipient_shows_its_own(sent: Sent) -> None:
    start = float(int(time.time()))
    ada = public_id(sent.ada.mailing_id, sent.ada.seq)
    grace = public_id(sent.grace.mailing_id, sent.grace.seq)
    await sent.see(
        entry(sent.ada, at=start), entry(sent.ada, at=start + 60), entry(sent.ada, SHOP, at=start + 61)
    )
    await sent.see(entry(sent.ada, request=SCANNER))
    moment = datetime.fromtimestamp(start, UTC)
    expected = {
        "opens": 2,
        "machine_opens": 1,
        "clicks": 1,
        "machine_clicks": 0,
        "first_opened_at": rfc3339(moment),
        "last_opened_at": rfc3339(moment + timedelta(seconds=60)),
        "first_clicked_at": rfc3339(moment + timedelta(seconds=61)),
        "last_clicked_at": rfc3339(moment + timedelta(seconds=61)),
    }
    nothing = {name: None if name.endswith("_at") else 0 for name in expected}
    path = f"/campaigns/{sent.campaign_id}/recipients"
    for rows in (
        [await sent.client.data("GET", f"/messages/{each}") for each in (ada, grace)],
        await sent.client.data("GET", "/messages"),
        await sent.client.data("GET", path),
        list(csv.DictReader(io.StringIO((await sent.client.get(f"{path}.csv")).text))),
    ):
        by_id = {row["id"]: {name: row[name] for name in expected} for row in rows}
        is_text = isinstance(rows[0]["opens"], str)
        for message_id, shown in ((ada, expected), (grace, nothing)):
            as_text = {name: "" if value is None else str(value) for name, value in shown.items()}
            assert by_id[message_id] == (as_text if is_text else shown)


async def test_counts_are_the_same_before_and_after_they_are_folded(sent: Sent) -> None:
    await sent.see(entry(sent.ada), entry(sent.grace), entry(sent.grace, SHOP))
    assert await sent.shown() == (2, 1)

    assert await sent.fold() > 0
    assert await sent.shown() == (2, 1)
    assert await sent.fold() == 0
    async with sent.db.read() as session:
        assert (await session.scalars(select(Tally))).all() == []

    await sent.see(entry(sent.ada, SHOP), entry(sent.ada), entry(sent.grace, SHOP))
    assert await sent.shown() == (2, 2)
    await sent.fold()
    assert await sent.shown() == (2, 2)


async def test_a_block_that_comes_twice_counts_once(sent: Sent) -> None:
    block = [entry(sent.ada), entry(sent.ada, SHOP), entry(sent.grace, request=SCANNER)]
    await sent.see(*block)
    once = await sent.counters(sent.ada)
    await sent.see(*block, entry(sent.grace, SHOP))

    assert await sent.counters(sent.ada) == once
    assert await sent.shown() == (1, 2)


async def test_a_live_mail_is_read_by_nobody_in_its_first_seconds(sent: Sent) -> None:
    async with sent.db.unit_of_work() as session:
        await session.execute(update(Mailing).values(is_test=False))
        decided = (await session.scalars(select(Message.decided_at).where(Message.seq == 1))).one()
    assert decided is not None
    at = decided.timestamp()

    await sent.see(entry(sent.ada, at=at + 1.5), entry(sent.ada, at=at + 1.6), too_soon=2)
    assert await sent.shown() == (0, 0)
    await sent.see(entry(sent.ada, at=at + 30), too_soon=2)

    assert await sent.shown() == (1, 0)
    assert (await sent.counters(sent.ada))["machine_opens"] == 2


async def test_who_follows_all_links_at_once_is_no_reader(sent: Sent) -> None:
    now = time.time()
    await sent.see(*(entry(sent.ada, f"{SHOP}{number}", at=now + number / 10) for number in range(5)))

    assert await sent.shown() == (0, 0)
    assert (await sent.counters(sent.ada))["machine_clicks"] == 5


async def test_a_test_send_counts_for_no_campaign(sent: Sent, runtime: Runtime) -> None:
    await sent.client.data(
        "POST", f"/campaigns/{sent.campaign_id}/test", 202, json={"emails": ["boss@example.com"]}
    )
    async with sent.db.read() as session:
        mailing_id = (await session.scalars(select(Mailing.id).where(Mailing.kind == "test"))).one()
    await sent.see(entry(MessageRef(mailing_id, 1, None)))

    assert await sent.shown() == (0, 0)
    await sent.fold()
    assert await sent.shown() == (0, 0)
