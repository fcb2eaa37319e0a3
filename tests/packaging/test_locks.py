"""The hashed locks: complete, in step with each other and free of any machine's traces."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock"]


def _entries(lock: str) -> dict[str, tuple[str, int]]:
    """name → (version, number of hashes); a package pinned per platform gets its marker in the name."""
    entries = {}
    for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text()):
        if match := re.match(r"([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+?)( ; [^\\\n]+)? ?\\?\n", entry):
            name, version, marker = match.groups(default="")
            entries[name + marker.rstrip()] = (version, entry.count("--hash=sha256:"))
    return entries


def _required(requirements: list[object]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements if isinstance(text, str))
    return {match.group().lower().replace("_", "-") for match in names if match}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_nothing_else_is_in_the_lock(lock: str) -> None:
    entries = _entries(lock)
    assert all(hashes > 0 for _, hashes in entries.values())
    others = [
        line
        for line in (ROOT / lock).read_text().splitlines()
        if line and not re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+|    --hash=sha256:[0-9a-f]{64}|\s*#", line)
    ]
    assert others == []
    assert "make lock" in (ROOT / lock).read_text().splitlines()[1]


def test_the_development_lock_holds_the_same_pins_and_more() -> None:
    runtime, everything = (_entries(lock) for lock in LOCKS)
    assert runtime.items() < everything.items()


def test_the_locks_hold_every_requirement_of_the_project_and_its_build_backend() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = {name.split(" ")[0] for name in _entries("requirements.lock")}
    assert _required(project["project"]["dependencies"]) <= pinned
    assert _required(project["build-system"]["requires"]) <= pinned
    everything = {name.split(" ")[0] for name in _entries("requirements-dev.lock")}
    assert _required(project["dependency-groups"]["dev"]) <= everything


def test_every_direct_dependency_has_a_floor_and_a_ceiling() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for requirement in project["project"]["dependencies"]:
        assert re.search(r">=[0-9.]+,<[0-9]+", requirement), requirement
