"""No tracked file carries traces of the machine it was written on, or a secret."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REGISTRY = re.compile(
    r"\b(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|crates\.io|rubygems\.org|proxy\.golang\.org"
    r"|anaconda\.(org|com)|docker\.io|ghcr\.io|quay\.io|gcr\.io|artifactory|devpi)\b",
    re.IGNORECASE,
)
# An absolute path, not the tail of a URL or of a relative path.
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(root|work|opt/wheels|home/\w+|Users/\w+)(?![\w-])")
SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bsk-(proj-)?[A-Za-z0-9]{24,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bxox[abp]-[0-9A-Za-z-]{20,}"
    r"|\bSG\.[\w-]{20,}\.[\w-]{20,}"
    r"|\bAIza[\w-]{35}\b"
)


def _tracked() -> list[Path]:
    run = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    if run.returncode != 0:
        pytest.skip("this is not a git checkout, so there is no list of tracked files")
    paths = [ROOT / name for name in run.stdout.split("\0") if name]
    # This file holds the patterns themselves; what is vendored is as its package has it.
    others = {Path(__file__), *_vendored()}
    return [path for path in paths if path.is_file() and path not in others]


def _vendored() -> set[Path]:
    lists = ROOT.glob("newsletter/**/VENDORED.json")
    return {path.parent / name for path in lists for name in json.loads(path.read_text())["sha256"]}


@pytest.mark.parametrize("pattern", [REGISTRY, MACHINE_PATH, SECRET], ids=["registry", "path", "secret"])
def test_no_tracked_file_holds(pattern: re.Pattern[str]) -> None:
    found = []
    for path in _tracked():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (REGISTRY, "--index-url https://pypi.org/simple"),
        (MACHINE_PATH, 'open("/root/.config")'),
        (MACHINE_PATH, "see /home/someone/notes"),
        (MACHINE_PATH, "cd /work/main"),
        (SECRET, "key = AKIA" + "A1B2C3D4E5F6G7H8"),
        (SECRET, "OPENAI_API_KEY=sk-" + "a1" * 20),
    ],
)
def test_the_patterns_see_what_they_are_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


@pytest.mark.parametrize("text", ["https://example.com/work/1", "../work", "/worker", "/rooted", "a/home/b"])
def test_other_paths_are_left_alone(text: str) -> None:
    assert not MACHINE_PATH.search(text)
