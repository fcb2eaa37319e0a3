"""The Node programs in ``peers/``, with the packages that their lock names."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from bench.table import Missing

PEERS = Path(__file__).parent / "peers"
OLDEST = 20


@cache
def node() -> str:
    """The ``node`` to run a file of `PEERS` with; its packages are installed by then.

    Raises `Missing` where there is no Node, or too old a one, or no package could be fetched.
    """
    binary, npm = shutil.which("node"), shutil.which("npm")
    if binary is None or npm is None:
        raise Missing(f"Node {OLDEST} or later: apt-get install nodejs npm")
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)\.", said)
    if version is None or int(version[1]) < OLDEST:
        raise Missing(f"Node {OLDEST} or later; this is {said.strip()}")
    lock, installed = PEERS / "package-lock.json", PEERS / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"the packages of bench/peers: `npm ci` failed: {done.stderr.strip()[-200:]}")
    return binary
