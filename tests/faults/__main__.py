"""``python -m tests.faults``: the fault tests at length, in both sizes; writes docs/reliability.md."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.campaign import REPORT
from tests.faults.report import p95, read, table, takeovers, write_between

SWEEP_SECONDS = 10.0
"""What may pass, at p95, between the end of a dead worker's lease and the claim of another."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="kill -9, at random")
    parser.add_argument("--rows", type=int, default=100_000, help="recipients of the long campaigns")
    parser.add_argument("--away", type=float, default=250, help="seconds that Redis is away")
    parser.add_argument("--stops", type=int, default=10, help="immediate stops of Postgres")
    parser.add_argument("--lease", type=float, default=25, help="seconds, in the storm of kills")
    parser.add_argument("--only", default="", help="as pytest's -k; prints, writes no page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        environment = {
            **os.environ,
            REPORT: str(report),
            "NEWSLETTER_FAULTS_KILLS": str(given.kills),
            "NEWSLETTER_FAULTS_ROWS": str(given.rows),
            "NEWSLETTER_FAULTS_AWAY": str(given.away),
            "NEWSLETTER_FAULTS_STOPS": str(given.stops),
            "NEWSLETTER_FAULTS_LEASE": str(given.lease),
        }
        status = 0
        for size in ("embedded", "distributed"):
            command = [sys.executable, "-m", "pytest", "tests/faults", "-k", given.only, "-p", "no:xdist"]
            run = subprocess.run(
                command, env={**environment, "NEWSLETTER_TEST_SIZE": size, "PYTEST_ADDOPTS": ""}, check=False
            )
            status = status or run.returncode
        arguments = " ".join(sys.argv[1:])
        lines = read(report)
    text = table(lines, f"python -m tests.faults {arguments}".strip())
    print(text)
    waits = takeovers(lines)
    if len(waits) > 1 and p95(waits) > given.lease + SWEEP_SECONDS:
        print(f"Batches of killed workers waited {p95(waits):.0f} s at p95: too long.")
        status = status or 1
    if not given.only:
        write_between("faults", text)
    sys.exit(status)


if __name__ == "__main__":
    main()
