"""``/healthz`` and ``/readyz``: in good days and in bad ones."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from newsletter import migrations
from newsletter.api import health
from newsletter.kit import heartbeat
from newsletter.kit.db import db_in
from newsletter.kit.heartbeat import Heartbeat
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from tests.client import Client
from tests.conftest import SECRET_KEY
from workers import sweeper


@pytest.fixture
async def beating(runtime: Runtime) -> Runtime:
    """An installation whose sweeper was just seen."""
    async with runtime.db.unit_of_work() as session:
        await heartbeat.beat(session, sweeper.HEARTBEAT)
    return runtime


async def ready(client: Client, status: int) -> Any:
    response = await client.get("http://news.test/readyz", headers={"Authorization": ""})
    assert response.status_code == status, response.text
    return response.json()


async def test_a_healthy_installation_is_ready(client: Client, beating: Runtime) -> None:
    body = await ready(client, 200)
    everything = {"database": "ok", "schema": "ok", "broker": "ok", "sweeper": "ok"}
    assert body == {"status": "ready", "checks": everything}


async def test_a_balancer_may_ask_for_the_status_alone(client: Client, beating: Runtime) -> None:
    for path in ("healthz", "readyz"):
        assert (await client.head(f"http://news.test/{path}")).status_code == 200


async def test_without_a_worker_it_is_not_ready(client: Client) -> None:
    body = await ready(client, 503)
    assert body["status"] == "unavailable"
    assert body["checks"]["sweeper"] == "never seen: no worker has run on this database"


async def test_a_sweeper_that_stopped_is_noticed_after_half_a_minute(
    client: Client, beating: Runtime
) -> None:
    async with beating.db.unit_of_work() as session:
        await session.execute(update(Heartbeat).values(at=db_in(-29.0)))
    await ready(client, 200)
    async with beating.db.unit_of_work() as session:
        await session.execute(update(Heartbeat).values(at=db_in(-40.0)))
    assert "no worker runs" in (await ready(client, 503))["checks"]["sweeper"]


async def test_an_older_schema_is_not_ready(client: Client, beating: Runtime) -> None:
    async with beating.db.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    try:
        body = await ready(client, 503)
        assert "newsletter db upgrade" in body["checks"]["schema"]
    finally:
        # The distributed size has one database for all tests.
        async with beating.db.engine.begin() as connection:
            head = migrations.head()
            await connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})


async def test_a_database_that_is_away_is_named_without_its_address(
    client: Client, beating: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OSError("connect to postgresql://me:secret@db.example.com failed")

    monkeypatch.setattr(beating.db, "read", away)
    body = await ready(client, 503)
    assert body["checks"]["database"] == "away (OSError)"
    assert "secret" not in str(body)


async def test_without_the_broker_calls_are_still_taken(
    client: Client, beating: Runtime, tmp_path: Path
) -> None:
    """Nothing listens at that address; losing Redis costs delay, nothing else."""
    settings = Settings(
        data_dir=tmp_path, redis_url=f"unix://:secret@{tmp_path}/redis.sock", secret_key=SECRET_KEY
    )
    answer = await health.readyz.fn(beating.db, settings)
    assert answer.status_code == 200
    assert answer.content["status"] == "degraded"
    assert answer.content["checks"]["broker"].startswith("away (")
    assert "secret" not in str(answer.content)


async def test_the_process_is_healthy_whatever_is_away(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(type(runtime.db), "read")
    response = await client.get("http://news.test/healthz", headers={"Authorization": ""})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_the_probe_and_the_sweeper_mean_the_same_loop() -> None:
    assert health.SWEEPER == sweeper.HEARTBEAT
