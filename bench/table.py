"""The table of ``docs/benchmarks.md``: goals, the rows measured against them, the page."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
START, END = "<!-- figures -->", "<!-- /figures -->"
HEAD = "| what | ours | reference | figure | must | aim | holds |\n|---|---|---|---|---|---|---|"


class Missing(Exception):
    """This machine lacks what a row needs; the text says what, and how Debian installs it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row measures, and what its figure must reach; ``is_limit`` turns it round."""

    what: str
    must: float | None = None
    aim: float | None = None
    unit: str = "×"
    is_limit: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """Both sides in words, and the figure: their ratio, or ours in the goal's unit."""

    ours: str
    reference: str
    figure: float


@dataclass(frozen=True, slots=True)
class Row:
    goal: Goal
    result: Measured | Missing

    def __str__(self) -> str:
        goal = self.goal
        bounds = [_shown(bound, goal) for bound in (goal.must, goal.aim)]
        if isinstance(self.result, Missing):
            cells = [goal.what, f"**not measured: needs {self.result}**", "", "", *bounds, "?"]
        else:
            result = self.result
            figure = _number(result.figure, goal.unit)
            cells = [goal.what, result.ours, result.reference, figure, *bounds, self._verdict(result.figure)]
        return f"| {' | '.join(cells)} |"

    def _verdict(self, figure: float) -> str:
        goal = self.goal
        if goal.must is None:
            return ""
        return "yes" if (figure <= goal.must if goal.is_limit else figure >= goal.must) else "**no**"


def row(goal: Goal, measure: Callable[[], Measured]) -> Row:
    """Measures now, and says so on the terminal; what is missing becomes a row that says it."""
    print(f"… {goal.what}", flush=True)
    try:
        made = Row(goal, measure())
    except Missing as missing:
        made = Row(goal, missing)
    print(made, flush=True)
    return made


def as_table(rows: list[Row], command: str) -> str:
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    note = f"One run of `{command}` on {machine}; client, server and databases share the cores."
    return "\n".join([HEAD, *map(str, rows), "", note])


def write_page(table: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    PAGE.write_text(f"{head}{START}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def _shown(bound: float | None, goal: Goal) -> str:
    if bound is None:
        return ""
    return f"{'≤' if goal.is_limit else '≥'} {_number(bound, goal.unit)}"


def _number(number: float, unit: str) -> str:
    return f"{number:.2f} {unit}" if number < 1000 else f"{number:,.0f} {unit}"
