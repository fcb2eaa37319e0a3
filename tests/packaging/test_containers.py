"""The promises of the container files, read from the files; no engine is needed."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from newsletter.settings import Settings

ROOT = Path(__file__).parents[2]
OURS = ["migrate", "api", "worker"]
VALUES = {"POSTGRES_PASSWORD": "secret", "NEWSLETTER_SECRET_KEY": "k" * 32}


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    return [(name, rest) for name, rest in lines]


def _final_stage() -> dict[str, str]:
    instructions = _instructions()
    last = max(at for at, (name, _) in enumerate(instructions) if name == "FROM")
    return dict(instructions[last:])


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def _filled_in(text: str, values: dict[str, str]) -> str:
    """Compose's ``${NAME:-default}`` and ``${NAME:?message}``; KeyError for a required one."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        return values[name] if operator == ":?" else values.get(name, rest)

    return re.sub(r"\$\{(\w+)(:[?-])([^}]*)\}", value, text)


def test_the_image_runs_as_a_numeric_user_who_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", _final_stage()["USER"])


def test_the_image_holds_no_secret_and_installs_by_hash() -> None:
    instructions = _instructions()
    assert not any(name == "ARG" for name, _ in instructions)
    settings = " ".join(rest for name, rest in instructions if name == "ENV")
    assert not re.search(r"KEY|SECRET|PASSWORD|TOKEN", settings)
    installs = [rest for name, rest in instructions if name == "RUN" and "pip install" in rest]
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps --no-build-isolation" in install


def test_the_image_serves_on_all_addresses_and_asks_itself_for_its_health() -> None:
    stage = _final_stage()
    assert stage["ENTRYPOINT"] == '["newsletter"]'
    assert stage["CMD"].startswith('["serve", "--host", "0.0.0.0"')
    assert "/healthz" in stage["HEALTHCHECK"]
    assert stage["VOLUME"] == "/data"


def test_every_service_is_locked_down(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"postgres", "redis", *OURS}
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name
        assert "privileged" not in service, name


def test_nothing_but_the_api_is_reachable_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert list(published) == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in published["api"])


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("postgres", "redis"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    for name in ("api", "worker"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["redis"]["command"] == ["redis-server", "--appendonly", "yes"]


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_service_are_known_and_make_the_distributed_size(
    compose: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = compose["services"][name]["environment"]
    documented = (ROOT / "docs/settings.md").read_text()
    for variable, text in environment.items():
        assert f"`{variable}`" in documented
        monkeypatch.setenv(variable, _filled_in(text, VALUES))

    settings = Settings()

    assert settings.is_distributed
    assert settings.database_url == "postgresql+asyncpg://newsletter:secret@postgres:5432/newsletter"
    assert settings.public_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("missing", sorted(VALUES))
def test_a_forgotten_secret_stops_compose(compose: dict[str, Any], missing: str) -> None:
    values = {name: value for name, value in VALUES.items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        _filled_in(str(compose["services"]["api"]["environment"]), values)


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(compose: dict[str, Any], name: str) -> None:
    command: click.Command = pytest.importorskip("newsletter.cli").main
    words = list(compose["services"][name]["command"])
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None
        command = found
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
