"""``python -m bench``: measures, prints, and writes the table of ``docs/benchmarks.md``."""

import argparse
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench.api import api_rows
from bench.sending import memory_rows, sending_rows

Row = tuple[str, str, str, str]
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
START, END = "<!-- figures -->", "<!-- /figures -->"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--recipients", type=int, default=5_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--calls", type=int, default=3_000)
    options.add_argument("--memory", type=int, nargs=2, default=(10_000, 100_000))
    given = options.parse_args()
    rows = [
        *sending_rows(given.recipients, given.rounds),
        *api_rows(given.calls),
        *memory_rows(*given.memory),
    ]
    table = as_table(rows)
    print(table)
    write_page(table)


def as_table(rows: list[Row]) -> str:
    lines = ["| what | measured | reference | ratio |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    return "\n".join(
        [*lines, "", f"One run of `make bench` on {machine}; client, server and databases share the cores."]
    )


def write_page(table: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    PAGE.write_text(f"{head}{START}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
