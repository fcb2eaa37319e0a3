"""Who must never be mailed, at four levels."""

from uuid import UUID

import pytest
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import queries as audience
from newsletter.kit import ids
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.suppressions import queries, service
from newsletter.suppressions.models import Reason
from tests.client import Client
from tests.conftest import MakeProject

DOMAIN = "news.example.com"
LIST = UUID(int=1)
PEOPLE = [f"{name}@example.com" for name in ("free", "global", "domain", "project", "list")]


async def suppress(
    db: Database, project: Project, scope: str, key: str, reason: Reason = Reason.manual
) -> set[str]:
    async with db.unit_of_work() as session:
        return await service.suppress(
            session, project_id=project.id, scope=scope, address_keys=[key], reason=reason, source="test"
        )


@pytest.fixture
async def list_id(client: Client) -> UUID:
    public = (await client.data("POST", "/lists", 201, json={"name": "x"}))["id"]
    body = {"list_id": public, "subscribers": [{"email": email} for email in PEOPLE]}
    await client.data("POST", "/subscribers/batch", json=body)
    return ids.private("lst", public)


@pytest.fixture
async def four_levels(db: Database, project: Project, list_id: UUID) -> None:
    for scope, email in (
        (queries.GLOBAL_SCOPE, PEOPLE[1]),
        (queries.domain_scope(project.id, "NEWS.example.com"), PEOPLE[2]),
        (queries.project_scope(project.id), PEOPLE[3]),
        (queries.list_scope(list_id), PEOPLE[4]),
    ):
        await suppress(db, project, scope, email)


async def suppressed_among(
    session: AsyncSession, project_id: UUID, list_id: UUID | None, domain: str
) -> set[str]:
    found = set()
    for email in PEOPLE:
        is_suppressed = queries.is_suppressed(literal(email), project_id, list_id, domain)
        if (await session.execute(select(is_suppressed))).scalar_one():
            found.add(email)
    return found


@pytest.mark.usefixtures("four_levels")
async def test_every_level_holds_where_it_applies(db: Database, project: Project, list_id: UUID) -> None:
    everyone = set(PEOPLE)

    async def among(list_id: UUID | None, domain: str) -> set[str]:
        async with db.read() as session:
            found = await suppressed_among(session, project.id, list_id, domain)
            chosen = queries.without(audience.recipients(project, real), project.id, list_id, domain)
            left = {row.address_key for row in await session.execute(chosen)}
        assert left == everyone - found
        return {email.partition("@")[0] for email in found}

    real = list_id
    assert await among(list_id, DOMAIN) == {"global", "domain", "project", "list"}
    assert await among(None, DOMAIN) == {"global", "domain", "project"}
    assert await among(list_id, "other.example.com") == {"global", "project", "list"}
    assert await among(ids.uuid7(), DOMAIN) == {"global", "domain", "project"}


@pytest.mark.usefixtures("four_levels")
async def test_another_project_is_not_held_by_ours(
    db: Database, make_project: MakeProject, list_id: UUID
) -> None:
    other = await make_project()
    async with db.read() as session:
        found = await suppressed_among(session, other.id, None, DOMAIN)
    assert found == {"global@example.com"}


async def test_a_suppression_is_added_once_and_only_grows_stronger(
    db: Database, project: Project, vault: Vault
) -> None:
    scope, key = queries.project_scope(project.id), "a@example.com"

    async def reason() -> Reason:
        async with db.read() as session:
            return (await queries.against_joining(session, vault, project.id, LIST, [key])).everywhere[key]

    assert await suppress(db, project, scope, key, Reason.hard_bounce) == {key}
    assert await suppress(db, project, scope, key, Reason.hard_bounce) == set()
    assert await suppress(db, project, scope, key, Reason.complaint) == set()
    assert await reason() is Reason.complaint
    await suppress(db, project, scope, key, Reason.hard_bounce)
    assert await reason() is Reason.complaint
    async with db.unit_of_work() as session:
        await service.lift(
            session, project_id=project.id, scope=scope, address_keys=[key], reasons=[Reason.hard_bounce]
        )
    assert await reason() is Reason.complaint


async def test_a_tombstone_is_known_after_the_secret_key_changed(db: Database, project: Project) -> None:
    old, new = Vault(["o" * 32]), Vault(["n" * 32, "o" * 32])
    [stone] = queries.tombstones(old, project.id, "a@example.com")
    assert stone.startswith("#")
    assert "@" not in stone
    assert stone not in queries.tombstones(old, ids.uuid7(), "a@example.com")
    await suppress(db, project, queries.project_scope(project.id), stone, Reason.erased)
    async with db.read() as session:
        found = await queries.against_joining(
            session, new, project.id, LIST, ["a@example.com", "b@example.com"]
        )
    assert found.everywhere == {"a@example.com": Reason.erased}


async def test_merge_data_and_who_left_are_read_by_the_block(
    db: Database, project: Project, client: Client, list_id: UUID
) -> None:
    rows = await client.data("GET", "/subscribers")
    await client.delete(f"/subscribers/{PEOPLE[1]}")
    known = {row["email"]: ids.private("sub", row["id"]) for row in rows}
    stranger = ids.uuid7()
    async with db.read() as session:
        people = await audience.merge_data(session, project.id, [*known.values(), stranger])
        active = {
            one
            for one in (*known.values(), stranger)
            if (await session.execute(select(audience.is_active(literal(one))))).scalar_one()
        }
        foreign = await audience.merge_data(session, ids.uuid7(), list(known.values()))
    assert set(people) == set(known.values())
    assert {row.email for row in people.values() if row.is_active} == set(PEOPLE) - {PEOPLE[1]}
    assert active == set(known.values()) - {known[PEOPLE[1]]}
    assert foreign == {}


@pytest.fixture
def vault() -> Vault:
    return Vault(["x" * 32])
