"""The private Postgres and Redis that other tests stand on."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.services import Postgres, Redis, Server, ServerFailed, require


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    require(Postgres)
    with Postgres() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[Redis]:
    require(Redis)
    with Redis() as server:
        yield server


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while _is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


async def test_databases_are_copied_from_a_template_and_dropped_under_a_client(postgres: Postgres) -> None:
    url = postgres.create_database("pattern")
    assert url == f"postgresql+asyncpg://postgres@127.0.0.1:{postgres.port}/pattern"
    postgres.sql("CREATE TABLE colour (name text); INSERT INTO colour VALUES ('É')", "pattern")
    postgres.create_database("copy", template="pattern")

    client = await asyncpg.connect(host="127.0.0.1", port=postgres.port, user="postgres", database="copy")
    assert await client.fetchval("SELECT lower(name) FROM colour") == "é"
    postgres.drop_database("copy")

    assert postgres.sql("SELECT datname FROM pg_database WHERE datname IN ('copy', 'pattern')") == "pattern"
    await client.close(timeout=5)


def test_a_durable_postgres_keeps_committed_rows_through_kill_and_immediate_stop(postgres: Postgres) -> None:
    port, first = postgres.port, postgres.pid
    assert postgres.sql("SHOW fsync") == "on"
    postgres.sql("CREATE TABLE kept (n int)")

    postgres.sql("INSERT INTO kept VALUES (1)")
    postgres.kill()
    assert not _is_alive(first)
    with pytest.raises(RuntimeError):
        postgres.sql("SELECT 1")

    postgres.start()
    postgres.sql("INSERT INTO kept VALUES (2)")
    postgres.stop("immediate")
    postgres.start()

    assert postgres.port == port
    assert postgres.sql("SELECT n FROM kept ORDER BY n") == "1\n2"
    assert "automatic recovery in progress" in postgres.log()


def test_a_fast_postgres_does_not_wait_for_the_disk() -> None:
    require(Postgres)
    with Postgres(fast=True) as server:
        switches = [
            server.sql(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")
        ]
        pid, directory = server.pid, server.directory
    assert switches == ["off", "off", "off"]
    assert not _is_alive(pid)
    assert not directory.exists()


def test_postgres_says_in_its_own_words_why_it_did_not_start() -> None:
    require(Postgres)
    server = Postgres(fast=True)
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        server.port = squatter.getsockname()[1]
        with pytest.raises(ServerFailed, match="in use"):
            server.start()
    server.close()


def test_a_killed_redis_comes_back_empty_on_the_same_port(redis: Redis) -> None:
    url = redis.url
    assert redis._say("SET colour red") == "+OK\r\n"

    redis.kill()
    assert not redis.is_running
    redis.start()

    assert redis.url == url
    assert redis._say("EXISTS colour") == ":0\r\n"


def test_flush_empties_redis(redis: Redis) -> None:
    redis._say("SET colour red")
    redis.flush()
    assert redis._say("DBSIZE") == ":0\r\n"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("service", [Postgres, Redis])
def test_a_server_ends_with_the_process_that_started_it(service: type[Server], end: int) -> None:
    require(service)
    code = (
        f"import time; from tests.services import {service.__name__} as S; s = S(); s.start();"
        "print(s.pid, s.directory, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdout is not None
        pid, directory = child.stdout.readline().split()
        assert _is_alive(int(pid))
        child.send_signal(end)

    _wait_until_gone(int(pid))
    deadline = time.monotonic() + 10
    while Path(directory).exists():
        assert time.monotonic() < deadline, f"{directory} is still there"
        time.sleep(0.05)


class Absent(Redis):
    name = "absent"
    package = "absent-server"

    @classmethod
    def available(cls) -> bool:
        return False


def test_a_missing_service_skips_on_a_desk_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install absent-server"):
        require(Absent)

    monkeypatch.setenv("CI", "true")
    with pytest.raises(ServerFailed, match="apt-get install absent-server"):
        require(Absent)
