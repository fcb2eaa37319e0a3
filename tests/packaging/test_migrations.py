"""The migrations make exactly the schema that the models describe, on both databases."""

import asyncio
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, Connection, DateTime, Integer, Uuid, inspect, text
from sqlalchemy.exc import IntegrityError

from newsletter import migrations
from newsletter.kit.db import Base, Database

ROOT = Path(__file__).parents[2]


def _schema(connection: Connection) -> dict[str, Any]:
    """All that the database knows of its tables, in an order of its own."""
    inspector = inspect(connection)
    tables: dict[str, Any] = {}
    for table in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        if re.fullmatch(migrations.EVENT_PARTS, table):
            continue  # A part of the event log, which is seen through the log.
        parts: dict[str, Any] = {
            "columns": inspector.get_columns(table),
            "foreign keys": inspector.get_foreign_keys(table),
            "indexes": [_index(row) for row in inspector.get_indexes(table)],
            "unique": inspector.get_unique_constraints(table),
            "checks": inspector.get_check_constraints(table),
        }
        tables[table] = {"key": str(inspector.get_pk_constraint(table))}
        for part, rows in parts.items():
            tables[table][part] = sorted(str(sorted(row.items(), key=lambda item: item[0])) for row in rows)
    return tables


def _index(row: Any) -> dict[str, Any]:
    """Conditions come as objects, whose texts are compared."""
    options = {name: str(value) for name, value in row.get("dialect_options", {}).items()}
    return {**row, "dialect_options": options}


async def _read(database: Database) -> dict[str, Any]:
    async with database.engine.connect() as connection:
        return await connection.run_sync(_schema)


async def test_migrations_match_the_models(empty: tuple[Database, Database]) -> None:
    migrated, modelled = empty
    await migrations.upgrade(migrated.engine)
    async with modelled.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)

    ours, theirs = await _read(migrated), await _read(modelled)

    assert ours.keys() == theirs.keys() == Base.metadata.tables.keys()
    for table in ours:
        assert ours[table] == theirs[table], table
    assert await migrations.differences(migrated.engine) == []


async def test_a_second_upgrade_changes_nothing(empty: tuple[Database, Database]) -> None:
    database, _ = empty
    assert await migrations.current(database.engine) is None
    await migrations.upgrade(database.engine)
    before = await _read(database)

    await migrations.upgrade(database.engine)

    assert await migrations.current(database.engine) == migrations.head()
    assert await _read(database) == before


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    assert migrations.head() == ScriptDirectory.from_config(migrations.config()).get_current_head()


UPGRADE = """
import asyncio, sys
from newsletter import migrations
from newsletter.kit.db import Database

async def main():
    database = Database(sys.argv[1])
    await migrations.upgrade(database.engine)
    await database.close()

asyncio.run(main())
"""


async def test_two_processes_may_upgrade_at_once(empty: tuple[Database, Database]) -> None:
    database, _ = empty
    url = database.engine.url.render_as_string(hide_password=False)
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADE, url, cwd=ROOT) for _ in range(3)
    ]

    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert await migrations.current(database.engine) == migrations.head()


async def test_a_column_that_is_missing_is_noticed(empty: tuple[Database, Database]) -> None:
    database, _ = empty
    await migrations.upgrade(database.engine)
    async with database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE heartbeats DROP COLUMN at"))

    assert "heartbeats" in str(await migrations.differences(database.engine))


async def test_a_mailing_on_its_way_keeps_its_batches(empty: tuple[Database, Database]) -> None:
    """On SQLite a table that is made anew takes along what refers to the old one."""
    database, _ = empty

    def before(connection: Connection) -> None:
        settings = migrations.config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "20261127_tracking_hosts")
        for table in ("accounts", "projects", "mailings", "batches"):
            columns = inspect(connection).get_columns(table)
            row = {each["name"]: _some(each) for each in columns if not each["nullable"]}
            row |= _SOME.get(table, {})
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)

    async with database.engine.begin() as connection:
        await connection.run_sync(before)
    await migrations.upgrade(database.engine)
    async with database.engine.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM batches"))).scalar_one() == 1
        await connection.execute(text("UPDATE mailings SET kind = 'automation'"))
    with pytest.raises(IntegrityError):
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE mailings SET kind = 'nonsense'"))


_SOME: dict[str, dict[str, object]] = {
    "projects": {"resubscribe": "allow"},
    "mailings": {"kind": "campaign", "purpose": "marketing", "status": "running", "policy": "hold"},
    "batches": {"status": "waiting"},
}


def _some(column: Any) -> object:
    """A value that the column takes."""
    kind = column["type"]
    for known, value in (
        (Uuid, UUID(int=1)),
        (Boolean, False),
        (Integer, 1),
        (DateTime, datetime(2026, 11, 1, tzinfo=UTC)),
        (JSON, "{}"),
    ):
        if isinstance(kind, known):
            return value
    return "starter"
