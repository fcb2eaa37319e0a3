"""Regular expressions mean the same in every Python that we support."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "newsletter"
_REPEATED_GROUP = re.compile(r"(?<![(\\])\)(?:[*+?]|\{[0-9]*,?[0-9]*\})\+")


def test_no_group_is_repeated_possessively() -> None:
    """Before Python 3.11.5 what the last, failed try of the group took stayed taken (gh-106052 of CPython):
    with Debian 12's, links were not tracked. ``(?>(?:…)*)`` says the same and is right."""
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if _REPEATED_GROUP.search(line)
    ]
    assert not found
