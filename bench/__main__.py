"""``python -m bench``: measures, prints, and writes the table of ``docs/benchmarks.md``."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.api import api_rows
from bench.bounces import bounce_rows
from bench.http import http_rows
from bench.letter import letter_rows
from bench.materialise import materialise_rows
from bench.reports import report_rows
from bench.scale import scale_rows
from bench.schedules import schedule_rows
from bench.sending import memory_rows, sending_rows
from bench.single import single_rows
from bench.summary import summary_rows
from bench.table import Row, as_table, write_page
from bench.webhooks import webhook_rows
from bench.wire import wire_rows


@dataclass(frozen=True, slots=True)
class Options:
    recipients: int
    rounds: int
    calls: int
    memory: tuple[int, int]
    list_size: int
    scale: tuple[int, int]
    seconds: int
    events: int


SECTIONS: dict[str, Callable[[Options], list[Row]]] = {
    "sending": lambda given: sending_rows(given.recipients, given.rounds),
    "wire": lambda given: wire_rows(2 * given.recipients, given.rounds),
    "materialise": lambda given: materialise_rows(given.list_size),
    "letter": lambda given: letter_rows(),
    "api": lambda given: api_rows(given.calls),
    "http": lambda given: http_rows(given.seconds, given.rounds),
    "memory": lambda given: memory_rows(*given.memory),
    "bounces": lambda given: bounce_rows(),
    "reports": lambda given: report_rows(given.rounds),
    "webhooks": lambda given: webhook_rows(given.rounds),
    "single": lambda given: single_rows(given.seconds, given.rounds),
    "schedules": lambda given: schedule_rows(),
    "scale": lambda given: scale_rows(*given.scale),
    "summary": lambda given: summary_rows(given.events),
}
ON_REQUEST = {"scale"}
"""Takes half an hour, and is no part of the page: `make scale`."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; prints, writes no page")
    parser.add_argument("--recipients", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--memory", type=int, nargs=2, default=(10_000, 100_000))
    parser.add_argument("--list-size", type=int, default=1_000_000, help="recipients to materialise")
    parser.add_argument("--seconds", type=int, default=5, help="of each HTTP load")
    parser.add_argument(
        "--scale", type=int, nargs=2, default=(1_000_000, 10), metavar=("RECIPIENTS", "CAMPAIGNS")
    )
    parser.add_argument("--events", type=int, default=10_000_000, help="in the log of the larger project")
    given = parser.parse_args()
    options = Options(
        given.recipients,
        given.rounds,
        given.calls,
        tuple(given.memory),
        given.list_size,
        tuple(given.scale),
        given.seconds,
        given.events,
    )
    sections = given.only or [name for name in SECTIONS if name not in ON_REQUEST]
    rows = [row for name in sections for row in SECTIONS[name](options)]
    arguments = " ".join(sys.argv[1:])
    table = as_table(rows, f'make bench ARGS="{arguments}"' if arguments else "make bench")
    print(table)
    if not given.only:
        write_page(table)


if __name__ == "__main__":
    main()
