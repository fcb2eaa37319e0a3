"""Reads ``phrases.toml``, where the words of mail systems stand as data."""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("phrases.toml")


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def any_of(phrases: Iterable[str], *, at_start: bool = False) -> re.Pattern[str]:
    """Finds each of the phrases; ``{who}`` and ``{gone}`` in them stand for the words of the file."""
    words = {name: f"(?:{'|'.join(each)})" for name, each in _data()["words"].items()}
    # Not `str.format`: braces are repetitions in a regular expression.
    text = "|".join(phrases).replace("{who}", words["who"] + "s?").replace("{gone}", words["gone"])
    return re.compile(f"^(?:re: ?)?(?:{text})" if at_start else text, re.IGNORECASE)


def causes() -> list[tuple[str, re.Pattern[str]]]:
    """The name of each cause and its phrases, in order of precedence."""
    return [(rule["cause"], any_of(rule["phrases"])) for rule in _data()["causes"]]


def notices(name: str) -> re.Pattern[str]:
    return any_of(_data()["notices"][name])


def replies() -> re.Pattern[str]:
    return any_of(_data()["replies"]["subject"], at_start=True)
