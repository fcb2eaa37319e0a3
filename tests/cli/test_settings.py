"""Settings come from the environment or a file, and a wrong one is named with what it should be."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from newsletter.cli import main
from tests.cli.processes import newsletter

CREATE = ("accounts", "create", "--name", "Acme", "--email", "news@example.com", "--json")


@pytest.mark.parametrize(
    ("name", "value", "should_be"),
    [
        ("NEWSLETTER_AI_TIMEOUT", "fast", "must be a number"),
        ("NEWSLETTER_AI_MAX_CALLS", "0", "at least 1"),
        ("NEWSLETTER_SMTP_URL", "mail.example.com", "must look like smtp://user:password@host:587"),
        ("NEWSLETTER_DATABASE_URL", "mysql://db/x", "must begin with postgresql:// or sqlite:///"),
        ("NEWSLETTER_REDIS_URL", "localhost:6379", "must begin with redis://"),
        ("NEWSLETTER_PUBLIC_URL", "news.example.com", "must look like https://news.example.com"),
        ("NEWSLETTER_PUBLIC_URL", "https://münchen.example", "a domain of another script as xn--"),
        ("NEWSLETTER_TRACKING_URL", "https://user@news.example.com", "no user name"),
        ("NEWSLETTER_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("NEWSLETTER_WEBHOOK_ALLOWED_RANGES", '["10.1.0.0/33"]', "must be a network such as 10.1.0.0/16"),
        ("NEWSLETTER_SECRET_KEY", "too-short", "at least 32 characters"),
        ("NEWSLETTER_WEBHOOK_RETRY_SECONDS", "5,300", "must be written as JSON, for example [5, 300, 1800"),
        ("NEWSLETTER_ROUTING_ALLOWED_RANGES", "10.1.0.0/16", "must be written as JSON"),
        ("NEWSLETTER_PROVIDER_ENDPOINTS", "{", "must be written as JSON"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_should_be(name: str, value: str, should_be: str) -> None:
    run = CliRunner().invoke(main, ["db", "upgrade"], env={name: value})

    assert run.exit_code == 1
    line = next(line for line in run.output.splitlines() if name in line)
    assert should_be in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEWSLETTER_SECRET_KEY", "too-short"),
        ("NEWSLETTER_SMTP_URL", "smpt://user:too-short@mail.example.com"),
        ("NEWSLETTER_DATABASE_URL", "mysql://user:too-short@db.example.com"),
    ],
)
def test_a_wrong_secret_is_not_shown(name: str, value: str) -> None:
    run = CliRunner().invoke(main, ["db", "upgrade"], env={name: value})
    assert name in run.output
    assert "too-short" not in run.output


def test_several_wrong_settings_are_named_at_once() -> None:
    env = {"NEWSLETTER_DATABASE_POOL": "1", "NEWSLETTER_LOG_FORMAT": "xml"}
    run = CliRunner().invoke(main, ["db", "upgrade"], env=env)
    assert {"NEWSLETTER_DATABASE_POOL", "NEWSLETTER_LOG_FORMAT"} <= set(run.output.replace(":", "").split())


@pytest.mark.parametrize("command", [["serve"], ["worker"], ["db", "upgrade"]])
def test_several_processes_do_not_start_without_a_shared_secret_key(command: list[str]) -> None:
    env = {"NEWSLETTER_REDIS_URL": "redis://127.0.0.1:1", "NEWSLETTER_SECRET_KEY": ""}
    run = CliRunner().invoke(main, command, env=env)
    assert run.exit_code == 1
    assert "SECRET_KEY is missing" in run.output
    assert "openssl rand -hex 32" in run.output


def test_a_generated_key_is_kept_for_its_owner_alone_and_used_again(tmp_path: Path) -> None:
    newsletter(tmp_path, *CREATE)
    path = tmp_path / "data/secret_key"
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first) >= 64

    newsletter(tmp_path, *CREATE)

    assert path.read_text() == first


def test_a_file_named_env_in_the_working_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NEWSLETTER_DATA_DIR=from-the-file\n")
    newsletter(tmp_path, *CREATE)
    assert (tmp_path / "from-the-file/newsletter.db").exists()


def test_a_named_file_is_read_in_its_place_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NEWSLETTER_AI_TIMEOUT=nonsense\n")
    named = tmp_path / "production.env"
    named.write_text("NEWSLETTER_DATA_DIR=from-the-file\n")

    newsletter(
        tmp_path,
        *CREATE,
        env={"NEWSLETTER_ENV_FILE": str(named), "NEWSLETTER_DATA_DIR": "from-the-environment"},
    )

    assert (tmp_path / "from-the-environment/newsletter.db").exists()
    assert not (tmp_path / "from-the-file").exists()


def test_a_wrong_line_of_the_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "wrong.env").write_text("NEWSLETTER_SMTP_CONNECTIONS=many\n")
    run = newsletter(tmp_path, "db", "upgrade", check=False, env={"NEWSLETTER_ENV_FILE": "wrong.env"})
    assert run.returncode == 1
    assert "NEWSLETTER_SMTP_CONNECTIONS: must be a whole number" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_named_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    run = newsletter(tmp_path, "db", "upgrade", check=False, env={"NEWSLETTER_ENV_FILE": "absent.env"})
    assert run.returncode == 1
    assert run.stderr.strip() == "Error: NEWSLETTER_ENV_FILE: there is no file absent.env"


def test_a_command_prints_json_and_nothing_else_on_standard_output(tmp_path: Path) -> None:
    run = newsletter(tmp_path, *CREATE)
    made = json.loads(run.stdout)
    assert list(made) == ["account_id", "project_id", "api_key"]
    assert made["account_id"].startswith("acc_")
    assert made["project_id"].startswith("prj_")
    assert made["api_key"].startswith("nl_live_")
    assert made["api_key"] not in run.stderr


def test_values_of_a_run_outlast_the_mails_that_show_them() -> None:
    env = {"NEWSLETTER_RETENTION_RUN_DAYS": "1", "NEWSLETTER_DELIVERY_CAMPAIGN_HOURS": "24"}
    run = CliRunner().invoke(main, ["db", "upgrade"], env=env)
    assert run.exit_code == 1
    assert "RETENTION_RUN_DAYS must be longer than DELIVERY_CAMPAIGN_HOURS" in run.output
