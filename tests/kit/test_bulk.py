"""Many rows in one statement, the same as one by one."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from newsletter.accounts.project import Project
from newsletter.audience import service
from newsletter.audience.models import Consent, ConsentAction, Subscriber
from newsletter.audience.schemas import ListCreate
from newsletter.kit import bulk, ids
from newsletter.kit.db import Database

AT = datetime(2026, 11, 25, 9, 30, 1, 250_000, tzinfo=UTC)


def consent(project: Project, number: int) -> dict[str, Any]:
    return {
        "id": ids.uuid7(),
        "project_id": project.id,
        "list_id": None if number % 2 else ids.uuid7(),
        "subscriber_id": ids.uuid7(),
        "address_key": f"Zoë.{number}'\"\\{{}},@example.com",
        "action": ConsentAction.subscribed,
        "source": "api",
        "ip": None,
        "text": None if number % 3 else "I agree:\n{a,b} NULL “yes”",
        "key_id": None,
        "at": AT,
    }


async def shown(db: Database) -> list[tuple[Any, ...]]:
    async with db.read() as session:
        found = await session.execute(select(*Consent.__table__.columns).order_by(Consent.id))
        return [tuple(row) for row in found]


async def test_they_are_what_a_statement_per_row_would_write(db: Database, project: Project) -> None:
    rows = [consent(project, number) for number in range(20)]
    async with db.unit_of_work() as session:
        await bulk.insert_rows(session, Consent, rows)
    together = await shown(db)
    assert len(together) == 20

    async with db.unit_of_work() as session:
        for row in rows:
            await session.delete(await session.get_one(Consent, row["id"]))
    async with db.unit_of_work() as session:
        for row in rows:
            await session.execute(insert(Consent).values(row))

    assert await shown(db) == together


@pytest.mark.parametrize(
    "texts",
    [
        [""],
        [None],
        ["", None, ""],
        ["\x1f"],
        ["\x1e", None],
        ["a\x1fb", "c"],
        ["\x1e\x1e", ""],
        ["NULL", "null", "\\N"],
    ],
    ids=repr,
)
async def test_no_text_is_taken_for_what_stands_between_texts(
    db: Database, project: Project, texts: list[str | None]
) -> None:
    rows = [consent(project, 1) | {"text": text} for text in texts]
    async with db.unit_of_work() as session:
        await bulk.insert_rows(session, Consent, rows)
    async with db.read() as session:
        found = await session.scalars(select(Consent.text).order_by(Consent.id))
        assert list(found) == texts


async def test_a_second_writing_is_refused_or_passed_over_as_asked(db: Database, project: Project) -> None:
    rows = [consent(project, number) for number in range(3)]
    async with db.unit_of_work() as session:
        await bulk.insert_rows(session, Consent, rows[:2])
    with pytest.raises(IntegrityError):
        async with db.unit_of_work() as session:
            await bulk.insert_rows(session, Consent, rows)
    assert len(await shown(db)) == 2

    async with db.unit_of_work() as session:
        assert await bulk.insert_missing(session, Consent, rows) == {rows[2]["id"]}
        assert await bulk.insert_missing(session, Consent, rows) == set()

    assert len(await shown(db)) == 3


async def test_what_is_too_long_is_refused_and_never_cut(db: Database, project: Project) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite keeps no length")
    row = consent(project, 1) | {"source": "x" * 201}
    with pytest.raises(DBAPIError):
        async with db.unit_of_work() as session:
            await bulk.insert_rows(session, Consent, [row])


async def test_each_row_is_changed_to_its_own_values(db: Database, project: Project) -> None:
    async with db.unit_of_work() as session:
        made = await service.create_list(session, project, ListCreate(name="x"))
        rows = [
            {
                "id": ids.uuid7(),
                "project_id": project.id,
                "list_id": made.id,
                "email": f"u{number}@example.com",
                "address_key": f"u{number}@example.com",
                "tags": [],
                "custom_fields": {},
                "status": "active",
                "created_at": AT,
                "updated_at": AT,
            }
            for number in range(4)
        ]
        await bulk.insert_rows(session, Subscriber, rows)
        changes = [
            {"id": row["id"], "tags": ["a", f"{number}"], "custom_fields": {"n": number, "t": "é"}}
            for number, row in enumerate(rows[:3])
        ]
        await bulk.update_rows(session, Subscriber, changes)

    async with db.read() as session:
        found = list(await session.scalars(select(Subscriber).order_by(Subscriber.id)))
    assert [row.tags for row in found] == [["a", "0"], ["a", "1"], ["a", "2"], []]
    assert [row.custom_fields for row in found] == [*({"n": n, "t": "é"} for n in range(3)), {}]
    assert all(row.email.startswith("u") for row in found)


async def test_among_finds_those_that_are_named_and_no_others(db: Database, project: Project) -> None:
    rows = [consent(project, number) for number in range(5)]
    async with db.unit_of_work() as session:
        await bulk.insert_rows(session, Consent, rows)
        for named in ([], [rows[1], rows[3]], rows):
            chosen = select(Consent.id).where(bulk.among(session, Consent.id, [row["id"] for row in named]))
            assert set(await session.scalars(chosen)) == {row["id"] for row in named}
