"""The schema's history; ``newsletter db upgrade`` brings a database to its end.

Alembic is loaded where there is something to migrate: to load it, and each file of the history to learn which
is the newest, was a twentieth of every start (0.13 s of 2.9 s of a processor).
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

import newsletter.accounts.audit.models
import newsletter.accounts.models
import newsletter.analytics.models
import newsletter.audience.models
import newsletter.automations.models
import newsletter.campaigns.models
import newsletter.copywriting.models
import newsletter.delivery.models
import newsletter.domains.models
import newsletter.events.models
import newsletter.kit.heartbeat
import newsletter.kit.idempotency
import newsletter.kit.jobs
import newsletter.plans.models
import newsletter.routing.models
import newsletter.sandbox.models
import newsletter.suppressions.models
import newsletter.tallies.models
import newsletter.templates.models
import newsletter.webhooks.models  # noqa: F401 - importing a model registers its table
from newsletter.kit.db import Base

if TYPE_CHECKING:
    from alembic.config import Config

EVENT_PARTS = r"events_(\d{6}|default)"
_FOLDER = Path(__file__).parent
_REVISION = re.compile(r'^(down_)?revision = "(\w+)"$', re.MULTILINE)


def config() -> "Config":
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(_FOLDER))
    settings.set_main_option("file_template", "%%(year)d%%(month).2d%%(day).2d_%%(slug)s")
    return settings


@cache
def head() -> str:
    """The newest revision that this program knows: the one that none of its files builds on."""
    revisions, built_on = set[str](), set[str]()
    for path in (_FOLDER / "versions").glob("*.py"):
        for is_below, revision in _REVISION.findall(path.read_text(encoding="utf-8")):
            (built_on if is_below else revisions).add(revision)
    newest = revisions - built_on
    if len(newest) != 1:
        raise LookupError(f"the installation's migrations end in {len(newest)} revisions, not in one")
    return newest.pop()


async def upgrade(engine: AsyncEngine) -> None:
    """Brings the database to the newest revision; safe to run twice and from two processes."""
    async with engine.connect() as connection:
        try:
            await connection.run_sync(_upgrade)
            await connection.commit()
        finally:
            await connection.rollback()
            await connection.run_sync(_follow_references, True)


async def current(engine: AsyncEngine) -> str | None:
    """The revision of the database, or None for an empty one."""
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar_one_or_none()
    return revision


async def differences(engine: AsyncEngine) -> list[object]:
    """What the models have and the database has not, or the other way round."""
    async with engine.connect() as connection:
        return await connection.run_sync(_differences)


def _differences(connection: Connection) -> list[object]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_whole})
    return list(compare_metadata(context, Base.metadata))


def _is_whole(name: str | None, kind: str, parents: object) -> bool:
    """The months of the event log are parts of one table, made as time goes on."""
    return not (kind == "table" and name and re.fullmatch(EVENT_PARTS, name))


def _follow_references(connection: Connection, is_on: bool) -> None:
    """SQLite changes many a table by making it anew, and with the old one would go all rows that refer to it.

    Takes effect outside of a transaction only, so it is said to the driver, before there is one
    (https://sqlite.org/lang_altertable.html#otheralter).
    """
    if connection.dialect.name == "sqlite":
        cursor = connection.connection.cursor()
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if is_on else 'OFF'}")
        cursor.close()


def _upgrade(connection: Connection) -> None:
    _follow_references(connection, False)
    if connection.dialect.name == "postgresql":
        # Two processes that start together take turns; the lock ends with the transaction.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7267390161)")
    if _current(connection) == head():
        return
    from alembic import command

    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    if connection.dialect.name == "sqlite":
        broken = {row[0] for row in connection.execute(text("PRAGMA foreign_key_check"))}
        if broken:
            raise RuntimeError(f"rows of {sorted(broken)} refer to what is not there; nothing was changed")
