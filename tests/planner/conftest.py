"""A database that tells what its statements read, and has statistics when a test says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from newsletter.settings import Settings
from tests.conftest import SECRET_KEY, SIZE, run_migrations
from tests.planner.world import Watched
from tests.services import Postgres

_BY_HAND = """
DO $$ DECLARE name regclass; BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', name);
    END LOOP;
END $$
"""


@pytest.fixture(autouse=True)
def _is_about_postgres() -> None:
    if SIZE != "distributed":
        pytest.skip("about the planner of PostgreSQL")


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
def watched(request: pytest.FixtureRequest, migrated: str) -> Iterator[Watched]:
    server: Postgres = request.getfixturevalue("postgres")
    name = f"plans_{request.param}"
    url = server.create_database(name)
    run_migrations(url)
    # Statistics come when the test says so.
    server.sql(_BY_HAND, name)
    for setting, value in (
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_buffers", "on"),
        ("auto_explain.log_format", "json"),
        ("plan_cache_mode", request.param),
    ):
        server.sql(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'")
    yield Watched(server, url, name)
    server.drop_database(name)


@pytest.fixture
def settings(watched: Watched, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        database_url=watched.url,
        secret_key=SecretStr(SECRET_KEY),
        public_url="http://news.test",
    )
