"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    ok = "ok"
    off = "off"
    """Not set up; what needs it is refused with an error that says so."""
    warning = "warning"
    broken = "broken"
    """Something that is needed does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``mend`` says what to do, and is empty where nothing is to be done."""

    name: str
    level: Level
    text: str
    mend: str = ""


def ok(name: str, text: str) -> Finding:
    return Finding(name, Level.ok, text)


def off(name: str, text: str, mend: str) -> Finding:
    return Finding(name, Level.off, text, mend)


def warning(name: str, text: str, mend: str) -> Finding:
    return Finding(name, Level.warning, text, mend)


def broken(name: str, text: str, mend: str) -> Finding:
    return Finding(name, Level.broken, text, mend)
