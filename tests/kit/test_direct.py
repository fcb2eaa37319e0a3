"""Statements that go straight to PostgreSQL."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from newsletter.kit.direct import Direct, looked_up
from newsletter.runtime import Runtime


@pytest.fixture(autouse=True)
def _has_a_straight_way(runtime: Runtime) -> None:
    if runtime.db.is_sqlite:
        pytest.skip("SQLite has the one way")


async def test_a_plan_made_while_a_table_was_empty_reads_the_row_that_is_asked_for(runtime: Runtime) -> None:
    """Without statistics all indexes cost the same, and the last one would be taken."""
    one = looked_up("readers", "address", "$1", columns="id", beside="project_id = $2 AND list_id = $3")
    async with runtime.db.unit_of_work() as session:
        for statement in (
            "CREATE TEMP TABLE readers (id uuid, project_id uuid, list_id uuid, address varchar(320))",
            "CREATE INDEX of_an_address ON readers (list_id, address)",
            "CREATE INDEX of_a_project ON readers (project_id, id)",
            "SET LOCAL enable_seqscan = off",
            "SET LOCAL plan_cache_mode = force_generic_plan",
            f"PREPARE one (text, uuid, uuid) AS {one}",
        ):
            await session.execute(text(statement))
        plan = "\n".join(await session.scalars(text("EXPLAIN EXECUTE one ('a@example.com', NULL, NULL)")))
        for statement in ("DEALLOCATE one", "DROP TABLE readers"):
            await session.execute(text(statement))
    assert "of_an_address" in plan
    assert "Sort" not in plan


async def test_what_is_set_for_statements_that_know_their_keys_holds_for_them_alone(runtime: Runtime) -> None:
    direct = runtime.db.direct
    assert direct is not None
    assert direct.keeps_settings
    for _ in range(2):  # The second time on the connection of the first.
        assert await direct.row_by_keys("SHOW enable_seqscan") == ("off",)
        assert await direct.row("SHOW enable_seqscan") == ("on",)
        async with direct.transaction("SELECT 1") as transaction:
            assert [tuple(row) for row in await transaction.rows("SHOW enable_seqscan")] == [("off",)]


async def test_a_pooler_in_between_keeps_no_settings(runtime: Runtime) -> None:
    url = runtime.db.engine.url.update_query_dict({"prepared_statement_cache_size": "0"})
    engine = create_async_engine(url)
    assert not Direct(engine).keeps_settings
    await engine.dispose()
