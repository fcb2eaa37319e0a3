"""Statements that go straight to PostgreSQL."""

import pytest
from sqlalchemy import text

from newsletter.kit.direct import looked_up
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
