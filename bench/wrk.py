"""wrk, the load that no Python could make: the same for both sides of a ratio."""

import re
import shutil
import subprocess
from pathlib import Path

from bench.load import Figures
from bench.table import Missing

_DONE = """
function done(summary, latency, requests)
  io.write(string.format("FIGURES %d %d %.0f %.0f %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(95),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
    + (bad or 0)))
end
"""


def wrk(folder: Path, url: str, script: str, *, seconds: int, connections: int) -> Figures:
    """Calls ``url`` as the Lua script says. Raises `Missing` without wrk, `RuntimeError` for errors."""
    binary = shutil.which("wrk")
    if binary is None:
        raise Missing("wrk: apt-get install wrk")
    path = folder / "wrk.lua"
    path.write_text(script + _DONE, encoding="utf-8")
    said = subprocess.run(
        [binary, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(path), url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"FIGURES (\d+) (\d+) (\d+) (\d+) (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if found is None or int(found[5]) or refused:
        raise RuntimeError(f"{url} did not answer every call:\n{said}")
    requests, micros, p50, p95 = (int(found[number]) for number in range(1, 5))
    return Figures(requests / micros * 1e6, p50 / 1000, p95 / 1000)


def upserts(list_id: str, key: str, run: int) -> str:
    """A script that adds another subscriber with each call."""
    return f"""
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
local number = 0
function request()
  number = number + 1
  return wrk.format(nil, nil, nil, string.format(
    '{{"list_id":"{list_id}","email":"r{run}.%d@example.com","first_name":"New"}}', number))
end
"""


def reads(key: str) -> str:
    return f'wrk.headers["Authorization"] = "Bearer {key}"\n'


FOLLOWS = 'wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) bench"\n'
"""A script that follows one link; wrk does not go where the answer leads."""
