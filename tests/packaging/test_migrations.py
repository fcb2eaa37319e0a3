"""The migrations make exactly the schema that the models describe, on both databases."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

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
