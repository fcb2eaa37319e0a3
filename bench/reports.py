"""What providers report, applied to the books, against rows that are only inserted."""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

from sqlalchemy import update

from bench.table import Goal, Measured, Row, row
from newsletter import migrations
from newsletter.accounts import service as accounts
from newsletter.accounts.project import Project
from newsletter.delivery import service as delivery
from newsletter.delivery.models import MailingKind, Message, Outcome
from newsletter.delivery.queries import public_ids
from newsletter.delivery.service import Order, Sender
from newsletter.feedback import inbound
from newsletter.kit import clock, ids
from newsletter.kit.address import parse
from newsletter.providers.events import EventKind, ProviderEvent
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from tests.services import Postgres

EVENTS = 1_000
"""Of one report; SendGrid sends about as many in a call."""
MIX = {EventKind.bounced: 50, EventKind.complained: 500}
"""One of so many is such a one; all others are deliveries."""


def report_rows(rounds: int) -> list[Row]:
    goal = Goal("Events of providers applied on Postgres / bare INSERTs of as many rows", 0.2)
    return [row(goal, lambda: asyncio.run(_applied(rounds)))]


async def _applied(rounds: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres:
        settings = Settings(
            data_dir=Path(folder), database_url=postgres.create_database("bench"), secret_key="k" * 32
        )
        runtime = Runtime(settings, lambda rings: None)
        try:
            await migrations.upgrade(runtime.db.engine)
            project = await new_project(runtime)
            ours, bare = [], []
            for _ in range(rounds + 1):
                events = await _events(runtime, project)
                bare.append(await _insert(runtime, project))
                ours.append(await _apply(runtime, project, events))
        finally:
            await runtime.aclose()
    # The first round fills caches.
    figures = EVENTS / median(ours[1:]), EVENTS / median(bare[1:])
    return Measured(f"{figures[0]:,.0f} events/s", f"{figures[1]:,.0f} rows/s", figures[0] / figures[1])


async def new_project(runtime: Runtime) -> Project:
    async with runtime.db.unit_of_work() as session:
        made = await accounts.create_account(
            session,
            runtime.plans,
            name="bench",
            email="news@example.com",
            plan="free",
            postal_address=None,
            is_test=False,
        )
    return made.project


async def _events(runtime: Runtime, project: Project) -> list[ProviderEvent]:
    """A mailing to as many readers, and a report of each of its messages."""
    order = Order(
        kind=MailingKind.test,
        source_id=ids.uuid7(),
        list_id=None,
        content={},
        sender=Sender("news@example.com", None, None, None),
    )
    people = [parse(f"reader{number}@example.org") for number in range(EVENTS)]
    async with runtime.db.unit_of_work() as session:
        started = await delivery.start_to(
            session, project, order, people, mail_limit=None, settings=runtime.settings.delivery
        )
        await session.execute(update(Message).values(outcome=Outcome.sent))
    name, at = public_ids(started.mailing_id), clock.now()
    return [
        ProviderEvent(
            kind=next((kind for kind, each in MIX.items() if seq % each == 0), EventKind.delivered),
            event_id=str(seq),
            at=at,
            message_id=name(seq),
            status="4.2.2",
            reason="452 4.2.2 mailbox full",
        )
        for seq in range(1, EVENTS + 1)
    ]


async def _apply(runtime: Runtime, project: Project, events: list[ProviderEvent]) -> float:
    started = time.perf_counter()
    async with runtime.db.unit_of_work() as session:
        await inbound.apply_all(session, runtime.settings.bounces, project.id, events, source="bench")
    return time.perf_counter() - started


async def _insert(runtime: Runtime, project: Project) -> float:
    """One statement for each row, in one transaction, straight to the driver."""
    rows = [
        (ids.uuid7(), project.id, "message.delivered", '{"message": {"id": "msg_1"}}', clock.now())
        for _ in range(EVENTS)
    ]
    async with runtime.db.engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        started = time.perf_counter()
        async with raw.transaction():
            for row_ in rows:
                await raw.execute(
                    "INSERT INTO events (id, project_id, type, data, created_at) VALUES ($1, $2, $3, $4, $5)",
                    *row_,
                )
        return time.perf_counter() - started
