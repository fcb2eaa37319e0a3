"""Turns what the fault tests saw into the table of ``docs/reliability.md``."""

import json
import os
import platform
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEAD = (
    "| fault | size | times | mails | duplicates | missing | unaccounted | unknown | went on after |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
SUMS = ("times", "recipients", "duplicates", "missing", "unaccounted", "unknown")


def table(lines: list[dict[str, Any]], command: str) -> str:
    """One row for each fault; the campaigns of one fault are added up."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[line["test"], line["size"]].append(line)
    rows = [_row(name, size, each) for (name, size), each in groups.items()]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    note = (
        f"One run of `{command}` on {machine}; servers, databases and the receiving server share the cores."
    )
    return "\n".join([HEAD, *rows, "", note])


def _row(name: str, size: str, lines: list[dict[str, Any]]) -> str:
    sums = {key: sum(line[key] for line in lines) for key in SUMS}
    recoveries = [seconds for line in lines for seconds in line["recoveries"]]
    fault = name.removeprefix("test_").replace("_", " ")
    numbers = [f"{sums[key]:,}" for key in SUMS]
    return f"| {' | '.join([fault, size, *numbers, _spread(recoveries)])} |"


def _spread(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{seconds[0]:.1f} s" if seconds else ""
    return f"p50 {statistics.median(seconds):.1f} s, p95 {p95(seconds):.1f} s, of {len(seconds)}"


def p95(seconds: list[float]) -> float:
    """Of two values at least."""
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]


def takeovers(lines: list[dict[str, Any]]) -> list[float]:
    """How long batches of workers that were killed at random waited for another."""
    storms = (line for line in lines if "killed_at_random" in line["test"])
    return [seconds for line in storms for seconds in line["recoveries"]]


def read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_between(mark: str, text: str) -> None:
    """Puts the text between ``<!-- mark -->`` and ``<!-- /mark -->`` of the page."""
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(start)
    PAGE.write_text(f"{head}{start}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
