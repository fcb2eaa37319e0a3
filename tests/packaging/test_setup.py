"""`make` and the script behind `make setup`: what a stranger's machine runs first."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Interpreters that lack something: they change themselves, then run what the script asks.
TOO_OLD = "import sys; sys.version_info = (3, 9, 2, 'final', 0)"
NO_VENV = "import sys; sys.modules['ensurepip'] = None"


def _fake_python(folder: Path, change: str) -> Path:
    path = folder / "bin" / "python3"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{change}; exec(sys.argv[1])" "$2"\n')
    path.chmod(0o755)
    return path


def _set_up(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"} | variables
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts/venv.sh"), str(folder / "venv"), "requirements.lock"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (TOO_OLD, "is Python 3.9, but 3.11 or later is needed"),
        (NO_VENV, "has no venv module; install it (Debian: apt-get install python3-venv)"),
    ],
)
def test_an_unfit_python_gets_one_line_that_says_what_to_install(
    tmp_path: Path, change: str, advice: str
) -> None:
    _fake_python(tmp_path, change)

    run = _set_up(tmp_path)

    assert run.returncode == 1
    assert advice in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert run.stdout == ""
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_named_with_what_to_install(tmp_path: Path) -> None:
    run = _set_up(tmp_path, PYTHON="python-that-is-not-there")

    assert run.returncode == 1
    assert "'python-that-is-not-there' was not found; install Python 3.11" in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose setup only notes what it was asked for."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        (tmp_path / name).touch()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/venv.sh").write_text('mkdir -p "$1"; echo "$PYTHON $2" >> calls\n')
    return tmp_path


def _make(folder: Path, *arguments: str) -> str:
    if shutil.which("make") is None:
        pytest.skip("make is not installed; on Debian: apt-get install make")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    run = subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return run.stdout


def _calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_setup_runs_once_and_again_when_the_lock_changes(checkout: Path) -> None:
    _make(checkout, "setup", "PYTHON=python3.12")
    _make(checkout, "setup")
    assert _calls(checkout) == ["python3.12 requirements.lock"]

    later = (checkout / ".venv/.setup").stat().st_mtime + 5
    os.utime(checkout / "requirements.lock", (later, later))
    _make(checkout, "setup")
    assert _calls(checkout) == ["python3.12 requirements.lock", "python3 requirements.lock"]


def test_setup_has_nothing_to_add_to_setup_dev(checkout: Path) -> None:
    _make(checkout, "setup-dev")
    _make(checkout, "setup-dev")
    _make(checkout, "setup")
    assert _calls(checkout) == ["python3 requirements-dev.lock"]


def test_make_alone_lists_every_chore() -> None:
    phony = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    listed = set(re.findall(r"^  make (\S+) +\S", _make(ROOT), re.MULTILINE))
    assert listed == phony
    assert {"setup", "demo", "test", "check", "fmt", "lock", "clean"} <= listed


@pytest.mark.parametrize(("arguments", "command"), [((), "demo"), (("ONCE=1",), "demo --once")])
def test_demo_sets_up_and_starts_the_demo(checkout: Path, arguments: tuple[str, ...], command: str) -> None:
    output = _make(checkout, "--dry-run", "demo", *arguments)
    assert "requirements.lock" in output
    assert output.splitlines()[-1].strip() == f".venv/bin/newsletter {command}"


def test_test_runs_the_suite_in_both_sizes(checkout: Path) -> None:
    lines = _make(checkout, "--dry-run", "test", "JOBS=3", "ARGS=tests/plans").splitlines()
    assert lines[-2:] == [
        "NEWSLETTER_TEST_SIZE=embedded .venv/bin/pytest -n 3 tests/plans",
        "NEWSLETTER_TEST_SIZE=distributed .venv/bin/pytest -n 3 tests/plans",
    ]


@pytest.mark.parametrize("script", ["scripts/venv.sh", ".ci/run"])
def test_shell_scripts_parse(script: str) -> None:
    shell = "bash" if script == ".ci/run" else "sh"
    run = subprocess.run([shell, "-n", ROOT / script], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode == 0
