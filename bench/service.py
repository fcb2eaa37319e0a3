"""Starts what is measured: the service in either size, a sink, and the bare references."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.services import Postgres, Redis

# Calls without a key count against the plan "free", which every catalogue must have.
PLAN = """
[free]
calls = { default = 100000000, campaigns = 100000000, sends = 100000000, batches = 100000000 }
generations = 0
has_raw_events = true

[bench]
calls = { default = 100000000, campaigns = 100000000, sends = 100000000, batches = 100000000 }
generations = 0
has_raw_events = true
"""
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, a key for a live project of it, and the first process that sends."""

    url: str
    key: str
    sender_pid: int
    database_url: str
    """Empty for the file of the embedded size."""
    secret_key: str

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=120)


@contextmanager
def process(
    arguments: list[str], environment: dict[str, str], folder: Path
) -> Iterator[subprocess.Popen[str]]:
    """A child of this process, ended by its id."""
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def sink(folder: Path) -> Iterator[int]:
    """The port of a fresh sink."""
    with process(["bench.sink"], dict(os.environ), folder) as child:
        assert child.stdout is not None
        yield int(child.stdout.readline())


@contextmanager
def bare(folder: Path) -> Iterator[str]:
    """A Litestar application with one route that only answers, on the same server."""
    port = free_port()
    with process(["bench.bare", str(port)], dict(os.environ), folder):
        url = f"http://127.0.0.1:{port}"
        wait_until_up(f"{url}/bare")
        yield url


@contextmanager
def service(folder: Path, *smtp_ports: int, distributed: bool, workers: int = 1) -> Iterator[Service]:
    """The service on SQLite in one process, or on Postgres and Redis with so many workers.

    Of several ports, each worker sends to one.
    """
    with ExitStack() as stack:
        plans = folder / "plans.toml"
        plans.write_text(PLAN, encoding="utf-8")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("NEWSLETTER_")
        }
        environment |= {
            "NEWSLETTER_DATA_DIR": str(folder),
            "NEWSLETTER_PLANS_FILE": str(plans),
            "NEWSLETTER_SMTP_URL": smtp_url(smtp_ports[0]),
            "NEWSLETTER_SECRET_KEY": "a-key-for-benchmarks-only-0123456789",
            "NEWSLETTER_LOG_LEVEL": "warning",
        }
        if distributed:
            postgres = stack.enter_context(Postgres())
            environment["NEWSLETTER_DATABASE_URL"] = postgres.create_database("bench")
            environment["NEWSLETTER_REDIS_URL"] = stack.enter_context(Redis()).url
        run(["newsletter", "db", "upgrade"], environment)
        made = json.loads(
            run(
                [
                    *("newsletter", "accounts", "create", "--json", "--plan", "bench", "--name", "Bench"),
                    *("--email", "news@example.com", "--postal-address", "1 Main Street"),
                ],
                environment,
            )
        )
        port = free_port()
        arguments = ["newsletter", "serve", "--port", str(port), *(["--no-worker"] if distributed else [])]
        senders = [stack.enter_context(process(arguments, environment, folder))]
        if distributed:
            api = senders.pop()
            for number in range(workers):
                own = environment | {"NEWSLETTER_SMTP_URL": smtp_url(smtp_ports[number % len(smtp_ports)])}
                senders.append(stack.enter_context(process(["newsletter", "worker"], own, folder)))
            senders = senders or [api]
        url = f"http://127.0.0.1:{port}"
        wait_until_up(f"{url}/healthz")
        database_url = environment.get("NEWSLETTER_DATABASE_URL", "")
        secret_key = environment["NEWSLETTER_SECRET_KEY"]
        yield Service(url, made["api_key"], senders[0].pid, database_url, secret_key)


def smtp_url(port: int) -> str:
    return f"smtp+plain://127.0.0.1:{port}"


def fill_list(client: httpx.Client, count: int) -> str:
    """A list of ``count`` subscribers, through the batch endpoint."""
    list_id: str = answer(client.post("/lists", json={"name": "Bench"}))["id"]
    for start in range(0, count, 1000):
        rows = [
            {"email": f"reader{number}@example.com", "first_name": f"Reader {number}"}
            for number in range(start, min(start + 1000, count))
        ]
        answer(client.post("/subscribers/batch", json={"list_id": list_id, "subscribers": rows}))
    return list_id


def answer(response: httpx.Response) -> dict[str, Any]:
    response.raise_for_status()
    data: dict[str, Any] = response.json()["data"]
    return data


def run(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_open(port: int) -> None:
    """Raises `TimeoutError` when nobody listens within `START_SECONDS`."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(port)


def wait_until_up(url: str) -> None:
    """Raises `TimeoutError` when nothing answers within `START_SECONDS`."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        try:
            httpx.get(url, timeout=1)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)
