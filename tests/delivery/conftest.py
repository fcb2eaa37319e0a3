"""A live project that sends through a recording SMTP server, in small batches and blocks."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, update

from newsletter.accounts.project import Project
from newsletter.delivery.models import Batch, Mailing, Message, Outcome
from newsletter.kit import ids
from newsletter.kit.db import db_in
from newsletter.runtime import Runtime
from newsletter.settings import DeliverySettings, RoutingSettings, Settings, SMTPSettings
from newsletter.tallies.models import Metric, Tally
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.smtp_sink import Sink, smtp_sink

__all__ = ["smtp_sink"]

BATCH, BLOCK = 10, 3


@pytest.fixture
def settings(settings: Settings, smtp_sink: Sink) -> Settings:
    return settings.model_copy(
        update={
            "smtp": SMTPSettings(url=SecretStr(smtp_sink.url), connections=2),
            "delivery": DeliverySettings(batch_size=BATCH, block_size=BLOCK),
            # The breaker has tests of its own; here each batch meets the outage itself.
            "routing": RoutingSettings(breaker_failures=100),
        }
    )


@pytest.fixture
async def live(make_project: MakeProject) -> Project:
    return await make_project(is_test=False)


@pytest.fixture
async def live_client(make_client: MakeClient, live: Project) -> Client:
    return await make_client(live)


@dataclass(frozen=True)
class Sent:
    """A campaign on its way, and a look into its books."""

    id: str
    list_id: str
    runtime: Runtime

    async def mailing(self) -> Mailing:
        async with self.runtime.db.read() as session:
            statement = select(Mailing).where(Mailing.source_id == ids.private("cmp", self.id))
            return (await session.scalars(statement)).one()

    async def batches(self) -> list[Batch]:
        mailing = await self.mailing()
        async with self.runtime.db.read() as session:
            rows = select(Batch).where(Batch.mailing_id == mailing.id).order_by(Batch.first_seq)
            return list(await session.scalars(rows))

    async def messages(self) -> list[Message]:
        mailing = await self.mailing()
        async with self.runtime.db.read() as session:
            rows = select(Message).where(Message.mailing_id == mailing.id).order_by(Message.seq)
            return list(await session.scalars(rows))

    async def outcomes(self) -> dict[str, Outcome]:
        """By the local part of the address."""
        return {row.address.partition("@")[0]: row.outcome for row in await self.messages()}

    async def tallied(self) -> dict[Metric, int]:
        """What was counted of it, as long as nobody folds; what is zero in the end is left out."""
        mailing = await self.mailing()
        async with self.runtime.db.read() as session:
            sums = select(Tally.metric, func.sum(Tally.number)).where(Tally.mailing_id == mailing.id)
            found = await session.execute(sums.group_by(Tally.metric))
            return {metric: number for metric, number in found if number}

    async def expire(self) -> None:
        """No message is tried any more."""
        mailing = await self.mailing()
        async with self.runtime.db.unit_of_work() as session:
            over = update(Mailing).where(Mailing.id == mailing.id).values(expires_at=db_in(-1))
            await session.execute(over)
        await self.let_time_pass()

    async def let_time_pass(self) -> None:
        """Deferred messages are due, leases have run out."""
        mailing = await self.mailing()
        async with self.runtime.db.unit_of_work() as session:
            mine = Message.mailing_id == mailing.id, Message.next_attempt_at.is_not(None)
            await session.execute(update(Message).where(*mine).values(next_attempt_at=db_in(-1)))
            leased = Batch.mailing_id == mailing.id, Batch.lease_until.is_not(None)
            await session.execute(update(Batch).where(*leased).values(lease_until=db_in(-1)))


Launch = Callable[..., Awaitable[Sent]]


@pytest.fixture
async def launch(live_client: Client, runtime: Runtime) -> Launch:
    """``await launch(25)``: a campaign to u1@…, u2@… and ``more``, whose jobs wait to be run; further
    ``fields`` are those of the campaign."""

    async def start(
        count: int, *, html: str = "<p>Hello {{ first_name }}</p>", more: Sequence[str] = (), **fields: Any
    ) -> Sent:
        made = await live_client.data("POST", "/lists", 201, json={"name": "Readers"})
        rows = [
            {"email": f"u{number}@example.com", "first_name": f"Name{number}"}
            for number in range(1, count + 1)
        ]
        rows += [{"email": email} for email in more]
        if rows:
            body: dict[str, Any] = {"list_id": made["id"], "subscribers": rows}
            await live_client.data("POST", "/subscribers/batch", 200, json=body)
        body = {"list_id": made["id"], "subject": "Hi {{ first_name }}", "html": html, "send": True}
        body |= fields
        campaign = await live_client.data("POST", "/campaigns", 201, json=body)
        return Sent(campaign["id"], made["id"], runtime)

    return start
