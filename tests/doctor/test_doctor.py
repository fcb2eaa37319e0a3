"""What the doctor finds, and that its advice names what to change."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import text, update

from newsletter.doctor.examine import examine
from newsletter.doctor.finding import Finding, Level
from newsletter.domains import service as domains
from newsletter.domains.models import DomainStatus, SendingDomain, SigningMode
from newsletter.kit import heartbeat, jobs
from newsletter.kit.db import Database
from newsletter.providers.base import ServerDown
from newsletter.providers.registry import ServerType
from newsletter.routing import breaker
from newsletter.routing import service as routing
from newsletter.routing.schemas import ServerCreate
from newsletter.runtime import Runtime
from newsletter.settings import AISettings, Settings, SMTPSettings
from tests.conftest import SIZE, MakeProject
from tests.smtp_sink import Sink

KEY = "sk-this-is-a-secret"


async def findings(settings: Settings, name: str) -> list[Finding]:
    return [finding for finding in await examine(settings) if finding.name == name]


async def found(settings: Settings, name: str) -> Finding:
    [finding] = await findings(settings, name)
    return finding


class ModelServer(ThreadingHTTPServer):
    """Lists models as it is told to, and remembers which key it was shown."""

    daemon_threads = True

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Models)
        self.status, self.body = status, body
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Models(BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        self.send_response(self.server.status if self.path == "/v1/models" else 404)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def model_server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    status, body = request.param
    server = ModelServer(status, body)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


LISTED = json.dumps({"data": [{"id": "storyteller-1"}, {"id": "other"}]}).encode()


@pytest.mark.parametrize(
    ("model_server", "level", "says", "mend"),
    [
        ((200, LISTED), Level.ok, "storyteller-1 at http://127.0.0.1", ""),
        (
            (200, LISTED.replace(b"storyteller-1", b"poet-2")),
            Level.warning,
            "does not list 'storyteller-1'",
            "NEWSLETTER_AI_MODEL",
        ),
        ((404, b"no list here"), Level.ok, "answers but lists no models", ""),
        ((200, b"<html>"), Level.ok, "answers but lists no models", ""),
        ((401, KEY.encode()), Level.broken, "refuses the key", "OPENAI_API_KEY"),
        ((502, b""), Level.broken, "answers 502", "OPENAI_BASE_URL"),
    ],
    indirect=["model_server"],
)
async def test_a_model_is_asked_for_its_list(
    settings: Settings, model_server: ModelServer, level: Level, says: str, mend: str
) -> None:
    ai = AISettings(base_url=model_server.url, api_key=KEY, model="storyteller-1")
    finding = await found(settings.model_copy(update={"ai": ai}), "model")
    assert finding.level is level
    assert says in finding.text
    assert mend in finding.mend
    assert KEY not in finding.text + finding.mend
    assert model_server.keys == [f"Bearer {KEY}"]


async def test_a_model_that_is_away_is_broken_and_none_is_off(settings: Settings) -> None:
    ai = AISettings(base_url="http://127.0.0.1:1/v1")
    away = await found(settings.model_copy(update={"ai": ai}), "model")
    assert (away.level, away.mend) == (Level.broken, "Is the server running, and is OPENAI_BASE_URL right?")
    none = await found(settings.model_copy(update={"ai": AISettings()}), "model")
    assert none.level is Level.off
    assert "ai_not_configured" in none.text


def with_smtp(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"smtp": SMTPSettings(url=url)})


async def test_the_sending_server_is_signed_in_to_and_its_password_kept(settings: Settings) -> None:
    with Sink(users={"news": "hush-hush"}) as sink:
        good = await found(with_smtp(settings, sink.url), "sending server")
        assert good.level is Level.ok
        wrong = await found(with_smtp(settings, sink.url.replace("hush-hush", "hush-hash")), "sending server")
        assert wrong.level is Level.broken
        assert "NEWSLETTER_SMTP_URL" in wrong.mend
        assert not sink.received
    assert not any("hush" in part for finding in (good, wrong) for part in (finding.text, finding.mend))
    down = await found(with_smtp(settings, "smtp+plain://127.0.0.1:1"), "sending server")
    assert down.level is Level.broken


async def test_a_good_installation_has_nothing_broken(settings: Settings) -> None:
    levels = {finding.name: finding.level for finding in await examine(settings)}
    assert levels["database"] is Level.ok
    assert levels["clock"] is Level.ok
    assert levels["broker"] is Level.ok
    assert levels["secret key"] is Level.ok
    assert levels["templates"] is Level.ok
    assert Level.broken not in levels.values()


@pytest.mark.skipif(SIZE != "distributed", reason="SQLite has no such switches")
async def test_a_postgres_that_may_lose_commits_is_called_so(settings: Settings) -> None:
    switches = [finding.text.split()[0] for finding in await findings(settings, "durability")]
    assert switches == ["fsync", "synchronous_commit", "full_page_writes"]


@pytest.mark.skipif(SIZE != "distributed", reason="this size has no Redis")
async def test_a_redis_that_is_away_is_broken(settings: Settings) -> None:
    away = settings.model_copy(update={"broker_url": "redis://:hush@127.0.0.1:1/0"})
    finding = await found(away, "broker")
    assert finding.level is Level.broken
    assert "NEWSLETTER_BROKER_URL" in finding.mend
    assert "hush" not in finding.text
    assert (await found(away, "rate limits")).level is Level.ok


async def test_a_database_that_is_away_is_broken_and_the_rest_is_still_examined(settings: Settings) -> None:
    url = "postgresql+asyncpg://news:hush@127.0.0.1:1/x"
    away = settings.model_copy(update={"database_url": url})
    away.__dict__["is_sqlite"] = False
    finding = await found(away, "database")
    assert finding.level is Level.broken
    assert "hush" not in finding.text
    assert (await found(away, "templates")).level is Level.ok


async def test_a_database_at_an_unknown_revision_is_told(settings: Settings, db: Database) -> None:
    async with db.unit_of_work() as session:
        known = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
        await session.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    try:
        finding = await found(settings, "database")
    finally:
        async with db.unit_of_work() as session:
            await session.execute(text(f"UPDATE alembic_version SET version_num = '{known}'"))
    assert "at revision older" in finding.text
    assert finding.level is (Level.warning if SIZE == "embedded" else Level.broken)


async def test_workers_and_dead_jobs_are_told(settings: Settings, db: Database) -> None:
    assert (await found(settings, "workers")).text == "never seen; 0 jobs wait"
    async with db.unit_of_work() as session:
        await heartbeat.beat(session, "sweeper")
        await jobs.enqueue(session, "delivery.send_batch", {})
        await jobs.enqueue(session, "feedback.apply", {})
        await session.execute(text("UPDATE jobs SET status = 'dead' WHERE name = 'feedback.apply'"))

    seen = await found(settings, "workers")
    assert seen.level is Level.ok
    assert re.fullmatch(r"seen \d+ seconds ago; 1 jobs wait", seen.text)
    dead = await found(settings, "jobs")
    assert (dead.level, dead.text) == (Level.warning, "1 failed for good")


async def test_a_public_address_that_leads_nowhere_matters_once_there_is_a_live_project(
    settings: Settings, make_project: MakeProject
) -> None:
    local = settings.model_copy(update={"public_url": "http://127.0.0.1:8000"})
    await make_project(is_test=True)
    assert (await found(local, "public address")).level is Level.ok
    await make_project(is_test=False)
    finding = await found(local, "public address")
    assert finding.level is Level.warning
    assert "NEWSLETTER_PUBLIC_URL" in finding.mend


def own_key(settings: Settings) -> Settings:
    """The same installation with the key that it keeps itself."""
    return settings.model_copy(update={"secret_key": None})


async def test_a_lost_key_is_broken_as_soon_as_projects_need_it(
    settings: Settings, make_project: MakeProject
) -> None:
    assert (await found(own_key(settings), "secret key")).level is Level.ok
    await make_project()
    finding = await found(own_key(settings), "secret key")
    assert finding.level is Level.broken
    assert "backup" in finding.mend
    assert not (settings.data_dir / "secret_key").exists()


async def test_a_key_that_others_can_read_is_told(settings: Settings) -> None:
    path = settings.data_dir / "secret_key"
    path.write_text("k" * 64)
    path.chmod(0o644)
    finding = await found(own_key(settings), "secret key")
    assert (finding.level, finding.mend) == (Level.warning, f"chmod 600 {path}")
    path.chmod(0o600)
    assert (await found(own_key(settings), "secret key")).level is Level.ok


async def test_a_variable_that_means_nothing_is_named_with_its_neighbour(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEWSLETTER_SMPT_URL", "smtp://mail.example.com")
    monkeypatch.setenv("NEWSLETTER_AI_TIMEOUT", "60")
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / "my.env"))
    (tmp_path / "my.env").write_text("NEWSLETTER_PUBLIC_ULR=https://x.example.com\nNEWSLETTER_PORT=8001\n")

    stray = {f.text.split()[0]: f.mend for f in await findings(settings, "settings")}

    assert stray.pop("NEWSLETTER_SMPT_URL") == "Did you mean NEWSLETTER_SMTP_URL?"
    assert stray.pop("NEWSLETTER_PUBLIC_ULR") == "Did you mean NEWSLETTER_PUBLIC_URL?"
    assert set(stray) <= {"NEWSLETTER_TEST_SIZE"}


async def test_folders_of_the_operator_that_do_not_work_are_broken(
    settings: Settings, tmp_path: Path
) -> None:
    prompts, plans = tmp_path / "prompts", tmp_path / "plans.toml"
    (prompts / "newsletter").mkdir(parents=True)
    (prompts / "newsletter/task.toml").write_text("name = 1")
    plans.write_text("[free]\ncalls = 7\n")
    wrong = settings.model_copy(update={"prompts_dir": prompts, "plans_file": plans})
    for name, variable in (("prompts", "NEWSLETTER_PROMPTS_DIR"), ("plans", "NEWSLETTER_PLANS_FILE")):
        finding = await found(wrong, name)
        assert finding.level is Level.broken
        assert variable in finding.mend


async def test_domains_of_live_projects_that_are_not_verified_are_named(
    settings: Settings, db: Database, make_project: MakeProject
) -> None:
    strict = settings.model_copy(update={"require_verified_domain": True})
    runtime = Runtime(settings, lambda rings: None)
    assert await findings(settings, "domains") == []
    keys = domains.make_keys(SigningMode.relay)
    for name, is_test in (("live.example.com", False), ("tried.example.com", True)):
        project = await make_project(is_test=is_test)
        async with db.unit_of_work() as session:
            await domains.create(session, runtime.vault, project, name, keys, limit=5)
    told, refused = await found(settings, "domains"), await found(strict, "domains")
    assert told.level is Level.warning
    assert "not verified: live.example.com (pending);" in told.text
    assert "tried" not in told.text
    assert "is refused" in refused.text
    assert "/verify" in refused.mend
    async with db.unit_of_work() as session:
        await session.execute(update(SendingDomain).values(status=DomainStatus.verified))
    assert (await found(strict, "domains")).level is Level.ok


async def test_servers_of_projects_and_those_that_fail_are_named(
    settings: Settings, db: Database, make_project: MakeProject
) -> None:
    runtime = Runtime(settings, lambda rings: None)
    project = await make_project(is_test=False)
    config = {"host": "smtp.example.com", "username": "news", "password": "hush-hush"}
    new = ServerCreate(name="Relay", type=ServerType.smtp, config=config)
    async with db.unit_of_work() as session:
        server = await routing.create(session, runtime.vault, project, new, limit=5)
    assert await findings(settings, "failing server") == []
    async with db.unit_of_work() as session:
        await breaker.trip(session, server.id, (60,), ServerDown("535 refused"))
    listed, failing = await found(settings, "projects' servers"), await found(settings, "failing server")
    assert "1 of 1 active: 'Relay' (smtp, srv_" in listed.text
    assert failing.level is Level.warning
    assert "'Relay'" in failing.text
    assert "535 refused" in failing.text
    assert "/test" in failing.mend
    assert "hush" not in listed.text + failing.text
