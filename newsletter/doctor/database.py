"""The database: reachable, at the newest schema, durable, on time; and the work that waits in it."""

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter import migrations
from newsletter.accounts import queries as accounts
from newsletter.doctor import domains, servers
from newsletter.doctor.finding import Finding, broken, off, ok, warning
from newsletter.kit import clock, heartbeat, jobs
from newsletter.kit.db import db_now
from newsletter.kit.jobs import JobStatus
from newsletter.runtime import Runtime

SECONDS = 10.0
"""What all questions to the database may take."""
MIN_POSTGRES = 150_000
STALE_SECONDS = 30.0
"""The sweeper is seen every 5 seconds."""
SKEW_SECONDS = 2.0
"""Below it a difference of clocks is noise; above it schedules are early or late."""


@dataclass(slots=True)
class Books:
    findings: list[Finding] = field(default_factory=list)
    has_projects: bool = False
    has_live_projects: bool = False


async def check(runtime: Runtime) -> Books:
    """Asks nothing more of a database that cannot be reached or is not at our schema."""
    books, settings = Books(), runtime.settings
    url = make_url(settings.database_url)
    if settings.is_sqlite and (nothing := _nothing_to_ask(Path(url.database or ""))):
        books.findings.append(nothing)
        return books
    try:
        async with asyncio.timeout(SECONDS):
            await _ask(runtime, books)
    except TimeoutError:
        reason = f"no answer within {SECONDS:.0f} seconds"
        books.findings.append(_unreachable(url.render_as_string(), reason))
    except Exception as error:  # Drivers have errors of their own for a wrong password.
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        books.findings.append(_unreachable(url.render_as_string(), reason))
    return books


async def _ask(runtime: Runtime, books: Books) -> None:
    revision, head = await migrations.current(runtime.db.engine), migrations.head()
    place = "SQLite" if runtime.settings.is_sqlite else "PostgreSQL"
    if revision != head:
        mend = "It is migrated at the next start." if runtime.db.is_sqlite else "Run 'newsletter db upgrade'."
        finding = warning if runtime.db.is_sqlite else broken
        state = "empty" if revision is None else f"at revision {revision}"
        books.findings.append(finding("database", f"{place}, {state}; the newest is {head}", mend))
        return
    books.findings.append(ok("database", f"{place}, at revision {head}"))
    async with runtime.db.read() as session:
        if not runtime.db.is_sqlite:
            books.findings += await _durability(session)
        books.findings.append(await _clock(session))
        books.findings += await _work(session)
        books.findings += await servers.check(session)
        books.findings += await domains.check(session, is_required=runtime.settings.require_verified_domain)
        books.has_projects, books.has_live_projects = await accounts.kinds_of_projects(session)


def _nothing_to_ask(path: Path) -> Finding | None:
    """What there is to say of a file that is not there or cannot be used; None for a good one."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    # SQLite writes its log beside the file, so the folder must be writable as well.
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        return broken("database", f"SQLite at {path} cannot be written", f"Let this user write {folder}.")
    return None if path.exists() else ok("database", f"SQLite at {path}; made on the first start")


def _unreachable(url: str, reason: str) -> Finding:
    return broken("database", f"{url}: {reason}", "Is it running, and is NEWSLETTER_DATABASE_URL right?")


async def _durability(session: AsyncSession) -> list[Finding]:
    found = []
    number = int((await session.execute(text("SHOW server_version_num"))).scalar_one())
    if number < MIN_POSTGRES:
        found.append(
            broken("database", f"PostgreSQL {number // 10_000} is too old", "15 or newer is needed.")
        )
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        if (await session.execute(text(f"SHOW {name}"))).scalar_one() == "off":
            loss = f"{name} is off: a crash may lose what was recorded as sent"
            found.append(warning("durability", loss, f"Set {name} = on in postgresql.conf."))
    return found or [ok("durability", "commits reach the disk")]


async def _clock(session: AsyncSession) -> Finding:
    before = clock.now()
    theirs = (await session.execute(select(db_now()))).scalar_one()
    after = clock.now()
    ahead = max((theirs - after).total_seconds(), (before - theirs).total_seconds(), 0.0)
    if ahead > SKEW_SECONDS:
        return warning(
            "clock",
            f"this machine and the database differ by {ahead:.1f} seconds",
            "Let both follow the time servers (NTP): schedules are early or late by as much.",
        )
    return ok("clock", "agrees with the database")


async def _work(session: AsyncSession) -> list[Finding]:
    counts, ages = await jobs.counts(session), await heartbeat.ages(session)
    waiting, dead = counts.get(JobStatus.queued, 0), counts.get(JobStatus.dead, 0)
    age = min(ages.values(), default=None)
    if age is not None and age <= STALE_SECONDS:
        found = [ok("workers", f"seen {age:.0f} seconds ago; {waiting} jobs wait")]
    else:
        seen = "never seen" if age is None else f"last seen {_duration(age)} ago"
        found = [
            off("workers", f"{seen}; {waiting} jobs wait", "'newsletter serve' or 'worker' starts them.")
        ]
    if dead:
        found.append(
            warning(
                "jobs",
                f"{dead} failed for good",
                "Their errors: SELECT name, error FROM jobs WHERE status = 'dead'.",
            )
        )
    return found


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {name}"
    return f"{seconds:.0f} seconds"
