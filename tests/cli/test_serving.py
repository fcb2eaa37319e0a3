"""``serve`` and ``worker`` as real processes: keys, signals, one process to a folder."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import httpx
import pytest

from newsletter.kit.db import Database
from newsletter.settings import Settings
from tests.cli.operator import Operator
from tests.cli.processes import Started, newsletter, started
from tests.client import Client
from tests.conftest import SIZE

ENDS_WITHIN = 10.0

only_embedded = pytest.mark.skipif(SIZE != "embedded", reason="several processes may work in this size")
only_distributed = pytest.mark.skipif(SIZE != "distributed", reason="'serve' works itself in this size")


def call(server: Started, key: str) -> int:
    return httpx.get(f"{server.url}/api/v1/lists", headers={"Authorization": f"Bearer {key}"}).status_code


def test_keys_made_and_revoked_while_the_service_runs_hold_at_once(
    tmp_path: Path, variables: dict[str, str], operator: Operator
) -> None:
    with started(tmp_path, "serve", "--port", "0", env=variables) as server:
        assert server.url
        account = operator.gets("accounts", "create", "--name", "A", "--email", "a@example.com")
        assert call(server, account["api_key"]) == 200
        made = operator.gets("keys", "create", "--project", account["project_id"], "--name", "k")
        assert call(server, made["api_key"]) == 200

        operator.types("keys", "revoke", made["key_id"])
        assert call(server, made["api_key"]) == 401
        assert call(server, account["api_key"]) == 200

        assert account["api_key"] not in server.output
        assert server.end(signal.SIGTERM, ENDS_WITHIN) == 0
        assert "Traceback" not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_within_ten_seconds_although_a_caller_never_finishes(
    tmp_path: Path, variables: dict[str, str], number: signal.Signals, client: Client
) -> None:
    with started(tmp_path, "serve", "--port", "0", env=variables) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            head = f"POST /api/v1/lists HTTP/1.1\r\nHost: x\r\nX-API-Key: {client.secret}\r\n"
            slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode())
            assert server.end(number, ENDS_WITHIN) == 0
        assert '"event": "workers stopped"' in server.output


def answer_to(server: Started, *parts: bytes) -> bytes:
    """Writes everything before it reads anything, as most clients do."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as caller:
        for part in parts:
            caller.sendall(part)
        return b"".join(iter(lambda: caller.recv(65536), b""))


def test_who_sends_too_much_or_too_slowly_gets_an_answer_all_the_same(
    tmp_path: Path, variables: dict[str, str], client: Client
) -> None:
    impatient = variables | {"NEWSLETTER_MAX_ARRIVAL_SECONDS": "1"}
    with started(tmp_path, "serve", "--port", "0", env=impatient) as server:
        head = b"POST /api/v1/lists HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        keyed = head + f"X-API-Key: {client.secret}\r\n".encode()
        much = [b" " * 100_000] * 100
        chunks = [b"186a0\r\n" + part + b"\r\n" for part in much] + [b"0\r\n\r\n"]
        closing = b"Connection: close\r\n"
        sized, chunked = b"Content-Length: 10000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"

        assert b" 413 " in answer_to(server, keyed + closing + sized, *much)[:20]
        assert b" 413 " in answer_to(server, keyed + closing + chunked, *chunks)[:20]
        assert b" 401 " in answer_to(server, head + closing + sized, *much)[:20]
        # Who waits for leave to send is not made to send.
        asking = answer_to(server, head + b"Expect: 100-continue\r\n" + closing + sized)
        assert asking.startswith(b"HTTP/1.1 401 ")
        late = answer_to(server, keyed + b"Content-Length: 99\r\n\r\n{")
        assert late.startswith(b"HTTP/1.1 400 ")
        assert b"malformed_json" in late
        unreadable = answer_to(
            server, b"GET /api/v1/lists HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x7fb\r\n\r\n"
        )
        assert unreadable.startswith(b"HTTP/1.1 400 ")
        assert json.loads(unreadable.partition(b"\r\n\r\n")[2])["error"]["code"] == "malformed_json"
        # The head of a request has its time, too; there is nothing to answer yet.
        assert answer_to(server, b"GET /api/v1/lists HTTP/1.1\r\nHost:") == b""
        assert answer_to(server) == b""


@only_distributed
def test_a_worker_of_its_own_ends_on_a_signal(tmp_path: Path, variables: dict[str, str]) -> None:
    with started(tmp_path, "worker", env=variables) as worker:
        worker.wait_for('"event": "workers started"')
        assert worker.end(signal.SIGTERM, ENDS_WITHIN) == 0


@only_distributed
async def test_nothing_starts_on_an_old_schema(tmp_path: Path, variables: dict[str, str]) -> None:
    db = Database(variables["NEWSLETTER_DATABASE_URL"])
    async with db.engine.begin() as connection:
        known = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one()
        await connection.exec_driver_sql("DELETE FROM alembic_version")
    try:
        for command in (("serve", "--no-worker", "--port", "0"), ("worker",)):
            run = await asyncio.to_thread(newsletter, tmp_path, *command, check=False, env=variables)
            assert run.returncode == 1
            assert "run 'newsletter db upgrade'" in run.stderr
    finally:
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{known}')")
        await db.close()


@only_embedded
@pytest.mark.parametrize("command", [("worker",), ("serve", "--no-worker")])
def test_processes_that_share_need_a_broker(tmp_path: Path, command: tuple[str, ...]) -> None:
    run = newsletter(tmp_path, *command, check=False)
    assert run.returncode == 1
    assert "NEWSLETTER_REDIS_URL" in run.stderr


@only_embedded
def test_a_second_process_stays_out_of_the_folder_until_the_first_is_gone(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    with started(tmp_path, "serve", "--port", "0", env=variables) as first:
        assert first.url
        second = newsletter(tmp_path, "serve", "--port", "0", check=False, env=variables)
        assert second.returncode == 1
        assert "Another process already works in the folder" in second.stderr
        assert "Traceback" not in second.stderr
        first.process.kill()
        first.process.wait()

    with started(tmp_path, "serve", "--port", "0", env=variables) as third:
        assert third.url
        assert third.end(signal.SIGTERM, ENDS_WITHIN) == 0


def test_a_port_that_is_taken_gets_a_sentence(tmp_path: Path, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = str(squatter.getsockname()[1])
        run = newsletter(tmp_path, "serve", "--port", port, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith(f"Error: Cannot listen on 127.0.0.1, port {port}: Address already in use.")
    assert "Traceback" not in run.stderr
