"""What works on sets of rows reads those rows, whatever PostgreSQL knows or thinks to know of its tables.

The planner's statistics come a minute late, and of a list or a mailing that was just made they say
nothing. Each step runs where they are missing, where they are older than the rows and where they are
fresh, with a plan for its own values and with one for all values that was made while the tables were
small. The server itself says how many rows and pages each statement read (``auto_explain``).
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid4

from sqlalchemy import select, text

from newsletter.accounts import service as accounts
from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import queries as audience
from newsletter.audience import service as subscribing
from newsletter.audience.schemas import ListCreate
from newsletter.audience.upsert import Target
from newsletter.delivery import batches
from newsletter.delivery import service as mailing
from newsletter.delivery.models import Batch, MailingKind, Message, UnknownPolicy
from newsletter.delivery.rounds import Gate
from newsletter.delivery.service import Order, Sender
from newsletter.kit.db import Database
from newsletter.runtime import Runtime
from newsletter.settings import DeliverySettings, Settings
from newsletter.suppressions import queries as suppressed
from tests.conftest import Rings
from tests.services import Postgres

FEW, MANY = 60, 4_000
"""Rows of each large table before it grew, and what it grows by each time."""
KEYS = 8
MAILINGS = 12
"""Small ones, of which opens and clicks come together."""
MOST = 240
"""Rows of large tables that a step may read: several for each of its keys, and a fifth of a table."""
MOST_PAGES = 12
"""Of a look-up that finds one row: three or four of the index, the row's own, and some of versions that died.
An index whose first columns are only half named is read from end to end, and no row of it counts as read."""
LARGE = re.compile(
    "subscribers|messages|suppressions|consents|message_attempts|message_engagement|jobs"
    "|webhook_deliveries|webhook_attempts|events_.*"
)
"""The log of events is in tables by month."""
SENDER_DOMAIN = "acme.example.com"

_ENTRY = re.compile(r"LOG:  duration: [\d.]+ ms  plan:\n((?:\t.*\n)+)")


class Read(NamedTuple):
    rows: int
    pages: int
    """For each row or look-up of the scan that needed most."""


@dataclass(frozen=True)
class Watched:
    """A database of its own on the suite's server, which writes each plan with its rows into the log."""

    server: Postgres
    url: str
    name: str

    def read_since(self, start: int) -> dict[str, Read]:
        """What each statement read of large tables since the log had this length, at most."""
        found: dict[str, Read] = {}
        for entry in _ENTRY.findall(self.server.log()[start:]):
            plan = json.loads(entry)
            scans = list(_scans(plan["Plan"]))
            statement = " ".join(plan["Query Text"].split())
            before = found.get(statement, Read(0, 0))
            found[statement] = Read(
                max(before.rows, sum(each.rows for each in scans)),
                max(before.pages, max((each.pages for each in scans), default=0)),
            )
        return found

    @property
    def position(self) -> int:
        return len(self.server.log())


def _scans(node: dict[str, Any]) -> Iterator[Read]:
    inner = node.get("Plans", [])
    if LARGE.fullmatch(node.get("Relation Name", "")) and "Scan" in node["Node Type"]:
        rows = round(sum(node.get(name, 0) for name in _ROWS) * node["Actual Loops"])
        # The server counts those of what is inside as well.
        pages = _pages(node) - sum(map(_pages, inner))
        yield Read(rows, round(pages / max(rows, node["Actual Loops"], KEYS)))
    for each in inner:
        yield from _scans(each)


def _pages(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


_ROWS = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")


class World:
    """A list, a mailing to it and a level of suppressions, which steps take their rows from."""

    def __init__(self, runtime: Runtime, project: Project) -> None:
        self.runtime, self.project = runtime, project
        self.lists = 0
        self.list_id = self.mailing_id = UUID(int=0)
        self.mailings: list[UUID] = []
        self.turn = 0

    @property
    def db(self) -> Database:
        return self.runtime.db

    async def analyse(self) -> None:
        async with self.db.unit_of_work() as session:
            await session.execute(text("ANALYZE"))

    async def grow(self, count: int) -> None:
        """A new list of so many, a mailing to it, and as many suppressions of other people."""
        self.lists += 1
        async with self.db.unit_of_work() as session:
            made = await subscribing.create_list(session, self.project, ListCreate(name=f"L{self.lists}"))
            self.list_id = made.id
            for statement in (_SUBSCRIBERS, _SUPPRESSIONS):
                values = {"project": self.project.id, "list": self.list_id, "count": count}
                values |= {"name": f"l{self.lists}", "scope": suppressed.project_scope(self.project.id)}
                await session.execute(text(statement), values)
        self.mailing_id = await self.start()
        self.turn = 0

    async def start(self) -> UUID:
        order = Order(
            kind=MailingKind.test,
            source_id=uuid4(),
            list_id=self.list_id,
            content={},
            sender=Sender("news@acme.example.com", None, None, None),
            policy=UnknownPolicy.hold,
        )
        recipients = audience.recipients(self.project, self.list_id)
        settings = DeliverySettings(batch_size=KEYS)
        async with self.db.unit_of_work() as session:
            started = await mailing.start(
                session, self.project, order, recipients, mail_limit=None, settings=settings
            )
        return started.mailing_id

    async def addresses(self, count: int) -> list[str]:
        """Those of the list's newest mailing that no step has touched yet."""
        first = 1 + self.turn
        self.turn += count
        statement = select(Message.address_key).where(
            Message.mailing_id == self.mailing_id, Message.seq >= first, Message.seq < first + count
        )
        async with self.db.read() as session:
            return list(await session.scalars(statement))

    @property
    def target(self) -> Target:
        return Target(self.project, self.list_id, None, None, Resubscribe.allow)

    def gate(self) -> Gate:
        return Gate(self.project.id, self.list_id, SENDER_DOMAIN, DeliverySettings())

    async def claimed(self) -> batches.Claim:
        waiting = select(Batch.id).where(Batch.mailing_id == self.mailing_id, Batch.token == 0)
        async with self.db.read() as session:
            batch_id = (await session.scalars(waiting.order_by(Batch.first_seq.desc()).limit(1))).one()
        claim = await batches.claim(self.db, batch_id, 60.0, 3, 10)
        assert claim is not None
        return claim


_SUBSCRIBERS = """
INSERT INTO subscribers (id, project_id, list_id, email, address_key, tags, custom_fields, status,
    subscribed_at, created_at, updated_at)
SELECT gen_random_uuid(), :project, :list, a, a, '[]', '{}', 'active', now(), now(), now()
FROM (SELECT 'n' || n || '@' || :name || '.example.com' AS a FROM generate_series(1, :count) AS n) AS new
"""
_SUPPRESSIONS = """
INSERT INTO suppressions (id, project_id, scope, address_key, reason, source, created_at)
SELECT gen_random_uuid(), :project, :scope, 'gone' || n || '@' || :name || '.example.com', 'manual', 'test',
    now()
FROM generate_series(1, :count) AS n
"""


class Step(Protocol):
    """What is watched, on rows of the world that no step before it touched."""

    __name__: str

    def __call__(self, world: Any, /) -> Awaitable[None]: ...


async def read_too_much(
    watched: Watched, settings: Settings, make: Callable[[Runtime, Project], World], steps: Sequence[Step]
) -> list[str]:
    """A line for each statement that read more than its rows."""
    runtime = Runtime(settings, Rings())
    async with runtime.db.unit_of_work() as session:
        made = await accounts.create_account(
            session,
            runtime.plans,
            name="Acme",
            email="news@acme.example.com",
            plan="enterprise",
            postal_address="Acme Ltd, 1 Main Street, Springfield",
            is_test=False,
        )
    world = make(runtime, made.project)
    wrong: list[str] = []

    async def carry_out(when: str, most: int = MOST) -> None:
        for step in steps:
            start = watched.position
            await step(world)
            wrong.extend(
                f"{read.rows:,} rows, {read.pages} pages for one: {step.__name__}, {when}: {statement}"
                for statement, read in watched.read_since(start).items()
                if read.rows > most or read.pages > MOST_PAGES
            )

    await world.grow(FEW)
    world.mailings = [await world.start() for _ in range(MAILINGS)]
    await carry_out("small", most=2 * MANY)
    # What was planned for all values stays; autovacuum is off. It may read a table, which was smaller
    # then than the look-ups; it may not read it for each of its keys.
    await world.grow(MANY)
    await carry_out("as planned when small", most=2 * MANY)
    await runtime.aclose()
    world.runtime = runtime = Runtime(settings, Rings())
    await carry_out("without statistics")
    await world.analyse()
    await world.grow(MANY)
    await carry_out("with statistics from before")
    await world.analyse()
    await carry_out("with statistics")
    await runtime.aclose()
    return wrong
