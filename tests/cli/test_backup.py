"""The backup of docs/operating.md, made while the service runs, and what comes up from it elsewhere."""

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.kit.db import Database, db_now
from newsletter.kit.jobs import Job, JobStatus
from tests.cli.operator import Operator
from tests.cli.processes import started
from tests.conftest import SIZE
from tests.services import Postgres
from tests.smtp_sink import Sink

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
LOGIN = {"username": "news", "password": "a-password-that-is-encrypted"}
READERS = [f"reader{number}@example.com" for number in range(5)]


def told(start: str) -> list[str]:
    """The command of the page that begins so, taken apart as a shell does."""
    (line,) = [line.strip() for line in PAGE.splitlines() if line.strip().startswith(start)]
    return shlex.split(line)


def types(command: list[str], folder: Path, known: dict[str, str]) -> None:
    """Runs a command of the page in a folder, with what the page has names for in their places."""
    spelled = [re.sub("|".join(map(re.escape, known)), lambda it: known[it[0]], word) for word in command]
    ran = subprocess.run(spelled, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr


class Place:
    """Where an installation lives: a folder, and in the distributed size a database."""

    def __init__(self, folder: Path, variables: dict[str, str], postgres: Postgres | None, name: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.variables = variables | {
            "NEWSLETTER_DATA_DIR": str(self.data),
            "NEWSLETTER_ROUTING_ALLOWED_RANGES": '["127.0.0.0/8"]',
        }
        if postgres is None:
            # The embedded size has both in its data folder.
            self.url = f"sqlite+aiosqlite:///{self.data / 'newsletter.db'}"
            del self.variables["NEWSLETTER_DATABASE_URL"], self.variables["NEWSLETTER_SECRET_KEY"]
        else:
            postgres.drop_database(name)
            self.url = postgres.create_database(name)
            self.variables["NEWSLETTER_DATABASE_URL"] = self.url
        self.operator = Operator(self.variables | {"NEWSLETTER_LOG_LEVEL": "warning"})

    async def let_all_be_due(self) -> None:
        """What was scheduled has its moment now."""
        db = Database(self.url)
        async with db.unit_of_work() as session:
            scheduled = Campaign.status == CampaignStatus.scheduled
            await session.execute(update(Campaign).where(scheduled).values(scheduled_at=db_now()))
            await session.execute(update(Job).where(Job.status == JobStatus.queued).values(run_at=db_now()))
        await db.close()


@pytest.fixture
def postgres_or_not(request: pytest.FixtureRequest) -> Postgres | None:
    found: Postgres | None = request.getfixturevalue("postgres") if SIZE == "distributed" else None
    return found


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def fill(http: httpx.Client, sink: Sink) -> dict[str, Any]:
    """A campaign that was sent, one that is scheduled, a suppression, a server with a password."""

    def post(path: str, **body: Any) -> Any:
        answer = http.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()["data"]

    config = {"host": "127.0.0.1", "port": sink.port, "tls": "none", **LOGIN}
    server = post("/sending-servers", name="Relay", type="smtp", config=config)
    listed = post("/lists", name="Readers")
    for reader in READERS:
        post("/subscribers", list_id=listed["id"], email=reader)
    post("/suppressions", email=READERS[0])
    body = {"list_id": listed["id"], "html": "<p>Hello</p>"}
    sent = post("/campaigns", **body, subject="First")
    post(f"/campaigns/{sent['id']}/launch")
    wait_for(lambda: http.get(f"/campaigns/{sent['id']}").json()["data"]["status"] == "sent")
    later = post("/campaigns", **body, subject="Second", scheduled_at="2099-07-01T09:00:00Z")
    return {"server": server["id"], "list": listed["id"], "sent": sent["id"], "later": later["id"]}


def subjects(sink: Sink) -> list[tuple[str, str]]:
    return sorted((str(one.parsed["Subject"]), one.recipient) for one in sink.received)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_backup_of_a_running_service_comes_up_elsewhere_and_goes_on_once(
    tmp_path: Path, variables: dict[str, str], postgres_or_not: Postgres | None
) -> None:
    server = postgres_or_not
    old = Place(tmp_path / "old", variables, server, "drill_old")
    operator = old.operator
    assert operator.types("db", "upgrade").exit_code == 0
    words = ("--email", "news@example.com", "--plan", "enterprise", "--postal-address", "A, 1 Main Street")
    account = operator.gets("accounts", "create", "--name", "A", *words)
    headers = {"Authorization": f"Bearer {account['api_key']}"}
    with Sink(users={LOGIN["username"]: LOGIN["password"]}) as sink:
        with started(old.folder, "serve", "--port", "0", env=old.variables) as service:
            with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=60) as http:
                made = fill(http, sink)
                first = [("First", reader) for reader in READERS[1:]]
                assert subjects(sink) == first

                new = back_up_and_restore(old, tmp_path, variables, server)
            service.process.kill()

        assert new.operator.types("db", "upgrade").exit_code == 0
        doctor = new.operator.types("doctor", "--json")
        assert doctor.exit_code == 0, doctor.output
        verified = new.operator.types("audit", "verify")
        assert (verified.exit_code, "as it was written" in verified.stdout) == (0, True), verified.output

        with started(new.folder, "serve", "--port", "0", env=new.variables) as service:
            with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=60) as http:

                def read(path: str) -> Any:
                    answer = http.get(path)
                    assert answer.status_code == 200, answer.text
                    return answer.json()["data"]

                assert read(f"/campaigns/{made['sent']}")["emails_sent"] == len(READERS) - 1
                assert len(read(f"/subscribers?list_id={made['list']}")) == len(READERS)
                assert [each["email"] for each in read("/suppressions")] == READERS[:1]
                assert read(f"/sending-servers/{made['server']}")["secrets"]["password"] == "set"
                assert read(f"/campaigns/{made['later']}")["status"] == "scheduled"
                asyncio.run(new.let_all_be_due())
                wait_for(lambda: read(f"/campaigns/{made['later']}")["status"] == "sent")
                # The server takes nobody without the password.
                assert subjects(sink) == first + [("Second", reader) for reader in READERS[1:]]
            assert service.end(15, 20) == 0
        assert new.operator.types("audit", "verify").exit_code == 0
        assert len(subjects(sink)) == 2 * (len(READERS) - 1)


def back_up_and_restore(
    old: Place, tmp_path: Path, variables: dict[str, str], server: Postgres | None
) -> Place:
    new = Place(tmp_path / "new", variables, server, "drill_new")
    if server is None:
        types(told(".venv/bin/python -c"), old.folder, {".venv/bin/python": sys.executable})
        shutil.copy(old.folder / "backup.db", new.data / "newsletter.db")
        shutil.copy(old.data / "secret_key", new.data / "secret_key")
    else:
        for start, folder, place in (("pg_dump", old, old), ("pg_restore", old, new)):
            command = told(start)
            known = {
                "postgresql://newsletter:password@db.example.com/newsletter": place.url.replace(
                    "+asyncpg", ""
                ),
                start: server.binary(start),
            }
            types(command, folder.folder, known)
    return new
