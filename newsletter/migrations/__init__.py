"""The schema's history; ``newsletter db upgrade`` brings a database to its end."""

import re
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
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

EVENT_PARTS = r"events_(\d{6}|default)"


def config() -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.set_main_option("file_template", "%%(year)d%%(month).2d%%(day).2d_%%(slug)s")
    return settings


def head() -> str:
    """The newest revision that this program knows."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:
        raise LookupError("the installation holds no migrations")
    return revision


async def upgrade(engine: AsyncEngine) -> None:
    """Brings the database to the newest revision; safe to run twice and from two processes."""
    async with engine.connect() as connection:
        await connection.run_sync(_upgrade)
        await connection.commit()


async def current(engine: AsyncEngine) -> str | None:
    """The revision of the database, or None for an empty one."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


async def differences(engine: AsyncEngine) -> list[object]:
    """What the models have and the database has not, or the other way round."""
    async with engine.connect() as connection:
        return await connection.run_sync(_differences)


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_whole})
    return list(compare_metadata(context, Base.metadata))


def _is_whole(name: str | None, kind: str, parents: object) -> bool:
    """The months of the event log are parts of one table, made as time goes on."""
    return not (kind == "table" and name and re.fullmatch(EVENT_PARTS, name))


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Two processes that start together take turns; the lock ends with the transaction.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7267390161)")
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
