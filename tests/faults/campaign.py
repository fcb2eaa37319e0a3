"""One campaign under fault: its start over HTTP, its books, and what must be true at its end."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from newsletter.delivery.ledger import COUNTED
from newsletter.delivery.models import Mailing, MailingStatus, Message, Outcome
from newsletter.kit import ids
from newsletter.kit.db import Database, is_outage
from tests.conftest import SIZE
from tests.faults.sink import Sink

REPORT = "NEWSLETTER_FAULTS_REPORT"
"""The file that gets a line of figures for each test, where this variable names one."""


async def wait_for(condition: Callable[[], bool | Awaitable[bool]], seconds: float, what: str) -> float:
    """Polls until the condition holds and returns how long that took; a database that is away
    is a condition that does not hold."""
    begun = time.monotonic()
    while True:
        try:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return time.monotonic() - begun
        except (DBAPIError, OSError) as error:
            if not is_outage(error):
                raise
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a campaign, in the books and at the receiving server."""

    recipients: int
    sent: int
    failed: int
    suppressed: int
    skipped: int
    unknown: int
    received: int
    duplicates: int
    """Recipients who got more than one mail."""
    missing: int
    """Recipients without an outcome, or with ``sent`` and no mail."""
    unaccounted: int
    """Recipients with a mail whose outcome is neither ``sent`` nor ``unknown``."""


@dataclass
class Campaign:
    """``await campaign.start(api)``, some fault, ``await campaign.end(60)``."""

    db: Database
    sink: Sink
    key: str
    list_id: str
    id: str = ""
    times: int = 1
    """How often the fault happened."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from each fault, or from its end, until mail went on."""

    def http(self, url: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, timeout=30)

    @property
    def body(self) -> dict[str, Any]:
        return {
            "list_id": self.list_id,
            "name": "Under fault",
            "subject": "Hello {{ first_name }}",
            "html": "<p>Dear {{ first_name }}, this is the news.</p>",
            "send": True,
        }

    async def start(self, url: str) -> None:
        async with self.http(url) as client:
            answer = await client.post("/campaigns", json=self.body)
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["data"]["id"]

    async def received(self, number: int, seconds: float = 60) -> None:
        """Waits until the sink has taken so many mails."""
        await wait_for(lambda: len(self.sink.mails) >= number, seconds, f"{number} mails taken")

    async def goes_on(self, seconds: float = 60) -> float:
        """Waits for the next mail, and notes how long that took."""
        begun = time.monotonic()
        await self.received(len(self.sink.mails) + 1, seconds)
        self.recoveries.append(time.monotonic() - begun)
        return self.recoveries[-1]

    async def mailing(self) -> Mailing:
        async with self.db.read() as session:
            statement = select(Mailing).where(Mailing.source_id == ids.private("cmp", self.id))
            return (await session.scalars(statement)).one()

    async def outcomes(self) -> dict[str, Outcome]:
        mailing = await self.mailing()
        async with self.db.read() as session:
            rows = select(Message.address, Message.outcome).where(Message.mailing_id == mailing.id)
            return {row.address: row.outcome for row in await session.execute(rows)}

    async def count(self, outcome: Outcome) -> int:
        mailing = await self.mailing()
        async with self.db.read() as session:
            rows = select(func.count()).select_from(Message)
            mine = Message.mailing_id == mailing.id, Message.outcome == outcome
            return (await session.execute(rows.where(*mine))).scalar_one()

    async def has_unknown(self) -> bool:
        return await self.count(Outcome.unknown) > 0

    async def is_closed(self) -> bool:
        return (await self.mailing()).status is MailingStatus.closed

    async def closes(self, seconds: float) -> None:
        await wait_for(self.is_closed, seconds, "the campaign closes by itself")

    async def end(self, seconds: float = 60) -> Verdict:
        """Waits until the campaign closed by itself; then every promise of the books must hold."""
        await self.closes(seconds)
        outcomes, mailing = await self.outcomes(), await self.mailing()
        verdict = judge(outcomes, self.sink)
        report(verdict, self.times, self.recoveries)
        counted = {outcome: getattr(mailing, outcome.value) for outcome in COUNTED}
        assert counted == {outcome: getattr(verdict, outcome.value) for outcome in COUNTED}
        assert sum(counted.values()) == mailing.recipient_count == verdict.recipients
        assert (verdict.duplicates, verdict.missing, verdict.unaccounted) == (0, 0, 0)
        return verdict


def report(verdict: Verdict, times: int, recoveries: Sequence[float]) -> None:
    """Before the promises are checked: the table shows a broken one as well."""
    if path := os.environ.get(REPORT):
        name = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].rpartition(" ")[0]
        line = {
            "test": name,
            "size": SIZE,
            "times": times,
            "recoveries": list(recoveries),
            **asdict(verdict),
        }
        with Path(path).open("a") as lines:
            lines.write(json.dumps(line) + "\n")


def judge(outcomes: dict[str, Outcome], sink: Sink) -> Verdict:
    """Compares the books with the mails. Each recipient has one Message-ID, and no other has it."""
    mails = list(sink.mails)
    copies = Counter(mail.recipient for mail in mails)
    owners = {mail.message_id: mail.recipient for mail in mails}
    assert len(owners) == len(copies), "a Message-ID is not the same over all attempts, or not unique"
    assert copies.keys() <= outcomes.keys(), "mail for somebody who is no recipient"
    counted = Counter(outcomes.values())
    may_have_mail = {Outcome.sent, Outcome.unknown}
    return Verdict(
        recipients=len(outcomes),
        sent=counted[Outcome.sent],
        failed=counted[Outcome.failed],
        suppressed=counted[Outcome.suppressed],
        skipped=counted[Outcome.skipped],
        unknown=counted[Outcome.unknown],
        received=len(copies),
        duplicates=sum(number > 1 for number in copies.values()),
        missing=sum(
            outcome not in COUNTED or (outcome is Outcome.sent and not copies[address])
            for address, outcome in outcomes.items()
        ),
        unaccounted=sum(outcomes[address] not in may_have_mail for address in copies),
    )
