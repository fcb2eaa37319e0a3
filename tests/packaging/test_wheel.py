"""The wheel, built from exactly the files that the Dockerfile copies."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _copied() -> list[str]:
    """What the builder stage copies out of the build context."""
    builder = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1]
    copies = re.findall(r"^COPY (?!--)(.+) \S+$", builder, re.MULTILINE)
    return [name for names in copies for name in names.split()]


def test_the_docker_context_holds_what_the_dockerfile_copies() -> None:
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(_copied()) == set(allowed)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel that was built from those files alone."""
    source = tmp_path_factory.mktemp("source")
    for name in _copied():
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, run.stderr
    (built,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_the_wheel_carries_prompts_and_templates_as_data(wheel: list[str]) -> None:
    for family in ("prompts", "email_templates"):
        files = [path for path in (ROOT / family).rglob("*") if path.is_file()]
        assert files
        missing = {f"newsletter/_data/{path.relative_to(ROOT).as_posix()}" for path in files} - set(wheel)
        assert missing == set()


def test_the_wheel_carries_every_file_of_the_packages_and_no_other_package(wheel: list[str]) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for package in ("newsletter", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here - set(wheel) == set()
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"newsletter", "workers"}


def test_the_wheel_carries_its_licence(wheel: list[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
