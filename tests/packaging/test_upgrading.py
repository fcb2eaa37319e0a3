"""Upgrading a database that has been in use: its rows come along, on both databases."""

import asyncio
import logging
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    Boolean,
    Connection,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Uuid,
    bindparam,
    event,
    func,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.exc import IntegrityError

from newsletter import migrations
from newsletter.accounts.audit.queries import AuditFilters, entries
from newsletter.accounts.project import Project
from newsletter.kit.db import Database
from tests.cli.operator import Operator
from tests.conftest import SECRET_KEY

ENTRIES = 2_500
"""Two full pages of the migration, and one that is not."""
PROJECTS = [Project(UUID(int=1), UUID(int=9), False), Project(UUID(int=2), UUID(int=9), False), None]
AT = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)


def up(connection: Connection, revision: str) -> None:
    command.upgrade(config_of(connection), revision)


def down(connection: Connection, revision: str) -> None:
    command.downgrade(config_of(connection), revision)


def config_of(connection: Connection) -> Config:
    settings = migrations.config()
    settings.attributes["connection"] = connection
    return settings


def note_as_before_chains(connection: Connection) -> None:
    up(connection, "20261128_health_scores")
    statement = text(
        "INSERT INTO audit_entries (id, project_id, key_id, action, subject, details, ip, created_at)"
        " VALUES (:id, :project_id, :key_id, :action, :subject, :details, :ip, :created_at)"
    ).bindparams(
        *(bindparam(name, type_=Uuid()) for name in ("id", "project_id", "key_id")),
        bindparam("details", type_=JSON()),
        bindparam("created_at", type_=DateTime(timezone=True)),
    )
    for number in range(ENTRIES):
        project = PROJECTS[number % len(PROJECTS)]
        entry = {
            "id": UUID(int=1000 + number),
            "project_id": project and project.id,
            "key_id": UUID(int=7) if number % 2 else None,
            "action": "webhook.secret_rotated",
            "subject": f"whe_{number}",
            "details": {"number": number, "name": "Zoë"},
            "ip": "192.0.2.1" if number % 2 else None,
            "created_at": AT + timedelta(seconds=number),
        }
        connection.execute(statement, entry)


async def test_an_audit_log_from_before_chains_is_read_signed_and_verified(
    empty: tuple[Database, Database], tmp_path: Path
) -> None:
    database, _ = empty
    async with database.engine.begin() as connection:
        await connection.run_sync(note_as_before_chains)
    reads: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        reads.extend(re.findall(r"FROM audit_entries_before", statement))

    event.listen(database.engine.sync_engine, "before_cursor_execute", count)
    await migrations.upgrade(database.engine)
    assert len(reads) == 4  # Three pages, and the end.

    url = database.engine.url.render_as_string(hide_password=False)
    operator = Operator(
        {
            "NEWSLETTER_DATABASE_URL": url,
            "NEWSLETTER_DATA_DIR": str(tmp_path),
            "NEWSLETTER_SECRET_KEY": SECRET_KEY,
        }
    )
    unsigned = await asyncio.to_thread(operator.types, "audit", "verify")
    assert unsigned.exit_code == 1
    signed = await asyncio.to_thread(operator.types, "audit", "sign")
    assert (signed.exit_code, signed.stdout.count("signed, which it was not before")) == (0, 3)
    verified = await asyncio.to_thread(operator.types, "audit", "verify")
    assert verified.exit_code == 0, verified.output
    assert verified.stdout.count("as it was written") == 3
    async with database.read() as session:
        for first, project in enumerate(PROJECTS[:2]):
            assert project is not None
            wanted = list(range(first, ENTRIES, len(PROJECTS)))
            acts = AuditFilters(action="webhook.secret_rotated")
            found = await entries(session, project, acts, before=None, limit=ENTRIES)
            assert [entry.details["number"] for entry in found] == wanted[::-1]
            assert [entry.seq for entry in found] == list(range(len(wanted), 0, -1))
            assert found[-1].created_at == AT + timedelta(seconds=first)


async def test_the_way_back_says_how_much_of_the_audit_log_it_drops(
    empty: tuple[Database, Database], caplog: pytest.LogCaptureFixture
) -> None:
    database, _ = empty
    async with database.engine.begin() as connection:
        await connection.run_sync(note_as_before_chains)
    await migrations.upgrade(database.engine)

    with caplog.at_level(logging.WARNING):
        async with database.engine.begin() as connection:
            await connection.run_sync(down, "20261128_health_scores")

    assert f"the audit log is dropped: {ENTRIES} entries of 3 chains" in caplog.text


def fill(connection: Connection, revision: str) -> dict[str, int]:
    """A row in each table of an early schema, all of one project; returns how many rows each has."""
    up(connection, revision)
    known = MetaData()
    known.reflect(connection)
    for each in known.sorted_tables:
        if is_kept(each.name):
            connection.execute(each.insert().values(row(connection, each)))
    return rows(connection)


def row(connection: Connection, filled: Table) -> dict[str, object]:
    """A value in each column that wants one: the first that its check allows, or one of its type."""
    allowed = {}
    for check in inspect(connection).get_check_constraints(filled.name):
        if found := re.search(r"\(*(\w+)\)*(?:::text)? (?:IN|=(?: ANY)?) [^']*'(\w+)'", check["sqltext"]):
            allowed[found[1]] = found[2]
    return {
        column.name: allowed.get(column.name, some(column.type))
        for column in filled.columns
        if not column.nullable
    }


def some(kind: Any) -> object:
    for known, value in (
        (Uuid, UUID(int=1)),
        (CHAR, UUID(int=1).hex),  # As SQLite has them.
        (Boolean, False),
        (Integer, 1),
        (Numeric, 1),
        (Float, 1.0),
        (DateTime, AT),
        (Date, date(2026, 11, 1)),
        (LargeBinary, b"1"),
        (JSON, {}),
        (ARRAY, []),
    ):
        if isinstance(kind, known):
            return value
    return "1"


def rows(connection: Connection) -> dict[str, int]:
    return {
        name: connection.execute(select(func.count()).select_from(table(name))).scalar_one()
        for name in inspect(connection).get_table_names()
        if is_kept(name)
    }


def is_kept(name: str) -> bool:
    """Parts of the event log are seen through the log."""
    return name != "alembic_version" and not re.fullmatch(migrations.EVENT_PARTS, name)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("revision", ["0001", "20261126_webhook_order", "20261128_automations"])
async def test_a_database_in_use_keeps_its_rows(empty: tuple[Database, Database], revision: str) -> None:
    database, _ = empty
    async with database.engine.begin() as connection:
        before = await connection.run_sync(fill, revision)
    assert set(before.values()) == {1}

    await migrations.upgrade(database.engine)

    async with database.engine.begin() as connection:
        after = await connection.run_sync(rows)
    assert {name: after.get(name) for name in before} == before
    assert await migrations.differences(database.engine) == []


async def test_a_mailing_on_its_way_keeps_its_batches(empty: tuple[Database, Database]) -> None:
    """SQLite makes its table anew, which the batches refer to, when automations come to have mailings."""
    database, _ = empty
    async with database.engine.begin() as connection:
        await connection.run_sync(fill, "20261127_tracking_hosts")
    await migrations.upgrade(database.engine)
    async with database.engine.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM batches"))).scalar_one() == 1
        await connection.execute(text("UPDATE mailings SET kind = 'automation'"))
    with pytest.raises(IntegrityError):
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE mailings SET kind = 'nonsense'"))
