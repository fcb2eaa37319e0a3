"""What is old ends, and what is young or still needed stays."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import make_transient

from newsletter.delivery import retention as delivery
from newsletter.delivery.models import (
    Attachment,
    Content,
    Mailing,
    MailingKind,
    Message,
    MessageAttempt,
    MessagePart,
    Outcome,
)
from newsletter.feedback import repeated
from newsletter.feedback.models import ReturnedMail, SoftBounces
from newsletter.kit import clock
from newsletter.kit.db import Base, Database
from newsletter.kit.ids import first_of
from newsletter.privacy import retention
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list


async def count(db: Database, table: type[Base], *where: Any) -> int:
    async with db.read() as session:
        return int(
            (await session.execute(select(func.count()).select_from(table).where(*where))).scalar_one()
        )


async def age(db: Database, mailing_id: UUID, at: datetime) -> UUID:
    """Gives a mailing the id and the end that it would have had."""
    older = UUID(int=first_of(at).int | mailing_id.int & ((1 << 64) - 1) | 7 << 76 | 2 << 62)
    async with db.unit_of_work() as session:
        tables: list[type[Any]] = [Message, MessageAttempt, MessagePart, Content, Attachment]
        for table in tables:
            await session.execute(
                update(table).where(table.mailing_id == mailing_id).values(mailing_id=older)
            )
        row = await session.get(Mailing, mailing_id)
        assert row is not None
        session.expunge(row)
        make_transient(row)
        row.id, row.closed_at = older, at
        session.add(row)
    return older


@pytest.fixture
async def single(client: Client, runtime: Runtime) -> UUID:
    """A single mail with an attachment, sent and over."""
    body = {
        "from": "hi@acme.example.com",
        "to": "ada@example.com",
        "subject": "Receipt",
        "html": "<p>Thanks {{ first_name }}</p>",
        "variables": {"first_name": "Ada"},
        "attachments": [{"filename": "a.txt", "content": "aGVsbG8=", "content_type": "text/plain"}],
    }
    await client.data("POST", "/send", 202, json=body)
    await run_due(runtime)
    async with runtime.db.read() as session:
        return (await session.scalars(select(Mailing.id))).one()


async def test_the_text_of_a_single_mail_ends_and_its_message_stays(
    client: Client, runtime: Runtime, single: UUID
) -> None:
    db, days = runtime.db, runtime.settings.retention.body_days
    await age(db, single, clock.now() - timedelta(days=days - 1))
    await retention.prune(db, runtime.settings)
    assert (await count(db, Content), await count(db, Attachment)) == (1, 1)

    (mailing_id,) = await _ids(db)
    await age(db, mailing_id, clock.now() - timedelta(days=days + 1))
    for _ in range(2):
        await retention.prune(db, runtime.settings)
    assert (await count(db, Content), await count(db, Attachment)) == (0, 0)
    async with db.read() as session:
        assert (await session.scalars(select(MessagePart.variables))).all() == [{}]
    (message,) = (await client.get("/messages")).json()["data"]
    assert (message["to"], message["status"], message["subject"]) == ("ada@example.com", "sent", None)
    assert (await client.data("GET", f"/messages/{message['id']}"))["subject"] is None


async def _ids(db: Database) -> list[UUID]:
    async with db.read() as session:
        mine = select(Message.mailing_id).distinct()
        return list(await session.scalars(mine))


async def test_a_campaigns_content_and_a_mail_on_its_way_stay(client: Client, runtime: Runtime) -> None:
    await send_campaign(client, runtime, await subscribed_list(client, "Ada"))
    old = clock.now() - timedelta(days=1000)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Mailing).values(closed_at=old))
    await retention.prune(runtime.db, runtime.settings)
    async with runtime.db.read() as session:
        (mailing,) = await session.scalars(select(Mailing))
    assert (mailing.kind, bool(mailing.content)) == (MailingKind.campaign, True)
    assert not await delivery.drop_bodies(runtime.db, clock.now())


async def test_refused_tries_end_after_their_days(client: Client, runtime: Runtime) -> None:
    days = runtime.settings.retention.attempt_days
    now = clock.now()
    rows = [
        MessageAttempt(
            mailing_id=UUID(int=first_of(now - timedelta(days=400)).int | number),
            seq=1,
            attempt=1,
            at=now - timedelta(days=at),
            outcome=Outcome.failed,
            reason="no",
        )
        for number, at in enumerate((days + 1, days - 1))
    ]
    async with runtime.db.unit_of_work() as session:
        session.add_all(rows)
    await retention.prune(runtime.db, runtime.settings)
    assert await count(runtime.db, MessageAttempt) == 1
    assert not await delivery.drop_tries(runtime.db, now - timedelta(days=days))


async def test_returned_mails_and_counts_of_soft_bounces_end_after_their_days(
    client: Client, runtime: Runtime
) -> None:
    settings, now = runtime.settings, clock.now()
    project_id = UUID(int=1)
    async with runtime.db.unit_of_work() as session:
        for number, days in enumerate((settings.retention.report_days + 1, 1)):
            at = now - timedelta(days=days)
            session.add(
                ReturnedMail(
                    id=UUID(int=number + 1), key=str(number), message_id="msg_1", raw=b"x", received_at=at
                )
            )
        for number, days in enumerate((settings.bounces.soft_days + 1, 1)):
            at = now - timedelta(days=days)
            session.add(
                SoftBounces(project_id=project_id, address_key=f"u{number}@x.test", count=2, since=at)
            )
    for _ in range(2):
        await retention.prune(runtime.db, settings)
    assert await count(runtime.db, ReturnedMail) == 1
    async with runtime.db.read() as session:
        assert [await repeated.counted(session, project_id, f"u{n}@x.test") for n in (0, 1)] == [0, 2]
